//! Streams to clients that nobody here wrote, and back, go on while the adapter is killed, while each client begins anew, and
//! while each comes from another address: each implementation, whoever calls whom, inside and outside over IPv4 and IPv6.
//! [`Crowd`] has the picture.

use weft_netns::{Crowd, Flow, Stock, until};

const SOME: u64 = 100_000;

#[test]
fn streams_go_on_when_either_end_begins_anew_and_when_the_client_moves() {
    let mut crowd = Crowd::new(2);
    let flows = crowd.streams();
    let go_on = || Flow::wait_for_all(&flows, SOME);
    go_on();
    crowd.daemon_mut().kill9();
    crowd.daemon_mut().restart();
    go_on();
    crowd.restart_clients();
    go_on();
    let before: Vec<_> = crowd.stocks().iter().map(Stock::outside).collect();
    crowd.forget_mappings();
    go_on();
    for (stock, before) in crowd.stocks().iter().zip(before) {
        assert_ne!(stock.outside(), before);
        until(&format!("the adapter follows {}", stock.name()), || {
            crowd.shown(stock)["endpoint"] == stock.outside().to_string()
        });
    }
    flows.into_iter().map(Flow::finish).for_each(drop);
    crowd.web().assert_no_bad_checksums();
}
