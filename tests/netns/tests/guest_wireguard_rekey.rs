//! Keys change after two minutes, as WireGuard has it, whoever has called and so changes them, and nothing that is on the way
//! is lost: each client is sent to and answers all the time, and a stream to it and back goes on. [`Crowd`] has the picture.

use std::{process::Output, thread};

use weft_netns::{Crowd, Flow};

/// Longer than a session is used without a new one: Rekey-After-Time is 120 s.
const PINGS: u32 = 1350;
const EACH: &str = "0.1";
const SOME: u64 = 100_000;

fn loss(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().find(|line| line.contains("packets transmitted")).unwrap_or(&text).to_owned()
}

#[test]
fn nothing_is_lost_when_keys_change() {
    let crowd = Crowd::new(2);
    let (flows, web) = (crowd.streams(), crowd.web().space());
    Flow::wait_for_all(&flows, SOME);
    thread::scope(|scope| {
        let pings = crowd.stocks().iter().map(|stock| {
            let [address, _] = stock.inside();
            let line = format!("ping -q -i {EACH} -c {PINGS} -W 5 {address}");
            (stock, scope.spawn(move || loss(&web.exec(&line))))
        });
        for (stock, ping) in pings.collect::<Vec<_>>() {
            let said = ping.join().expect("a ping ends");
            assert!(said.contains(&format!("{PINGS} received")), "{}: {said}", stock.name());
        }
    });
    Flow::wait_for_all(&flows, SOME);
    for stock in crowd.stocks() {
        let shown = crowd.shown(stock);
        let age = shown["handshake-age-seconds"].as_u64();
        assert!(age.is_some_and(|age| age < 60), "its keys have not changed: {shown}");
    }
    flows.into_iter().map(Flow::finish).for_each(drop);
    crowd.web().assert_no_bad_checksums();
}
