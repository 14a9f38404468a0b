//! The task: turns what sessions, forwarding databases and ports say into what the overlay knows, and its decisions
//! into entries, datagrams and frames.

mod news;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender},
    time::sleep,
};
use weft_core::{Bulletin, Fdb, PortId};
use weft_overlay::{
    Event, Hold, LocalPort, Overlay, Owner, SegmentId,
    probe::{Probe, ProbeEvent, Probes},
};
use weft_ports::{Job, Scratch, Tally, udp::Socket};
use weft_vlan::{MacAddr, VlanId, VlanSet, WireTag};
use weft_vpn::{Kind, PAYLOAD_AT, PeerId, record_len};

use self::news::poll_news;
use super::{Probed, Scene, Snooped};
use crate::{
    clock,
    control::Happened,
    plane::Injector,
    tunnel::{News, OverlayMessage},
};

/// News of one forwarding database that are kept at most.
const NEWS_MAX: usize = 4096;
/// Messages that are sent in one turn; the pause paces full sets.
const MESSAGES: usize = 16;
const PAUSE: Duration = Duration::from_millis(10);
/// The longest that the office sleeps.
const NAP: Duration = Duration::from_secs(5);

/// What the control plane has the office do.
pub(crate) enum Order {
    /// Act on these surroundings from now on.
    Act(Box<Scene>, Socket),
    /// A session with a peer begins.
    Up(PeerId),
    /// A session with a peer ended.
    Down(PeerId),
    /// There are no tunnels any more.
    Rest,
}

/// What the office listens to.
pub(crate) struct Sources {
    /// Orders of the control plane.
    pub(crate) orders: UnboundedReceiver<Order>,
    /// What peers' overlays say.
    pub(crate) messages: Receiver<OverlayMessage>,
    /// What workers hand over.
    pub(crate) snooped: Receiver<Snooped>,
}

/// The overlay with its surroundings.
pub(crate) struct Office {
    happened: UnboundedSender<Happened>,
    injector: Injector,
    acting: Option<Acting>,
    scratch: Scratch,
}

struct Acting {
    overlay: Overlay,
    probes: Probes,
    scene: Scene,
    socket: Socket,
    /// The databases whose news are read, by switch.
    followed: BTreeMap<usize, (Arc<Fdb>, VlanSet)>,
    /// What the overlay was told to be here.
    here: BTreeSet<(SegmentId, MacAddr)>,
    /// What the databases had no room for.
    homeless: BTreeSet<(SegmentId, MacAddr)>,
    /// When that is tried again.
    refill_at: Duration,
    up: BTreeSet<PeerId>,
}

/// Something to be looked at.
enum Heard {
    Order(Order),
    Message(OverlayMessage),
    Snooped(Snooped),
    Bulletin(usize, Bulletin),
    Time,
}

impl Office {
    /// Makes the office; it rests until it has a scene.
    pub(crate) fn new(happened: UnboundedSender<Happened>, injector: Injector) -> Self {
        Self { happened, injector, acting: None, scratch: Scratch::new() }
    }

    /// Works until there is nobody who gives orders.
    pub(crate) async fn run(mut self, mut sources: Sources) {
        loop {
            let patience = self.patience();
            let acting = self.acting.as_ref();
            let heard = tokio::select! {
                order = sources.orders.recv() => match order {
                    Some(order) => Heard::Order(order),
                    None => return,
                },
                Some(message) = sources.messages.recv() => Heard::Message(message),
                Some(snooped) = sources.snooped.recv() => Heard::Snooped(snooped),
                (switch, bulletin) = poll_fn(|context| poll_news(acting, context)) => {
                    Heard::Bulletin(switch, bulletin)
                }
                () = sleep(patience) => Heard::Time,
            };
            let now = clock::elapsed();
            self.hear(now, heard);
            self.work(now);
        }
    }

    fn patience(&self) -> Duration {
        let now = clock::elapsed();
        let due = self.acting.as_ref().and_then(|acting| {
            let refill = (!acting.homeless.is_empty()).then_some(acting.refill_at);
            [acting.overlay.poll_timeout(), acting.probes.poll_timeout(), refill]
                .into_iter()
                .flatten()
                .min()
        });
        due.map_or(NAP, |due| due.saturating_sub(now).max(PAUSE)).min(NAP)
    }

    fn hear(&mut self, now: Duration, heard: Heard) {
        match heard {
            Heard::Order(Order::Act(scene, socket)) => self.act(now, *scene, socket),
            Heard::Order(Order::Rest) => self.acting = None,
            Heard::Order(Order::Up(peer)) => self.with(|acting| {
                if acting.up.insert(peer) {
                    acting.overlay.session_up(now, overlay_id(peer));
                }
            }),
            Heard::Order(Order::Down(peer)) => self.with(|acting| {
                acting.up.remove(&peer);
                acting.overlay.session_down(now, overlay_id(peer));
            }),
            Heard::Message(OverlayMessage { peer, payload }) => self.with(|acting| {
                acting.overlay.receive(now, overlay_id(peer), &payload);
            }),
            Heard::Bulletin(switch, bulletin) => {
                self.with(|acting| acting.take_news(now, switch, &bulletin));
            }
            Heard::Snooped(snooped) => self.snoop(now, snooped),
            Heard::Time => {}
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Acting)) {
        if let Some(acting) = &mut self.acting {
            act(acting);
        }
    }

    /// Does what is due and what was decided.
    fn work(&mut self, now: Duration) {
        let Some(acting) = &mut self.acting else { return };
        acting.overlay.handle_timeout(now);
        while let Some(event) = acting.overlay.poll_event() {
            if let Some(news) = acting.carry_out(event) {
                let _ = self.happened.send(Happened::Told(news));
            }
        }
        acting.refill(now);
        for _ in 0..MESSAGES {
            let Some((peer, payload)) = acting.overlay.poll_transmit(now) else { break };
            acting.say(now, peer, &payload);
        }
        while let Some(event) = acting.probes.handle_timeout(now) {
            let _ = self.happened.send(Happened::Loop(event));
        }
        while let Some((port, segment, frame)) = acting.probes.poll_transmit(now) {
            send_frame(&acting.scene, &mut self.scratch, port, segment, &frame);
        }
    }

    fn act(&mut self, now: Duration, scene: Scene, socket: Socket) {
        let is_other_host = |acting: &Acting| acting.scene.own != scene.own;
        if self.acting.as_ref().is_none_or(is_other_host) {
            let epoch = clock::wall().as_micros() as u64;
            let secret = getrandom::u64().unwrap_or(epoch);
            self.acting = Some(Acting {
                overlay: Overlay::new(scene.own, epoch, secret),
                probes: Probes::new(scene.own),
                scene,
                socket,
                followed: BTreeMap::new(),
                here: BTreeSet::new(),
                homeless: BTreeSet::new(),
                refill_at: now,
                up: BTreeSet::new(),
            });
            self.with(|acting| acting.begin(now));
            return;
        }
        self.with(|acting| acting.change(now, scene, socket));
    }

    fn snoop(&mut self, now: Duration, snooped: Snooped) {
        let Some(acting) = &mut self.acting else {
            // Nobody answers: the question goes its way.
            if let Snooped::Question(port, _, tag, frame) = snooped {
                self.injector.inject(port, tag, frame);
            }
            return;
        };
        acting.catch_up(now);
        match snooped {
            Snooped::Probe(port, tag, frame) => {
                if let Some(event) = acting.probed(now, port, tag, &frame) {
                    let _ = self.happened.send(Happened::Loop(event));
                }
            }
            Snooped::Heard(port, vlan, frame) => acting.observe(port, vlan, &frame),
            Snooped::Question(port, vlan, tag, frame) => {
                acting.observe(port, vlan, &frame);
                match acting.answer(port, vlan, &frame) {
                    Some((segment, answer)) => {
                        let to = LocalPort(port.index() as u16);
                        send_frame(&acting.scene, &mut self.scratch, to, segment, &answer);
                    }
                    None => self.injector.inject(port, tag, frame),
                }
            }
        }
    }
}

fn overlay_id(peer: PeerId) -> weft_overlay::PeerId {
    weft_overlay::PeerId(peer.0)
}

/// Sends a frame of a segment out of a port of this host.
fn send_frame(
    scene: &Scene,
    scratch: &mut Scratch,
    port: LocalPort,
    segment: SegmentId,
    frame: &[u8],
) {
    let port = PortId::new(port.0).and_then(|port| scene.ports.get(&port));
    let (Some(port), Some(segment)) = (port, scene.segments.get(&segment)) else { return };
    let Some(egress) = &port.egress else { return };
    let mut builder = scratch.builder();
    builder.push(frame, None, None);
    let burst = builder.finish();
    let job = Job { frame: 0, tags: port.tags(segment.vlan) };
    egress.lock_queue(0).send(&burst, &[job], &mut Tally::default());
}

impl Acting {
    /// Brings a new overlay to the scene.
    fn begin(&mut self, now: Duration) {
        for (&id, peer) in &self.scene.peers {
            self.overlay.set_peer(now, overlay_id(id), &peer.spec);
        }
        self.set_segments(now);
    }

    /// Goes on with another scene.
    fn change(&mut self, now: Duration, scene: Scene, socket: Socket) {
        let before = std::mem::replace(&mut self.scene, scene);
        self.socket = socket;
        for &id in before.peers.keys().filter(|id| !self.scene.peers.contains_key(id)) {
            self.overlay.remove_peer(now, overlay_id(id));
            self.up.remove(&id);
        }
        for &segment in before.segments.keys() {
            if self.place(segment) != before.segments.get(&segment).map(|it| (it.switch, it.vlan)) {
                self.overlay.remove_segment(now, segment);
                self.here.retain(|(other, _)| *other != segment);
                self.homeless.retain(|(other, _)| *other != segment);
                // It may go on elsewhere: what is known there is news.
                self.followed.clear();
            }
        }
        for (port, segment) in probed_places(&before) {
            if !probed_places(&self.scene).contains(&(port, segment)) {
                self.probes.unwatch(port, segment);
            }
        }
        self.begin(now);
    }

    fn place(&self, segment: SegmentId) -> Option<(usize, VlanId)> {
        self.scene.segments.get(&segment).map(|it| (it.switch, it.vlan))
    }

    fn set_segments(&mut self, now: Duration) {
        let mut wanted: BTreeMap<usize, (Arc<Fdb>, VlanSet)> = BTreeMap::new();
        for (&id, segment) in &self.scene.segments {
            self.overlay.set_answering(id, segment.answering);
            for &(mac, port) in &segment.statics {
                let port = LocalPort(port.index() as u16);
                self.overlay.learned(now, id, mac, port, Hold::Static);
            }
            let (_, vlans) = wanted
                .entry(segment.switch)
                .or_insert_with(|| (segment.fdb.clone(), VlanSet::new()));
            vlans.insert(segment.vlan);
        }
        for (switch, (fdb, vlans)) in &wanted {
            let is_followed = self.followed.get(switch).is_some_and(|(known, known_vlans)| {
                Arc::ptr_eq(known, fdb) && known_vlans == vlans
            });
            if !is_followed {
                fdb.follow(vlans.clone(), NEWS_MAX);
            }
        }
        self.followed = wanted;
        for (port, segment) in probed_places(&self.scene) {
            self.probes.watch(now, port, segment);
        }
    }

    fn observe(&mut self, port: PortId, vlan: VlanId, frame: &[u8]) {
        let Some(port) = self.scene.ports.get(&port) else { return };
        if let Some(segment) = self.scene.segment_at(port.switch, vlan) {
            self.overlay.observe(segment, frame);
        }
    }

    fn answer(&self, port: PortId, vlan: VlanId, frame: &[u8]) -> Option<(SegmentId, Vec<u8>)> {
        let port = self.scene.ports.get(&port)?;
        let segment = self.scene.segment_at(port.switch, vlan)?;
        Some((segment, self.overlay.answer(segment, frame)?))
    }

    fn probed(
        &mut self,
        now: Duration,
        at: PortId,
        tag: Option<WireTag>,
        frame: &[u8],
    ) -> Option<ProbeEvent> {
        let probe = Probe::read(frame)?;
        let port = self.scene.ports.get(&at)?;
        let segment = self.scene.segment_at(port.switch, port.vlan_of(tag)?)?;
        let is_shared = |probe: Probe| self.overlay.shares(probe.host, segment);
        self.probes.received(now, LocalPort(at.index() as u16), segment, probe, is_shared)
    }

    /// Does what the overlay decided; returns what the control plane must hear.
    fn carry_out(&mut self, event: Event) -> Option<News> {
        match event {
            Event::Install { segment, mac, peer } => {
                let (id, at) = (PeerId(peer.0), self.scene.segments.get(&segment)?);
                let &port = self.scene.peers.get(&id)?.ports.get(&segment)?;
                if at.compiled.install(clock::now(), at.vlan, mac, port) {
                    self.homeless.remove(&(segment, mac));
                } else {
                    self.homeless.insert((segment, mac));
                    self.count(id, "not-installed");
                }
            }
            Event::Withdraw { segment, mac, peer } => {
                self.homeless.remove(&(segment, mac));
                let at = self.scene.segments.get(&segment)?;
                let &port = self.scene.peers.get(&PeerId(peer.0))?.ports.get(&segment)?;
                at.fdb.withdraw(at.vlan, mac, port);
            }
            Event::Frozen { segment, mac, owner, .. } => {
                self.homeless.remove(&(segment, mac));
                let at = self.scene.segments.get(&segment)?;
                if owner != Owner::Here {
                    at.fdb.doubt(at.vlan, mac);
                }
                at.fdb.freeze(at.vlan, mac);
                return Some(News::Frozen(segment, mac, owner));
            }
            Event::Thawed { segment, mac } => {
                if let Some(at) = self.scene.segments.get(&segment) {
                    at.fdb.thaw(at.vlan, mac);
                }
                return Some(News::Thawed(segment, mac));
            }
            Event::Challenged { segment, mac } => {
                let at = self.scene.segments.get(&segment)?;
                at.fdb.doubt(at.vlan, mac);
            }
            Event::Synced { peer, segment } => {
                tracing::debug!(peer = peer.0, segment = segment.get(), "addresses complete");
            }
            Event::Refused { peer, refusal, count } => {
                self.scene.peers.get(&PeerId(peer.0))?.peer.counts.set(refusal.as_str(), count);
            }
            Event::Compared { peer, mismatches } => {
                let mismatches = mismatches.iter().map(ToString::to_string).collect();
                return Some(News::Compared(PeerId(peer.0), mismatches));
            }
            Event::Conflict { segment, ip, macs: [one, other] } => {
                tracing::warn!(segment = segment.get(), %ip, %one, %other, "two hosts claim one address");
            }
        }
        None
    }

    fn count(&self, peer: PeerId, reason: &'static str) {
        if let Some(peer) = self.scene.peers.get(&peer) {
            peer.peer.counts.bump(reason);
        }
    }

    /// Seals a message and sends it; a message that is lost is sent again by the overlay.
    fn say(&self, now: Duration, peer: weft_overlay::PeerId, payload: &[u8]) {
        let Some(peer) = self.scene.peers.get(&PeerId(peer.0)) else { return };
        let way = peer.peer.way();
        let Some(way) = way.as_deref() else { return };
        let mut record = vec![0; record_len(payload.len())];
        record[PAYLOAD_AT..PAYLOAD_AT + payload.len()].copy_from_slice(payload);
        if let Ok(len) = way.session.seal(now, Kind::Overlay, payload.len(), &mut record) {
            let _ = self.socket.send_to(&record[..len], way.address);
        }
    }
}

/// Returns the ports that send probes, and for which segments.
fn probed_places(scene: &Scene) -> BTreeSet<(LocalPort, SegmentId)> {
    let ports = scene.ports.iter().filter(|(_, port)| port.probed == Probed::Yes);
    let places = ports.flat_map(|(&id, port)| {
        let members = scene.segments.iter().filter(move |(_, segment)| {
            segment.switch == port.switch && port.vlan.is_member(segment.vlan)
        });
        members.map(move |(&segment, _)| (LocalPort(id.index() as u16), segment))
    });
    places.collect()
}
