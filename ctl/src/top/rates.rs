//! From counters at two times to rates.

use std::{collections::BTreeMap, time::Duration};

use weft_config::api::{Direction, Peer, Port};

/// What the daemon said at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) at: Duration,
    pub(super) ports: Vec<Port>,
    pub(super) peers: Vec<Peer>,
}

/// One direction, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) frames: f64,
    pub(super) bits: f64,
    pub(super) drops: f64,
}

/// Both directions of a port or a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Both {
    pub(super) rx: Rate,
    pub(super) tx: Rate,
}

/// The last reading, and how fast the counters went before it.
#[derive(Debug)]
pub(super) struct Rates {
    last: Reading,
    ports: BTreeMap<String, Both>,
    peers: BTreeMap<String, Both>,
}

impl Rates {
    /// Begins with a first reading, of which there are no rates yet.
    pub(super) fn new(first: Reading) -> Self {
        Self { last: first, ports: BTreeMap::new(), peers: BTreeMap::new() }
    }

    /// Takes another reading.
    pub(super) fn take(&mut self, next: Reading) {
        let seconds = next.at.saturating_sub(self.last.at).as_secs_f64();
        let port = |port: &Port| (port.name.clone(), [port.rx.clone(), port.tx.clone()]);
        let peer = |peer: &Peer| (peer.name.clone(), [peer.rx.clone(), peer.tx.clone()]);
        self.ports =
            between(self.last.ports.iter().map(port), next.ports.iter().map(port), seconds);
        self.peers =
            between(self.last.peers.iter().map(peer), next.peers.iter().map(peer), seconds);
        self.last = next;
    }

    /// Returns the ports with their rates.
    pub(super) fn ports(&self) -> impl Iterator<Item = (&Port, Both)> {
        self.last.ports.iter().map(|port| (port, rate_of(&self.ports, &port.name)))
    }

    /// Returns the peers with their rates.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&Peer, Both)> {
        self.last.peers.iter().map(|peer| (peer, rate_of(&self.peers, &peer.name)))
    }
}

fn rate_of(rates: &BTreeMap<String, Both>, name: &str) -> Both {
    rates.get(name).copied().unwrap_or_default()
}

type Counted = (String, [Direction; 2]);

/// Returns the rates of all that were there before, too.
fn between(
    before: impl Iterator<Item = Counted>,
    after: impl Iterator<Item = Counted>,
    seconds: f64,
) -> BTreeMap<String, Both> {
    let before: BTreeMap<String, [Direction; 2]> = before.collect();
    after
        .filter_map(|(name, after)| {
            let [rx, tx] = before.get(&name)?;
            let both = Both { rx: rate(rx, &after[0], seconds), tx: rate(tx, &after[1], seconds) };
            Some((name, both))
        })
        .collect()
}

fn rate(before: &Direction, after: &Direction, seconds: f64) -> Rate {
    // Counters that begin anew count from nothing.
    let added = |before: u64, after: u64| if after < before { after } else { after - before };
    let each = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let dropped = |direction: &Direction| direction.drops.values().sum();
    Rate {
        frames: each(added(before.frames, after.frames)),
        bits: each(added(before.bytes, after.bytes)) * 8.0,
        drops: each(added(dropped(before), dropped(after))),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use weft_config::api::PortState;

    use super::*;

    pub(in crate::top) fn port(name: &str, frames: u64, drops: u64) -> Port {
        let count = |frames: u64, drops: u64| Direction {
            frames,
            bytes: frames * 100,
            drops: [("no-member".to_owned(), drops)].into(),
        };
        Port {
            name: name.to_owned(),
            switch: "main".to_owned(),
            kind: "tap".to_owned(),
            device: None,
            socket: None,
            vm: None,
            vlan: serde_json::json!({ "access": 10 }),
            mtu: None,
            state: PortState::Up,
            reason: None,
            rx: count(frames, drops),
            tx: count(frames / 2, 0),
        }
    }

    pub(in crate::top) fn reading(seconds: u64, ports: Vec<Port>) -> Reading {
        Reading { at: Duration::from_secs(seconds), ports, peers: Vec::new() }
    }

    fn of(rates: &Rates, name: &str) -> Both {
        rates.ports().find(|(port, _)| port.name == name).unwrap().1
    }

    #[test]
    fn rates_are_what_was_counted_by_the_time() {
        let mut rates = Rates::new(reading(10, vec![port("a", 100, 0)]));
        assert_eq!(of(&rates, "a"), Both::default());
        rates.take(reading(12, vec![port("a", 300, 8), port("new", 50, 0)]));
        let both = of(&rates, "a");
        assert_eq!(both.rx, Rate { frames: 100.0, bits: 80_000.0, drops: 4.0 });
        assert_eq!(both.tx.frames, 50.0);
        assert_eq!(of(&rates, "new"), Both::default(), "nothing is known of before");
        // The daemon was started anew; time stands still.
        rates.take(reading(13, vec![port("a", 40, 0)]));
        assert_eq!(of(&rates, "a").rx.frames, 40.0);
        rates.take(reading(13, vec![port("a", 90, 0)]));
        assert_eq!(of(&rates, "a").rx.frames, 0.0);
    }
}
