//! A worker: takes a burst from a queue, decides, delivers, goes on; sleeps when nothing comes.

use std::{
    collections::HashMap,
    io,
    num::NonZeroU64,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

use arc_swap::ArcSwap;
use rustix::{
    event::{EventfdFlags, Timespec, epoll, eventfd},
    thread::{nanosleep, set_current_timer_slack},
};
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use weft_core::{DirectionCounters, DropReason, PortId, Timestamp};
use weft_ports::{BURST, Burst, Fault, Job, Receive, Scratch, Tally};
use weft_vlan::WireTag;

use super::{
    Egress, Plan, PortCounters, QueueEnded,
    moderation::{Moderation, PAUSE, Turn},
};
use crate::{
    capture::{Nobody, Tap, Taps, Watch, Watched},
    clock,
    tunnel::Incoming,
};

/// Turns between two looks at what the kernel has to say, while guests' rings alone keep a worker busy.
const TURNS_BETWEEN_LOOKS: u32 = 8;
/// How long a worker goes on asking for frames before it sleeps. A reply to what it just delivered usually
/// comes within this time, and waking up costs more than asking again.
const SPIN: Duration = Duration::from_micros(5);
const EVENTS: usize = 64;
/// The wake-up descriptor's token; queue tokens count from 0.
const WAKE: u64 = u64::MAX;

/// What the control plane tells a worker.
pub(super) enum Command {
    /// Serve a queue.
    Attach(Attachment),
    /// Drop the queues of a port, or those of the tunnels.
    Detach(Option<PortId>),
    /// Switch a frame that came by a port, with this tag, and was handed over.
    Inject(PortId, Option<WireTag>, Vec<u8>),
    /// Show a client what is delivered.
    Tap(Box<Tap>),
    /// Show it no more.
    Untap(u64),
    /// Answer once the newest plan is in use.
    Pass(oneshot::Sender<()>),
    /// End.
    Stop,
}

/// A queue for a worker.
pub(super) struct Attachment {
    /// Its port; `None` for what the tunnels receive, whatever their ports.
    pub(super) port: Option<PortId>,
    /// Tells this opening of the port from earlier and later ones.
    pub(super) generation: u64,
    pub(super) source: Source,
}

/// What a descriptor that became ready stands for.
pub(super) enum Source {
    /// Frames wait.
    Ingress(Box<dyn Receive>),
    /// A sending queue has room for what it left over.
    Backlog { egress: Arc<Egress>, queue: usize, counters: Arc<PortCounters> },
    /// Records wait.
    Tunnels(Box<Incoming>),
}

pub(super) struct Worker {
    id: usize,
    plan: Arc<ArcSwap<Plan>>,
    commands: Receiver<Command>,
    wake: Arc<OwnedFd>,
    epoll: OwnedFd,
    sources: HashMap<u64, Attachment>,
    /// The sources that are asked each turn, whatever their descriptors say.
    polled: Vec<u64>,
    next_token: u64,
    ended: UnboundedSender<QueueEnded>,
    outbox: Outbox,
    scratch: Scratch,
}

/// Makes the descriptor that wakes a worker.
pub(super) fn wake_descriptor() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

impl Worker {
    pub(super) fn new(
        id: usize,
        plan: Arc<ArcSwap<Plan>>,
        commands: Receiver<Command>,
        wake: Arc<OwnedFd>,
        ended: UnboundedSender<QueueEnded>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self {
            id,
            plan,
            commands,
            wake,
            epoll,
            sources: HashMap::new(),
            polled: Vec::new(),
            next_token: 0,
            ended,
            outbox: Outbox::new(),
            scratch: Scratch::new(),
        })
    }

    pub(super) fn run(mut self) {
        let plans = self.plan.clone();
        let mut events = Vec::with_capacity(EVENTS);
        let mut busy_until = Timestamp::default();
        let mut frames_came = false;
        let mut turns_to_look = 0;
        let mut moderation = Moderation::default();
        // Where it cannot be set, pauses are longer.
        let _ = set_current_timer_slack(NonZeroU64::new(1));
        loop {
            let before = clock::now();
            if frames_came {
                busy_until = before.after(SPIN);
            }
            let spinning = before < busy_until || !self.rest();
            if turns_to_look == 0 || !spinning {
                if let Err(error) = self.wait(&mut events, spinning) {
                    tracing::error!(worker = self.id, %error, "cannot wait for frames");
                    return;
                }
                turns_to_look = TURNS_BETWEEN_LOOKS;
            }
            // Commands come first and no plan is held meanwhile: who is told that this worker has passed
            // knows that it uses no older plan.
            if events.contains(&WAKE) && !self.obey() {
                return;
            }
            let now = if spinning { before } else { clock::now() };
            let plan = plans.load();
            frames_came = false;
            for token in events.drain(..).filter(|&token| token != WAKE) {
                if !self.announce(token) {
                    frames_came |= self.serve(token, &plan, now);
                }
            }
            let polled_came = self.serve_polled(&plan, now);
            let turn = std::mem::take(&mut self.outbox.turn);
            // Guests' rings announce nothing while they are asked each turn, and are short.
            if !polled_came && moderation.pauses(now, turn) {
                drop(plan);
                pause();
            }
            turns_to_look = if polled_came && !frames_came { turns_to_look - 1 } else { 0 };
            frames_came |= polled_came;
        }
    }

    /// Has guests announce their next frames; `false` when some are there already.
    fn rest(&mut self) -> bool {
        let mut rested = true;
        for token in &self.polled {
            if let Some(Source::Ingress(queue)) =
                self.sources.get_mut(token).map(|attachment| &mut attachment.source)
            {
                rested &= queue.rest();
            }
        }
        rested
    }

    /// Tells a queue that is asked each turn that its descriptor became readable; `false` for all others.
    fn announce(&mut self, token: u64) -> bool {
        match self.sources.get_mut(&token).map(|attachment| &mut attachment.source) {
            Some(Source::Ingress(queue)) if queue.is_polled() => {
                queue.announced();
                true
            }
            _ => false,
        }
    }

    /// Serves what is asked each turn; tells whether frames came.
    fn serve_polled(&mut self, plan: &Plan, now: Timestamp) -> bool {
        let mut came = false;
        for position in (0..self.polled.len()).rev() {
            came |= self.serve(self.polled[position], plan, now);
        }
        came
    }

    fn wait(&self, events: &mut Vec<u64>, spinning: bool) -> io::Result<()> {
        let mut buffer = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; EVENTS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = match epoll::wait(&self.epoll, &mut buffer[..], spinning.then_some(&at_once)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        events.extend(buffer[..ready].iter().map(|event| event.data.u64()));
        Ok(())
    }

    /// Carries out what the control plane said; `false` to end.
    fn obey(&mut self) -> bool {
        // Only resets the descriptor; the queue of commands says what there is to do.
        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Attach(attachment) => self.attach(attachment),
                Command::Detach(port) => self.detach(port),
                Command::Inject(port, tag, frame) => {
                    let plan = self.plan.load();
                    let mut builder = self.scratch.builder();
                    builder.push(&frame, tag, None);
                    let burst = builder.finish();
                    let now = clock::now();
                    deliver(self.id, &plan, now, port, &burst, Frames::Returned, &mut self.outbox);
                }
                Command::Tap(tap) => self.outbox.taps.add(*tap),
                Command::Untap(client) => self.outbox.taps.remove(client),
                Command::Pass(answer) => {
                    let _ = answer.send(());
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn attach(&mut self, attachment: Attachment) {
        let token = self.next_token;
        self.next_token += 1;
        let data = epoll::EventData::new_u64(token);
        let added = match &attachment.source {
            Source::Ingress(queue) => {
                epoll::add(&self.epoll, queue.fd(), data, epoll::EventFlags::IN)
            }
            Source::Tunnels(incoming) => {
                epoll::add(&self.epoll, incoming.fd(), data, epoll::EventFlags::IN)
            }
            Source::Backlog { egress, queue, .. } => match egress.lock_queue(*queue).backlog() {
                Some(fd) => epoll::add(
                    &self.epoll,
                    fd.as_fd(),
                    data,
                    epoll::EventFlags::OUT | epoll::EventFlags::ET,
                ),
                None => return,
            },
        };
        match added {
            Ok(()) => {
                if matches!(&attachment.source, Source::Ingress(queue) if queue.is_polled()) {
                    self.polled.push(token);
                }
                self.sources.insert(token, attachment);
            }
            Err(error) => self.report(&attachment, Fault::Io(error.into())),
        }
    }

    fn detach(&mut self, port: Option<PortId>) {
        let Self { epoll, sources, polled, .. } = self;
        for (token, gone) in sources.extract_if(|_, source| source.port == port) {
            polled.retain(|&polled| polled != token);
            match gone.source {
                // The socket may have another queue by and by.
                Source::Ingress(queue) => _ = epoll::delete(&*epoll, queue.fd()),
                Source::Backlog { egress, queue, counters } => {
                    egress.lock_queue(queue).close(&mut self.outbox.tally);
                    count_tx(&counters.of_worker(self.id).tx, &mut self.outbox.tally);
                }
                Source::Tunnels(_) => {}
            }
        }
    }

    /// Serves what became ready; tells whether frames came.
    fn serve(&mut self, token: u64, plan: &Plan, now: Timestamp) -> bool {
        let Some(attachment) = self.sources.get_mut(&token) else { return false };
        let (queue, port) = match &mut attachment.source {
            Source::Ingress(queue) => match attachment.port {
                Some(port) => (queue, port),
                None => return false,
            },
            Source::Tunnels(incoming) => {
                let (worker, outbox) = (self.id, &mut self.outbox);
                let served = incoming.serve(&mut self.scratch, |port, burst| {
                    deliver(worker, plan, now, port, burst, Frames::Arrived, outbox);
                });
                return served.unwrap_or_else(|error| {
                    tracing::warn!(worker, %error, "cannot receive from peers");
                    false
                });
            }
            Source::Backlog { egress, queue, counters } => {
                egress.lock_queue(*queue).flush(&mut self.outbox.tally);
                count_tx(&counters.of_worker(self.id).tx, &mut self.outbox.tally);
                return false;
            }
        };
        let mut came = false;
        loop {
            match queue.receive(&mut self.scratch) {
                Ok(burst) => {
                    came |= !burst.is_empty();
                    deliver(self.id, plan, now, port, &burst, Frames::Arrived, &mut self.outbox);
                }
                Err(fault) => {
                    if let (Fault::BadFraming(_), Some((port, _))) = (&fault, plan.port(port)) {
                        let rx = &port.counters.of_worker(self.id).rx;
                        rx.add(1, 0);
                        rx.drop(DropReason::Malformed, 1);
                    }
                    self.polled.retain(|&polled| polled != token);
                    if let Some(attachment) = self.sources.remove(&token) {
                        self.report(&attachment, fault);
                    }
                    return came;
                }
            }
            // Frames that one read of a stream brought are not announced by its descriptor again.
            if !queue.holds_more() {
                return came;
            }
        }
    }

    fn report(&self, attachment: &Attachment, fault: Fault) {
        let Some(port) = attachment.port else {
            return tracing::error!(worker = self.id, %fault, "nothing is received from peers");
        };
        // The control plane may be gone already when the daemon ends.
        let _ = self.ended.send(QueueEnded { port, generation: attachment.generation, fault });
    }
}

/// Lets frames gather.
fn pause() {
    // A signal ends it early, which does no harm.
    let _ = nanosleep(&Timespec { tv_sec: 0, tv_nsec: PAUSE.subsec_nanos().into() });
}

/// Whether frames are new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Frames {
    /// They have just arrived.
    Arrived,
    /// They were counted when they arrived, and handed over meanwhile.
    Returned,
}

/// How a burst came in.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    worker: usize,
    plan: &'a Plan,
    now: Timestamp,
    ingress: PortId,
    frames: Frames,
}

/// Decides on every frame of a burst, then sends to each port that gets some, once.
fn deliver(
    worker: usize,
    plan: &Plan,
    now: Timestamp,
    ingress: PortId,
    burst: &Burst<'_>,
    frames: Frames,
    outbox: &mut Outbox,
) {
    let arrival = Arrival { worker, plan, now, ingress, frames };
    if outbox.taps.is_empty() {
        deliver_to(arrival, burst, outbox, &mut Nobody);
    } else {
        deliver_watched(arrival, burst, outbox);
    }
}

/// Does the same before the eyes of those who want to see it.
#[inline(never)]
fn deliver_watched(arrival: Arrival<'_>, burst: &Burst<'_>, outbox: &mut Outbox) {
    let Some((_, switch)) = arrival.plan.port(arrival.ingress) else { return };
    let time = u64::try_from(clock::wall().as_nanos()).unwrap_or(u64::MAX);
    let has_arrived = arrival.frames == Frames::Arrived;
    let mut taps = std::mem::take(&mut outbox.taps);
    let mut watched = Watched::new(&mut taps, burst, switch, arrival.ingress, time, has_arrived);
    deliver_to(arrival, burst, outbox, &mut watched);
    outbox.taps = taps;
}

#[inline(always)]
fn deliver_to<W: Watch>(
    arrival: Arrival<'_>,
    burst: &Burst<'_>,
    outbox: &mut Outbox,
    watch: &mut W,
) {
    let Arrival { worker, plan, now, ingress, frames } = arrival;
    let Some((port, switch)) = plan.port(ingress) else { return };
    let snoop = port.snoop.as_ref().filter(|_| frames == Frames::Arrived);
    let rx = &port.counters.of_worker(worker).rx;
    for &(reason, frames) in burst.refused() {
        rx.add(frames, 0);
        rx.drop(reason, frames);
    }
    outbox.turn.came(burst.pieces());
    let mut bytes = 0;
    let mut switch = switch.burst(now, ingress);
    for (position, frame) in burst.frames().iter().enumerate() {
        let len = frame.head.wire_len() as u64;
        bytes += len;
        outbox.turn.add(len);
        if snoop.is_some_and(|snoop| snoop.takes_probe(ingress, &frame.head)) {
            watch.came(position, None, None);
            continue;
        }
        match switch.forward(&frame.head) {
            Ok(egress) => {
                watch.came(position, Some(egress.vlan()), None);
                if let Some(snoop) = snoop {
                    if !egress.is_flood() {
                        snoop.shows(ingress, egress.vlan(), &frame.head);
                    } else if snoop.takes_question(ingress, egress.vlan(), &frame.head) {
                        continue;
                    }
                }
                for (to, tags) in egress.copies() {
                    match tags {
                        Ok(tags) => outbox.put(to, Job { frame: position as u16, tags }),
                        Err(reason) => {
                            watch.kept(to, position, reason);
                            count_tx_drop(worker, plan, to, reason, 1);
                        }
                    }
                }
            }
            Err(reason) => {
                watch.came(position, None, Some(reason));
                rx.drop(reason, 1);
            }
        }
    }
    if frames == Frames::Arrived {
        rx.add(burst.frames().len() as u64, bytes);
    }
    outbox.send(worker, plan, burst, watch);
}

fn count_tx_drop(worker: usize, plan: &Plan, port: PortId, reason: DropReason, frames: u64) {
    if let Some((port, _)) = plan.port(port) {
        port.counters.of_worker(worker).tx.drop(reason, frames);
    }
}

/// Moves what a port did with frames into its counters.
fn count_tx(tx: &DirectionCounters, tally: &mut Tally) {
    tx.add(tally.frames, tally.bytes);
    for (reason, frames) in tally.drops.drain(..) {
        tx.drop(reason, frames);
    }
    (tally.frames, tally.bytes) = (0, 0);
    tally.lost.clear();
}

/// The jobs of one burst, gathered by egress port.
struct Outbox {
    jobs: Vec<Vec<Job>>,
    touched: Vec<PortId>,
    tally: Tally,
    /// What this turn brought.
    turn: Turn,
    /// Who wants to see what is delivered.
    taps: Taps,
}

impl Outbox {
    fn new() -> Self {
        Self {
            jobs: Vec::new(),
            touched: Vec::new(),
            tally: Tally::default(),
            turn: Turn::default(),
            taps: Taps::default(),
        }
    }

    fn put(&mut self, port: PortId, job: Job) {
        if self.jobs.len() <= port.index() {
            self.jobs.resize_with(port.index() + 1, || Vec::with_capacity(BURST));
        }
        let jobs = &mut self.jobs[port.index()];
        if jobs.is_empty() {
            self.touched.push(port);
        }
        jobs.push(job);
    }

    #[inline(always)]
    fn send<W: Watch>(&mut self, worker: usize, plan: &Plan, burst: &Burst<'_>, watch: &mut W) {
        self.tally.follows = W::FOLLOWS;
        for port in self.touched.drain(..) {
            let jobs = &mut self.jobs[port.index()];
            if let Some((planned, _)) = plan.port(port) {
                let tx = &planned.counters.of_worker(worker).tx;
                match &planned.egress {
                    Some(egress) => {
                        egress.lock(worker).send(burst, jobs, &mut self.tally);
                        watch.left(port, jobs, &self.tally, None);
                        count_tx(tx, &mut self.tally);
                    }
                    None => {
                        watch.left(port, jobs, &self.tally, Some(DropReason::PortDown));
                        tx.drop(DropReason::PortDown, jobs.len() as u64);
                    }
                }
            }
            jobs.clear();
        }
        self.tally.follows = false;
    }
}
