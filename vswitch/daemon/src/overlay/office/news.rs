//! What the forwarding databases say: addresses that came, moved and went here are told to the overlay; what they had no
//! room for of others' is entered again where there is.

use std::{
    collections::BTreeSet,
    task::{Context, Poll, Waker},
    time::Duration,
};

use weft_core::{Bulletin, Change, EntryKind, PortId};
use weft_overlay::{Hold, LocalPort, SegmentId};
use weft_vlan::{MacAddr, VlanId};
use weft_vpn::PeerId;

use super::Acting;
use crate::clock;

/// How often addresses that had to make room are entered again where there is room, and how many at a time.
const REFILL_EVERY: Duration = Duration::from_secs(1);
const REFILL: usize = 1024;

pub(super) fn poll_news(
    acting: Option<&Acting>,
    context: &mut Context<'_>,
) -> Poll<(usize, Bulletin)> {
    for (&switch, (fdb, _)) in acting.iter().flat_map(|acting| &acting.followed) {
        if let Poll::Ready(bulletin) = fdb.poll_news(context) {
            return Poll::Ready((switch, bulletin));
        }
    }
    Poll::Pending
}

impl Acting {
    /// Takes in what databases have learned by the time that a frame was snooped, so that its sender is known.
    pub(super) fn catch_up(&mut self, now: Duration) {
        // Whoever waits for news asks for them again with its own waker.
        let mut context = Context::from_waker(Waker::noop());
        let switches: Vec<usize> = self.followed.keys().copied().collect();
        for switch in switches {
            let news = self.followed.get(&switch).map(|(fdb, _)| fdb.poll_news(&mut context));
            if let Some(Poll::Ready(bulletin)) = news {
                self.take_news(now, switch, &bulletin);
            }
        }
    }

    /// Takes in what a forwarding database has learned and forgotten.
    pub(super) fn take_news(&mut self, now: Duration, switch: usize, bulletin: &Bulletin) {
        if bulletin.is_incomplete {
            return self.take_all(now, switch);
        }
        for news in &bulletin.news {
            let Some(segment) = self.scene.segment_at(switch, news.vlan) else { continue };
            match news.change {
                Change::Came(port) => {
                    // From a peer to a LAN, as what goes round does.
                    if self.overlay.installed_at(segment, news.mac).is_some() {
                        self.suspect(now, segment, port);
                    }
                    self.learned(now, segment, news.mac, port);
                }
                Change::Moved(port) => {
                    self.suspect(now, segment, port);
                    self.learned(now, segment, news.mac, port);
                }
                Change::Went => self.forgotten(now, segment, news.mac),
                Change::Evicted => self.evicted(segment, news.mac),
            }
        }
    }

    /// Takes in all that a forwarding database knows.
    fn take_all(&mut self, now: Duration, switch: usize) {
        let segments: Vec<SegmentId> = self
            .scene
            .segments
            .iter()
            .filter(|(_, it)| it.switch == switch)
            .map(|(&id, _)| id)
            .collect();
        let Some(first) = segments.first().and_then(|id| self.scene.segments.get(id)) else {
            return;
        };
        let entries = first.fdb.entries(clock::now(), first.ageing);
        let mut gone: BTreeSet<(SegmentId, MacAddr)> =
            self.here.iter().filter(|(segment, _)| segments.contains(segment)).copied().collect();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Learned) {
            let Some(segment) = self.scene.segment_at(switch, entry.vlan) else { continue };
            gone.remove(&(segment, entry.mac));
            self.learned(now, segment, entry.mac, entry.port);
        }
        let remote = entries.iter().filter(|entry| entry.kind == EntryKind::Remote);
        let there: BTreeSet<(VlanId, MacAddr)> =
            remote.map(|entry| (entry.vlan, entry.mac)).collect();
        for &segment in &segments {
            let Some(vlan) = self.scene.segments.get(&segment).map(|it| it.vlan) else { continue };
            let lost = self.overlay.installed(segment).map(|(mac, _)| mac);
            let lost = lost.filter(|&mac| !there.contains(&(vlan, mac)));
            self.homeless.extend(lost.map(|mac| (segment, mac)));
        }
        gone.into_iter().for_each(|(segment, mac)| self.forgotten(now, segment, mac));
    }

    /// Looks for a loop behind a port at once: an address came there from elsewhere.
    fn suspect(&mut self, now: Duration, segment: SegmentId, port: PortId) {
        self.probes.hurry(now, LocalPort(port.index() as u16), segment);
    }

    fn learned(&mut self, now: Duration, segment: SegmentId, mac: MacAddr, port: PortId) {
        self.here.insert((segment, mac));
        self.homeless.remove(&(segment, mac));
        let port = LocalPort(port.index() as u16);
        self.overlay.learned(now, segment, mac, port, Hold::Learned);
    }

    fn forgotten(&mut self, now: Duration, segment: SegmentId, mac: MacAddr) {
        if self.here.remove(&(segment, mac)) {
            self.overlay.forgotten(now, segment, mac);
        }
    }

    /// An address of a peer's had to make room.
    fn evicted(&mut self, segment: SegmentId, mac: MacAddr) {
        if self.overlay.installed_at(segment, mac).is_some() {
            self.homeless.insert((segment, mac));
        }
    }

    /// Enters addresses again that had to make room, where there is room now: whoever has them is to be sent to alone,
    /// and taking others' room for it would go round.
    pub(super) fn refill(&mut self, now: Duration) {
        if self.homeless.is_empty() || now < self.refill_at {
            return;
        }
        self.refill_at = now + REFILL_EVERY;
        for (&segment, at) in &self.scene.segments {
            let room = at.fdb.mac_limit().saturating_sub(at.fdb.len()).min(REFILL);
            let all = (segment, MacAddr::from_u64(0))..=(segment, MacAddr::BROADCAST);
            let macs: Vec<MacAddr> =
                self.homeless.range(all).take(room).map(|&(_, mac)| mac).collect();
            for mac in macs {
                self.homeless.remove(&(segment, mac));
                let peer = self.overlay.installed_at(segment, mac);
                let port = peer
                    .and_then(|peer| self.scene.peers.get(&PeerId(peer.0))?.ports.get(&segment));
                if let Some(&port) = port {
                    at.compiled.install(clock::now(), at.vlan, mac, port);
                }
            }
        }
    }
}
