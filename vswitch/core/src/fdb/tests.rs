use proptest::prelude::*;

use super::*;

const AGEING: Duration = Duration::from_secs(300);

fn port(index: u16) -> PortId {
    PortId::new(index).unwrap()
}

fn vlan(vid: u16) -> VlanId {
    VlanId::new(vid).unwrap()
}

fn mac(host: u64) -> MacAddr {
    MacAddr::from_u64(0x0200_0000_0000 | host)
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_micros(1_000_000_000 + millis * 1000)
}

fn table(mac_limit: usize) -> Fdb {
    Fdb::new(mac_limit, [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321])
}

/// Learns in VLAN 1 under no port limit.
fn learn(fdb: &Fdb, millis: u64, host: u64, index: u16) {
    fdb.learn(at(millis), &Limits::new(AGEING, None), vlan(1), mac(host), port(index));
}

fn find(fdb: &Fdb, millis: u64, host: u64) -> Option<PortId> {
    fdb.lookup(at(millis), &Limits::new(AGEING, None), vlan(1), mac(host))
}

fn known(fdb: &Fdb, millis: u64, hosts: impl IntoIterator<Item = u64>) -> Vec<u64> {
    hosts.into_iter().filter(|&host| find(fdb, millis, host).is_some()).collect()
}

#[test]
fn an_address_is_known_in_its_vlan_alone() {
    let fdb = table(16);
    learn(&fdb, 0, 1, 7);
    assert_eq!(find(&fdb, 0, 1), Some(port(7)));
    let limits = Limits::new(AGEING, None);
    assert_eq!(fdb.lookup(at(0), &limits, vlan(2), mac(1)), None);
    assert_eq!(find(&fdb, 0, 2), None);
}

#[test]
fn moved_mac_is_relearned_on_the_new_port() {
    let fdb = table(16);
    learn(&fdb, 0, 1, 7);
    learn(&fdb, 1, 1, 8);
    assert_eq!((find(&fdb, 1, 1), fdb.len()), (Some(port(8)), 1));
    // The old port's list no longer has it.
    fdb.forget_port(port(7));
    assert_eq!(find(&fdb, 1, 1), Some(port(8)));
}

#[test]
fn the_first_moves_are_told_and_the_others_counted() {
    let fdb = table(64);
    assert_eq!(fdb.take_moves(), Moves::default());
    for host in 0..20 {
        learn(&fdb, 0, host, 7);
        learn(&fdb, 1, host, 7);
    }
    assert_eq!(fdb.take_moves(), Moves::default(), "who came did not move");
    learn(&fdb, 2, 3, 8);
    assert_eq!(fdb.take_moves(), Moves { moves: vec![(vlan(1), mac(3), port(8))], more: 0 });
    (0..20).for_each(|host| learn(&fdb, 3, host, 9));
    let moves = fdb.take_moves();
    assert_eq!((moves.moves.len(), moves.more), (16, 4));
    assert_eq!(fdb.take_moves(), Moves::default());
}

#[test]
fn an_entry_dies_when_it_is_not_heard_and_lives_while_it_is() {
    let fdb = table(16);
    learn(&fdb, 0, 1, 7);
    assert_eq!(find(&fdb, 299_800, 1), Some(port(7)));
    assert_eq!(find(&fdb, 300_100, 1), None);
    assert!(fdb.entries(at(300_100), AGEING).is_empty());
    learn(&fdb, 300_200, 1, 7);
    assert_eq!(find(&fdb, 300_200, 1), Some(port(7)));

    // Stamped once a second at most, and still never forgotten where ageing is a second.
    let short = Limits::new(Duration::from_secs(1), None);
    for tenth in 0..100 {
        fdb.learn(at(tenth * 100), &short, vlan(1), mac(2), port(3));
        assert_eq!(fdb.lookup(at(tenth * 100 + 99), &short, vlan(1), mac(2)), Some(port(3)));
    }
}

#[test]
fn a_stamp_from_another_workers_later_clock_is_fresh() {
    let fdb = table(16);
    learn(&fdb, 5000, 1, 7);
    assert_eq!(find(&fdb, 4000, 1), Some(port(7)));
}

#[test]
fn at_the_ports_limit_its_own_oldest_goes() {
    let fdb = table(64);
    let limits = Limits::new(AGEING, Some(3));
    let heard = |millis, host| fdb.learn(at(millis), &limits, vlan(1), mac(host), port(1));
    learn(&fdb, 0, 100, 2);
    for host in 1..=3 {
        heard(host * 10, host);
    }
    // Host 1 speaks again after more than a second and is the youngest.
    heard(2000, 1);
    heard(2010, 4);
    assert_eq!(known(&fdb, 2010, 1..=4), [1, 3, 4]);
    heard(2020, 5);
    assert_eq!(known(&fdb, 2020, 1..=5), [1, 4, 5]);
    assert_eq!(find(&fdb, 2020, 100), Some(port(2)));
    // An address that moves here pushes out the oldest, too.
    heard(2030, 100);
    assert_eq!(known(&fdb, 2030, (1..=5).chain([100])), [4, 5, 100]);
}

#[test]
fn a_lowered_limit_is_reached_by_and_by() {
    let fdb = table(64);
    for host in 0..20 {
        learn(&fdb, host, host, 1);
    }
    let lower = Limits::new(AGEING, Some(2));
    for host in 100..140 {
        fdb.learn(at(host), &lower, vlan(1), mac(host), port(1));
    }
    assert_eq!(fdb.len(), 2);
    assert_eq!(known(&fdb, 200, 0..140), [138, 139]);
}

#[test]
fn a_port_that_may_learn_nothing_learns_nothing() {
    let fdb = table(64);
    learn(&fdb, 0, 1, 2);
    let none = Limits::new(AGEING, Some(0));
    fdb.learn(at(1), &none, vlan(1), mac(1), port(1));
    fdb.learn(at(1), &none, vlan(1), mac(2), port(1));
    assert_eq!((find(&fdb, 1, 1), find(&fdb, 1, 2)), (Some(port(2)), None));
    let nothing = table(0);
    learn(&nothing, 0, 1, 1);
    assert_eq!((nothing.len(), find(&nothing, 0, 1)), (0, None));
}

#[test]
fn at_the_switchs_limit_the_port_that_holds_most_loses_its_oldest() {
    let fdb = table(6);
    for host in 0..2 {
        learn(&fdb, host, host, 1);
    }
    for host in 10..14 {
        learn(&fdb, host, host, 2);
    }
    learn(&fdb, 20, 2, 1);
    assert_eq!(known(&fdb, 20, 0..20), [0, 1, 2, 11, 12, 13]);
}

#[test]
fn at_the_switchs_limit_what_has_aged_out_goes_first() {
    let fdb = table(4);
    learn(&fdb, 0, 1, 1);
    for host in 10..13 {
        learn(&fdb, 200_000, host, 2);
    }
    learn(&fdb, 310_000, 2, 3);
    assert_eq!((known(&fdb, 310_000, 0..20), fdb.len()), (vec![2, 10, 11, 12], 4));
}

#[test]
fn a_flood_of_a_million_addresses_from_one_port_leaves_the_others_alone() {
    let fdb = table(65_536);
    for host in 0..1000 {
        learn(&fdb, 0, host, (host % 10) as u16);
    }
    for host in 0..1_000_000 {
        learn(&fdb, 1, 0x10_0000 + host, 666);
    }
    assert_eq!(known(&fdb, 2, 0..1000).len(), 1000);
    assert!(fdb.len() <= 65_536);
    // The hosts go on being learned, on their old ports and on new ones.
    for host in 0..1100 {
        learn(&fdb, 3, host, (host % 10 + 10) as u16);
    }
    assert_eq!(known(&fdb, 3, 0..1100).len(), 1100);
}

#[test]
fn at_the_limit_both_buckets_of_an_address_are_rarely_full() {
    for scattered in [false, true] {
        let fdb = table(65_536);
        let host = |nth: u64| if scattered { nth.wrapping_mul(0x9e37_79b9_7f4b) >> 7 } else { nth };
        for nth in 0..65_536 {
            learn(&fdb, 0, host(nth), (nth % 64) as u16);
        }
        let lost = 65_536 - known(&fdb, 0, (0..65_536).map(host)).len();
        assert!(lost < 65_536 / 1000, "{lost}");
    }
}

/// Hosts whose two buckets are both among the first two of the table.
fn crowd(fdb: &Fdb) -> impl Iterator<Item = u64> {
    (0..).filter(|&host| {
        let place = fdb.table.place(Key::new(vlan(1), mac(host)));
        place.slots().count() == 8 && place.slots().all(|slot| slot < 8)
    })
}

#[test]
fn in_full_buckets_whoever_has_most_there_loses_its_oldest() {
    let fdb = table(16);
    let hosts: Vec<u64> = crowd(&fdb).take(10).collect();
    for (nth, &host) in hosts[..8].iter().enumerate() {
        learn(&fdb, nth as u64 * 200, host, if nth < 5 { 1 } else { 2 });
    }
    learn(&fdb, 2000, hosts[8], 3);
    let known = known(&fdb, 2000, hosts.iter().copied());
    assert_eq!(known, hosts[1..9]);
}

#[test]
fn in_full_buckets_the_port_that_holds_most_takes_nothing_from_others() {
    let fdb = table(32);
    let hosts: Vec<u64> = crowd(&fdb).take(9).collect();
    for (nth, &host) in hosts[..8].iter().enumerate() {
        learn(&fdb, nth as u64, host, nth as u16 % 4);
    }
    // Port 9 fills other buckets, then wants one of these.
    let elsewhere = (0..).filter(|&host| {
        fdb.table.place(Key::new(vlan(1), mac(host))).slots().all(|slot| slot >= 8)
    });
    for host in elsewhere.take(12) {
        learn(&fdb, 100, host, 9);
    }
    learn(&fdb, 200, hosts[8], 9);
    assert_eq!(known(&fdb, 200, hosts.iter().copied()), hosts[..8]);
    assert_eq!(
        fdb.would_learn(at(200), &Limits::new(AGEING, None), vlan(1), mac(hosts[8]), port(9)),
        Learning::Refused
    );
    // A port with little gets the place of an entry of somebody who has more.
    learn(&fdb, 200, hosts[8], 5);
    assert_eq!(find(&fdb, 200, hosts[8]), Some(port(5)));
}

#[test]
fn a_flush_forgets_what_it_names_and_nothing_else() {
    let cases = [
        (Scope::default(), vec![]),
        (Scope { vlan: Some(vlan(1)), port: None }, vec![(2, 1), (2, 2)]),
        (Scope { vlan: None, port: Some(port(2)) }, vec![(1, 1), (2, 1)]),
        (Scope { vlan: Some(vlan(2)), port: Some(port(1)) }, vec![(1, 1), (1, 2), (2, 2)]),
    ];
    for (scope, left) in cases {
        let fdb = table(16);
        let limits = Limits::new(AGEING, None);
        for (vid, index) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            fdb.learn(at(0), &limits, vlan(vid), mac(u64::from(index)), port(index));
        }
        assert_eq!(fdb.flush(at(1), AGEING, scope), 4 - left.len(), "{scope:?}");
        let mut found: Vec<(u16, usize)> = fdb
            .entries(at(1), AGEING)
            .iter()
            .map(|entry| (entry.vlan.get(), entry.port.index()))
            .collect();
        found.sort_unstable();
        assert_eq!(found, left, "{scope:?}");
        assert_eq!(fdb.len(), left.len());
        fdb.learn(at(2), &limits, vlan(1), mac(1), port(1));
        assert_eq!(fdb.lookup(at(2), &limits, vlan(1), mac(1)), Some(port(1)));
    }
}

#[test]
fn flushes_beyond_number_leave_other_vlans_alone() {
    let fdb = table(4);
    learn(&fdb, 0, 1, 1);
    for nth in 0..u64::from(Value::MAX_EPOCH) * 2 + 100 {
        let limits = Limits::new(AGEING, None);
        fdb.learn(at(0), &limits, vlan(2), mac(2), port(2));
        let scope = Scope { vlan: Some(vlan(2)), port: None };
        assert_eq!(fdb.flush(at(0), AGEING, scope), 1, "{nth}");
        assert_eq!(fdb.lookup(at(0), &limits, vlan(2), mac(2)), None, "{nth}");
        assert_eq!(find(&fdb, 0, 1), Some(port(1)), "{nth}");
    }
}

#[test]
fn a_forgotten_port_leaves_nothing_behind() {
    let fdb = table(4096);
    for host in 0..1000 {
        learn(&fdb, 0, host, (host % 2) as u16);
    }
    fdb.forget_port(port(1));
    assert_eq!((fdb.len(), known(&fdb, 0, 0..1000).len()), (500, 500));
}

#[test]
fn a_sweep_reclaims_what_has_aged_out() {
    let fdb = table(4096);
    for host in 0..1000 {
        learn(&fdb, if host < 700 { 0 } else { 200_000 }, host, 1);
    }
    fdb.sweep(at(299_000), AGEING);
    assert_eq!(fdb.len(), 1000);
    fdb.sweep(at(301_000), AGEING);
    assert_eq!((fdb.len(), known(&fdb, 301_000, 0..1000).len()), (300, 300));
}

#[test]
fn a_smaller_table_takes_over_the_youngest_as_old_as_they_are() {
    let old = table(64);
    for host in 0..20 {
        learn(&old, host * 10_000, host, 1);
    }
    let new = Fdb::new(8, [3, 4]);
    new.adopt(at(200_000), AGEING, &old);
    assert_eq!(known(&new, 200_000, 0..20), (12..20).collect::<Vec<_>>());
    assert_eq!(find(&new, 430_000, 12), None);
    assert_eq!(find(&new, 430_000, 19), Some(port(1)));
}

#[test]
fn asking_what_would_be_learned_changes_nothing_and_is_right() {
    let fdb = table(2);
    let limits = Limits::new(AGEING, None);
    let ask = |host, index| fdb.would_learn(at(5000), &limits, vlan(1), mac(host), port(index));
    assert_eq!(ask(1, 1), Learning::New(vec![]));
    learn(&fdb, 0, 1, 1);
    learn(&fdb, 1, 2, 1);
    assert_eq!(ask(1, 1), Learning::Known);
    assert_eq!(ask(1, 2), Learning::Moves(vec![]));
    assert_eq!(ask(3, 2), Learning::New(vec![(vlan(1), mac(1))]));
    assert_eq!(known(&fdb, 5000, 0..9), [1, 2]);
    // Nobody became younger by the question.
    learn(&fdb, 5000, 3, 2);
    assert_eq!(known(&fdb, 5000, 0..9), [2, 3]);
}

#[test]
fn readers_beside_a_flood_and_flushes_never_see_a_host_on_a_port_that_is_not_its_own() {
    let fdb = table(256);
    // Every address has one port that it can be heard on.
    let home = |host: u64| (host % 61) as u16;
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let found: usize = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = 0;
                    while !is_done.load(Ordering::Relaxed) {
                        for host in 0..500 {
                            let at = find(&fdb, 0, host);
                            assert!(at.is_none_or(|at| at == port(home(host))), "{host} {at:?}");
                            found += usize::from(at.is_some());
                        }
                    }
                    found
                })
            })
            .collect();
        let writers: Vec<_> = (0..2u64)
            .map(|own| {
                let fdb = &fdb;
                scope.spawn(move || {
                    for nth in 0..100_000 {
                        let host = (nth * 7919 + own) % 500;
                        learn(fdb, 0, host, home(host));
                    }
                })
            })
            .collect();
        for vid in [1, 2].into_iter().cycle().take(200) {
            fdb.flush(at(0), AGEING, Scope { vlan: Some(vlan(vid)), port: None });
        }
        let ended: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        // Before anything can panic: the readers wait for it.
        is_done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    assert!(found > 0);
    let mut entries = fdb.entries(at(0), AGEING);
    assert_eq!(entries.len(), fdb.len());
    entries.sort_by_key(|entry| entry.mac);
    entries.dedup_by_key(|entry| entry.mac);
    assert_eq!(entries.len(), fdb.len());
}

/// What the table does as long as no bucket overflows, by searching a list.
struct Model {
    /// Host, port, when it was heard, and from where it is known; oldest first.
    entries: Vec<(u64, u16, u64, EntryKind)>,
    /// When the number of a port's entries last changed.
    changed: Vec<(u16, u64)>,
    changes: u64,
    mac_limit: usize,
}

impl Model {
    fn count(&self, index: u16) -> usize {
        self.entries.iter().filter(|entry| entry.1 == index).count()
    }

    fn note_change(&mut self, index: u16) {
        self.changes += 1;
        self.changed.retain(|&(port, _)| port != index);
        self.changed.push((index, self.changes));
    }

    fn remove(&mut self, position: usize) {
        let index = self.entries.remove(position).1;
        self.note_change(index);
    }

    fn enter(
        &mut self,
        millis: u64,
        host: u64,
        (index, kind): (u16, EntryKind),
        port_limit: usize,
    ) {
        let tick = |millis: u64| at(millis).as_micros() >> 16;
        let is_dead = |stamp: u64| tick(millis) - tick(stamp) >= 4578;
        if let Some(position) = self.entries.iter().position(|entry| entry.0 == host) {
            let (_, before, stamp, known) = self.entries[position];
            let is_heard_again = (known, kind) == (EntryKind::Learned, EntryKind::Learned);
            if before == index && is_heard_again && tick(millis) - tick(stamp) < 16 {
                return;
            }
            if before != index {
                self.keep_port_limit(index, port_limit);
            }
            let position = self.entries.iter().position(|entry| entry.0 == host).unwrap();
            self.remove(position);
        } else {
            let evicted = self.keep_port_limit(index, port_limit);
            if !evicted && self.entries.len() >= self.mac_limit {
                let largest = self.entries.iter().map(|entry| self.count(entry.1)).max().unwrap();
                let loser = self.changed.iter().find(|changed| self.count(changed.0) == largest);
                let loser = loser.unwrap().0;
                let oldest = self.entries.iter().position(|entry| entry.1 == loser).unwrap();
                let ages = self.entries.iter().position(|entry| entry.3 == EntryKind::Learned);
                let dead = ages.filter(|&position| is_dead(self.entries[position].2));
                self.remove(dead.unwrap_or(oldest));
            }
        }
        self.entries.push((host, index, millis, kind));
        self.note_change(index);
    }

    fn keep_port_limit(&mut self, index: u16, port_limit: usize) -> bool {
        let is_full = self.count(index) >= port_limit;
        if is_full {
            let oldest = self.entries.iter().position(|entry| entry.1 == index).unwrap();
            self.remove(oldest);
        }
        is_full
    }
}

proptest! {
    #[test]
    fn learning_and_eviction_are_those_of_a_searched_list(
        mac_limit in 1usize..=8,
        port_limits in proptest::array::uniform4(1usize..6),
        steps in proptest::collection::vec((0u64..14, 0u16..4, prop_oneof![8 => 0u64..900, 1 => 0u64..200_000]), 1..120),
    ) {
        let fdb = table(mac_limit);
        let mut model = Model { entries: vec![], changed: vec![], changes: 0, mac_limit };
        let mut now = 0;
        for (host, index, pause) in steps {
            now += pause;
            let limit = port_limits[usize::from(index)];
            let limits = Limits::new(AGEING, Some(limit));
            // Behind the last port is another host.
            let kind = if index == 3 { EntryKind::Remote } else { EntryKind::Learned };
            match kind {
                EntryKind::Learned => fdb.learn(at(now), &limits, vlan(1), mac(host), port(index)),
                EntryKind::Remote => {
                    prop_assert!(fdb.install(at(now), &limits, vlan(1), mac(host), port(index)));
                }
            }
            model.enter(now, host, (index, kind), limit);
            let mut expected: Vec<_> =
                model.entries.iter().map(|entry| (entry.0, entry.1, entry.3)).collect();
            let entry = |(key, value): (Key, Value)| {
                (key.mac().to_u64() & 0xffff, value.port().index() as u16, value.kind())
            };
            let mut found: Vec<_> =
                fdb.table.slots().filter_map(slot::Slot::read).map(entry).collect();
            expected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(expected, found);
            prop_assert_eq!(fdb.len(), model.entries.len());
        }
    }
}
