//! What a record costs, sealed and opened, and what a whole handshake does at both ends.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use weft_vpn::{
    Event, Host, HostConfig, Kind, Load, PeerConfig, PeerId, PrivateKey, Random, Session, Suite,
    Suites, record_len,
};

const NOW: Duration = Duration::from_secs(1);
const WALL: Duration = Duration::from_secs(1_800_000_000);
const PEER: PeerId = PeerId(1);

/// Randomness that is none: a counter.
fn counter(mut at: u8) -> impl Random {
    move |out: &mut [u8]| {
        out.iter_mut().for_each(|byte| {
            at = at.wrapping_mul(5).wrapping_add(113);
            *byte = at;
        });
    }
}

fn hosts(suite: Suite) -> [Host<impl Random>; 2] {
    let keys = [1, 2].map(|seed| PrivateKey::generate(&mut counter(seed)));
    let addresses = ["192.0.2.1:1", "192.0.2.2:1"].map(|text| text.parse().expect("an address"));
    [0, 1].map(|at| {
        let private_key = keys[at].clone();
        let config = HostConfig { private_key, previous_private_key: None, mark: None };
        let mut host = Host::new(NOW, config, counter(at as u8 + 3));
        let peer = PeerConfig {
            key: keys[1 - at].public(),
            preshared_key: None,
            endpoint: (at == 0).then_some(addresses[1]),
            suites: Suites::new([suite]).expect("one"),
            greatest: None,
        };
        host.add(NOW, PEER, peer).expect("a peer");
        host
    })
}

/// Initiation, response, confirmation.
fn shake<R: Random>([a, b]: &mut [Host<R>; 2]) -> (Arc<Session>, Arc<Session>) {
    let (from_a, from_b) = ("192.0.2.1:1".parse(), "192.0.2.2:1".parse());
    let (from_a, from_b) = (from_a.expect("an address"), from_b.expect("an address"));
    let receiving = |host: &mut Host<R>| {
        let mut found = None;
        while let Some(event) = host.poll_event() {
            if let Event::Receive { session } = event {
                found = Some(session);
            }
        }
        found
    };
    a.handle_timeout(NOW, WALL);
    let initiation = a.poll_transmit().expect("an initiation").datagram;
    b.receive(NOW, WALL, Load::Calm, from_a, &initiation).expect("taken");
    let response = b.poll_transmit().expect("a response").datagram;
    a.receive(NOW, WALL, Load::Calm, from_b, &response).expect("taken");
    let mut confirmation = a.poll_transmit().expect("a confirmation").datagram;
    let (ours, theirs) = (receiving(a).expect("a session"), receiving(b).expect("a session"));
    theirs.open(NOW, &mut confirmation).expect("opened");
    b.confirmed(NOW, theirs.index(), from_a);
    (ours, theirs)
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for suite in Suite::ALL {
        for payload in [64, 1400] {
            let (a, b) = shake(&mut hosts(suite));
            let mut record = vec![0; record_len(payload)];
            group.throughput(Throughput::Bytes(payload as u64));
            group.bench_function(format!("seal {suite} {payload}"), |bencher| {
                bencher.iter(|| a.seal(NOW, Kind::Bundle, payload, black_box(&mut record)));
            });
            let sealed = || {
                let mut record = vec![0; record_len(payload)];
                a.seal(NOW, Kind::Bundle, payload, &mut record).expect("sealed");
                record
            };
            group.bench_function(format!("open {suite} {payload}"), |bencher| {
                let open = |record: &mut Vec<u8>| b.open(NOW, record).map(|opened| opened.newest);
                bencher.iter_batched_ref(sealed, open, BatchSize::NumIterations(64));
            });
        }
    }
    group.finish();
}

fn handshake(criterion: &mut Criterion) {
    criterion.bench_function("handshake, both ends", |bencher| {
        let begin = || hosts(Suite::Aes256Gcm);
        bencher.iter_batched_ref(begin, shake, BatchSize::SmallInput);
    });
}

criterion_group!(benches, records, handshake);
criterion_main!(benches);
