//! The workers as the control plane sees them.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Sender, channel},
    },
    thread::{Builder, JoinHandle},
};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc::UnboundedSender, oneshot};
use weft_core::PortId;
use weft_ports::{Fault, Opened};
use weft_vlan::WireTag;

use super::{
    Egress, Plan, PortCounters,
    worker::{Attachment, Command, Source, Worker, wake_descriptor},
};
use crate::{capture::Tap, tunnel::Incoming};

/// A queue that will bring no more frames.
#[derive(Debug)]
pub(crate) struct QueueEnded {
    /// Its port.
    pub(crate) port: PortId,
    /// The opening of the port that it belonged to.
    pub(crate) generation: u64,
    /// Why.
    pub(crate) fault: Fault,
}

/// The way back for frames that were handed over.
#[derive(Clone)]
pub(crate) struct Injector {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
}

impl Injector {
    /// Has a frame switched that came by a port with this tag.
    pub(crate) fn inject(&self, port: PortId, tag: Option<WireTag>, frame: Vec<u8>) {
        tell(&self.commands, &self.wake, Command::Inject(port, tag, frame));
    }
}

/// The worker threads and the plan that they share.
pub(crate) struct Pool {
    plan: Arc<ArcSwap<Plan>>,
    workers: Vec<Handle>,
    /// Queues that wait for the plan that knows their ports, with the workers that they are for.
    attached: Mutex<Vec<(usize, Attachment)>>,
}

struct Handle {
    commands: Sender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Pool {
    /// Starts the workers, with no port yet.
    pub(crate) fn start(workers: usize, ended: &UnboundedSender<QueueEnded>) -> io::Result<Self> {
        let plan = Arc::new(ArcSwap::from_pointee(Plan::default()));
        let mut handles = Vec::with_capacity(workers);
        for id in 0..workers {
            let (commands, receiver) = channel();
            let wake = Arc::new(wake_descriptor()?);
            let worker = Worker::new(id, plan.clone(), receiver, wake.clone(), ended.clone())?;
            let thread =
                Builder::new().name(format!("weft-worker-{id}")).spawn(move || worker.run())?;
            handles.push(Handle { commands, wake, thread: Some(thread) });
        }
        Ok(Self { plan, workers: handles, attached: Mutex::default() })
    }

    /// Returns how many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Puts a plan in force, and the queues that were attached for it. The plan before may be in use until
    /// [`Pool::pass`].
    pub(crate) fn swap(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        for (worker, attachment) in self.attached().drain(..) {
            self.workers[worker].tell(Command::Attach(attachment));
        }
    }

    /// Hands the receiving queues of a port to the workers, dealt out in turn beginning with the port's own
    /// number, and has its sending queues watched for room, all with the next plan: an answer to the first frame
    /// finds its way back. Returns the sending side for that plan.
    pub(crate) fn attach(
        &self,
        port: PortId,
        generation: u64,
        opened: Opened,
        counters: &Arc<PortCounters>,
    ) -> Arc<Egress> {
        let egress = Arc::new(Egress::new(opened.tx));
        let ingress = opened.rx.into_iter().map(Source::Ingress);
        let backlog = (0..egress.queues())
            .filter(|&queue| egress.lock_queue(queue).backlog().is_some())
            .map(|queue| Source::Backlog {
                egress: egress.clone(),
                queue,
                counters: counters.clone(),
            });
        for (position, source) in ingress.chain(backlog).enumerate() {
            let worker = (port.index() + position) % self.workers.len();
            let port = Some(port);
            self.attached().push((worker, Attachment { port, generation, source }));
        }
        egress
    }

    /// Returns the way back for frames that were handed over: all of them by one worker, in order.
    pub(crate) fn injector(&self) -> Option<Injector> {
        let worker = self.workers.first()?;
        Some(Injector { commands: worker.commands.clone(), wake: worker.wake.clone() })
    }

    /// Hands what the tunnels receive to the workers, one each, with the next plan.
    pub(crate) fn attach_tunnels(&self, incoming: impl IntoIterator<Item = Incoming>) {
        for (worker, incoming) in incoming.into_iter().enumerate() {
            let source = Source::Tunnels(Box::new(incoming));
            let attachment = Attachment { port: None, generation: 0, source };
            self.attached().push((worker % self.workers.len(), attachment));
        }
    }

    /// Takes a port's queues from the workers.
    pub(crate) fn detach(&self, port: PortId) {
        self.detach_from(Some(port));
    }

    /// Takes what the tunnels receive from the workers.
    pub(crate) fn detach_tunnels(&self) {
        self.detach_from(None);
    }

    fn detach_from(&self, port: Option<PortId>) {
        self.attached().retain(|(_, attachment)| attachment.port != port);
        for worker in &self.workers {
            worker.tell(Command::Detach(port));
        }
    }

    /// Has the workers show a client what they deliver, by a tap each.
    pub(crate) fn tap(&self, taps: Vec<Tap>) {
        for (worker, tap) in self.workers.iter().zip(taps) {
            worker.tell(Command::Tap(Box::new(tap)));
        }
    }

    /// Has them show it no more.
    pub(crate) fn untap(&self, client: u64) {
        self.workers.iter().for_each(|worker| worker.tell(Command::Untap(client)));
    }

    /// Waits until every worker has begun a turn on the newest plan and carried out what it was told.
    pub(crate) async fn pass(&self) {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (answer, passed) = oneshot::channel();
            worker.tell(Command::Pass(answer));
            answers.push(passed);
        }
        for passed in answers {
            // An error means that the worker has ended: it holds no plan any more.
            let _ = passed.await;
        }
    }

    fn attached(&self) -> MutexGuard<'_, Vec<(usize, Attachment)>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn tell(&self, command: Command) {
        tell(&self.commands, &self.wake, command);
    }
}

fn tell(commands: &Sender<Command>, wake: &OwnedFd, command: Command) {
    // A worker that has ended needs no command.
    if commands.send(command).is_ok() {
        let _ = rustix::io::write(wake, &1_u64.to_ne_bytes());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for worker in &self.workers {
            worker.tell(Command::Stop);
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                let _ = thread.join();
            }
        }
    }
}
