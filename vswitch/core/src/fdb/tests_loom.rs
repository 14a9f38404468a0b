//! Every interleaving of readers and writers that loom can find, on tables as small as they get. Readers are the
//! threads that begin later: loom remembers the last access to an atomic alone, so a writer that reads a word
//! before it changes it would hide the reads of others that ran first.

use std::{
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::{model::Builder, sync::Arc, thread};
use weft_vlan::{MacAddr, VlanId};

use super::{Fdb, Limits, Scope};
use crate::{PortId, Timestamp};

const AGEING: Duration = Duration::from_secs(300);
const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

fn port(index: u16) -> PortId {
    PortId::new(index).unwrap()
}

fn mac(host: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | host)
}

fn vlan() -> VlanId {
    VlanId::new(1).unwrap()
}

fn table(mac_limit: usize) -> Arc<Fdb> {
    Arc::new(Fdb::new(mac_limit, [1, 2]))
}

fn learn(fdb: &Fdb, host: u64, index: u16) {
    fdb.learn(NOW, &Limits::new(AGEING, None), vlan(), mac(host), port(index));
}

fn lookup(fdb: &Fdb, host: u64) -> Option<PortId> {
    fdb.lookup(NOW, &Limits::new(AGEING, None), vlan(), mac(host))
}

/// One slot changes hands and back, which a reader that reads the key twice alone would not notice.
fn read_while_a_slot_is_replaced(host: u64, at: u16) {
    let fdb = table(1);
    learn(&fdb, 0xa, 1);
    let reader = {
        let fdb = fdb.clone();
        thread::spawn(move || {
            let seen = lookup(&fdb, host);
            assert!(seen.is_none_or(|seen| seen == port(at)), "{host:x} on {seen:?}");
        })
    };
    learn(&fdb, 0xb, 2);
    learn(&fdb, 0xa, 1);
    reader.join().unwrap();
    assert_eq!((lookup(&fdb, 0xa), lookup(&fdb, 0xb)), (Some(port(1)), None));
}

#[test]
fn loom_an_address_that_goes_and_comes_back_is_never_seen_on_the_port_of_another() {
    explore(|| read_while_a_slot_is_replaced(0xa, 1));
}

#[test]
fn loom_an_address_that_comes_and_goes_is_never_seen_on_the_port_of_another() {
    explore(|| read_while_a_slot_is_replaced(0xb, 2));
}

#[test]
fn loom_a_reader_of_a_moving_address_always_finds_it() {
    explore(|| {
        let fdb = table(4);
        learn(&fdb, 0xa, 1);
        let reader = {
            let fdb = fdb.clone();
            thread::spawn(move || {
                let seen = lookup(&fdb, 0xa);
                assert!(seen == Some(port(1)) || seen == Some(port(2)), "{seen:?}");
            })
        };
        learn(&fdb, 0xa, 2);
        reader.join().unwrap();
        assert_eq!(lookup(&fdb, 0xa), Some(port(2)));
    });
}

#[test]
fn loom_addresses_that_several_writers_learn_at_once_are_all_known_and_counted_once() {
    explore(|| {
        let fdb = table(4);
        let writer = |own: u64| {
            let fdb = fdb.clone();
            thread::spawn(move || {
                learn(&fdb, 0xc, 3);
                learn(&fdb, own, 1);
            })
        };
        let writers = [writer(0xa), writer(0xb)];
        for writer in writers {
            writer.join().unwrap();
        }
        for (host, at) in [(0xa, 1), (0xb, 1), (0xc, 3)] {
            assert_eq!(lookup(&fdb, host), Some(port(at)));
        }
        assert_eq!((fdb.len(), fdb.entries(NOW, AGEING).len()), (3, 3));
    });
}

#[test]
fn loom_a_flush_forgets_what_was_learned_before_and_nothing_that_is_learned_after() {
    explore(|| {
        let fdb = table(2);
        learn(&fdb, 0xa, 1);
        let writer = {
            let fdb = fdb.clone();
            thread::spawn(move || learn(&fdb, 0xb, 2))
        };
        fdb.flush(NOW, AGEING, Scope::default());
        assert_eq!(lookup(&fdb, 0xa), None);
        learn(&fdb, 0xa, 2);
        assert_eq!(lookup(&fdb, 0xa), Some(port(2)));
        writer.join().unwrap();
        let b = lookup(&fdb, 0xb);
        assert!(b.is_none_or(|at| at == port(2)), "{b:?}");
        assert_eq!(fdb.len(), 1 + usize::from(b.is_some()));
    });
}

#[test]
fn loom_an_address_that_is_heard_and_told_of_at_once_is_where_one_of_both_says() {
    explore(|| {
        let fdb = table(2);
        let writer = {
            let fdb = fdb.clone();
            thread::spawn(move || learn(&fdb, 0xa, 1))
        };
        assert!(fdb.install(NOW, &Limits::new(AGEING, None), vlan(), mac(0xa), port(2)));
        let seen = lookup(&fdb, 0xa);
        assert!(seen == Some(port(1)) || seen == Some(port(2)), "{seen:?}");
        writer.join().unwrap();
        assert_eq!((fdb.len(), fdb.entries(NOW, AGEING).len()), (1, 1));
        let is_remote = lookup(&fdb, 0xa) == Some(port(2));
        assert_eq!(fdb.withdraw(vlan(), mac(0xa), port(2)), is_remote);
        assert_eq!(lookup(&fdb, 0xa), (!is_remote).then(|| port(1)));
    });
}

#[test]
fn loom_a_word_that_is_taken_back_takes_nothing_that_was_heard() {
    explore(|| {
        let fdb = table(2);
        assert!(fdb.install(NOW, &Limits::new(AGEING, None), vlan(), mac(0xa), port(2)));
        let writer = {
            let fdb = fdb.clone();
            thread::spawn(move || learn(&fdb, 0xa, 1))
        };
        fdb.withdraw(vlan(), mac(0xa), port(2));
        let seen = lookup(&fdb, 0xa);
        assert!(seen.is_none_or(|seen| seen == port(1)), "{seen:?}");
        writer.join().unwrap();
        assert_eq!((lookup(&fdb, 0xa), fdb.len()), (Some(port(1)), 1));
    });
}

#[test]
fn loom_a_reader_of_news_misses_nothing_and_is_woken_when_it_waits() {
    struct Bell(std::sync::atomic::AtomicUsize);
    impl Wake for Bell {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    explore(|| {
        let fdb = table(2);
        fdb.follow([vlan()].into_iter().collect(), 4);
        let bell = std::sync::Arc::new(Bell(0.into()));
        let waker = Waker::from(bell.clone());
        let read = || match fdb.poll_news(&mut Context::from_waker(&waker)) {
            Poll::Ready(bulletin) => bulletin.news.len(),
            Poll::Pending => 0,
        };
        assert_eq!(read(), 0);
        let writer = {
            let fdb = fdb.clone();
            thread::spawn(move || learn(&fdb, 0xa, 1))
        };
        let sooner = read();
        writer.join().unwrap();
        let rung = bell.0.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!((rung, read()), (1 - sooner, 1 - sooner));
    });
}
