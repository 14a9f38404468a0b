//! The conversation with a front-end: what each message changes. QEMU `docs/interop/vhost-user.rst`. Messages may come
//! in any order that makes sense; QEMU enables rings before it has taken any feature. Runs on a thread of its own, so
//! that a front-end which is slow or hostile keeps nobody but itself.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::Arc,
};

use super::{
    channel::{Channel, ChannelError, Message},
    device::Device,
    features::{Features, OFFERED, PROTOCOL_OFFERED, may_ask},
    inflight::Inflight,
    memory::{DirtyLog, Memory, MemoryError, SLOTS},
    message::{
        Area, BadMessage, InflightSpec, RegionSpec, Request, VringAddress, VringState, Wanted,
    },
    ring::{Broken, Layout, Notify, Ring, SIZE_MAX},
};
use crate::event::signal;

const MTU_MIN: u64 = 68;
const MTU_MAX: u64 = 65535;
/// What the front-end has of it when a request was carried out, and when not.
const DONE: u64 = 0;
const FAILED: u64 = 1;

/// What the owner of a session may want to know.
#[derive(Debug)]
pub enum News {
    /// A message waits. It is read once this has been told, however long that takes.
    Message,
    /// A request was refused, and the front-end told so.
    Refused(Refused),
    /// A driver left no sense in a ring, which stands still until it begins anew.
    Broken {
        /// The ring: even ones are the guest's receive rings.
        ring: usize,
        /// What was found.
        reason: Broken,
    },
}

/// Why a request cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Refused(#[from] Reason);

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("the front-end names ring {0}, which the port does not have")]
    NoRing(u32),
    #[error("the front-end takes features that were not offered: {0:#x}")]
    Features(u64),
    #[error("ring {0} cannot change while it is in operation")]
    InOperation(u32),
    #[error("ring {0}: {1}")]
    Ring(usize, Broken),
    #[error("the front-end polls instead of kicking, which would keep a worker awake for good")]
    Polls,
    #[error("a descriptor that is no event")]
    NotAnEvent,
    #[error("{0}")]
    Memory(#[from] MemoryError),
    #[error("an area for {0} rings of {1} descriptors in flight")]
    Inflight(u16, u16),
    #[error("an MTU of {0}")]
    Mtu(u64),
    #[error("an address to announce that is no host's")]
    NotAHost,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// How a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The front-end hung up, or was hung up on.
    #[error("the front-end closed the connection")]
    Closed,
    /// A message that makes no sense.
    #[error("{0}")]
    BadMessage(BadMessage),
    /// More descriptors than any message has.
    #[error("the front-end sent too many descriptors")]
    TooManyDescriptors,
    /// A request that cannot be carried out, from a front-end that does not ask what became of it.
    #[error("{0}")]
    Refused(Refused),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

/// A front-end's session.
pub struct Session {
    channel: Channel,
    device: Arc<Device>,
    features: Features,
    protocol: u64,
    memory: Arc<Memory>,
    log: Option<Arc<DirtyLog>>,
    inflight: Option<Arc<Inflight>>,
    rings: Vec<Setup>,
    status: u8,
}

/// What is known of a ring before it is in operation.
#[derive(Default)]
struct Setup {
    size: u32,
    /// Where it stood when it was stopped, or is said to stand.
    base: u16,
    address: VringAddress,
    kick: Option<Arc<OwnedFd>>,
    enabled: Option<bool>,
}

/// What is to be sent for a request.
enum Reply {
    Nothing,
    Word(u64),
    State(VringState),
    Inflight(InflightSpec, OwnedFd),
}

impl Session {
    pub(super) fn new(channel: Channel, device: Arc<Device>) -> Self {
        let rings = device.slots().iter().map(|_| Setup::default()).collect();
        Self {
            channel,
            device,
            features: Features::default(),
            protocol: 0,
            memory: Arc::default(),
            log: None,
            inflight: None,
            rings,
            status: 0,
        }
    }

    /// Serves the front-end until the connection ends, which [`super::Line`] can bring about; the port's queues end
    /// with it. Blocks.
    pub fn run(mut self, mut tell: impl FnMut(News)) -> Ended {
        loop {
            match self.wait() {
                Ok(true) => {
                    tell(News::Message);
                    if let Err(ended) = self.serve(&mut tell) {
                        return ended;
                    }
                }
                Ok(false) => self.tell_broken(&mut tell),
                Err(error) => return Ended::Io(error),
            }
        }
    }

    /// Waits for a message, or for news of a ring; `true` for a message.
    fn wait(&self) -> io::Result<bool> {
        let entry = |fd: i32| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut entries =
            [entry(self.channel.fd().as_raw_fd()), entry(self.device.news.fd().as_raw_fd())];
        loop {
            // SAFETY: the kernel reads and writes two entries.
            let ready = unsafe { libc::poll(entries.as_mut_ptr(), 2, -1) };
            match crate::sys::check(ready) {
                Ok(_) => return Ok(entries[1].revents == 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn tell_broken(&mut self, tell: &mut impl FnMut(News)) {
        self.device.news.reset();
        for (ring, slot) in self.device.slots().iter().enumerate() {
            let mut state = slot.lock();
            let Some(reason) = state.broken.filter(|_| !state.told) else { continue };
            state.told = true;
            let err = state.err.clone();
            drop(state);
            tell(News::Broken { ring, reason });
            signal(err.as_deref());
        }
    }

    /// Takes one message and answers it.
    fn serve(&mut self, tell: &mut impl FnMut(News)) -> Result<(), Ended> {
        let Message { header, payload, fds } = self.channel.receive()?;
        let request = Request::read(header.code, &payload, fds.len()).map_err(Ended::BadMessage)?;
        let asked = header.reply == Wanted::Reply && may_ask(self.protocol);
        let has_reply = request.is_answered();
        let reply = match self.carry_out(request, fds) {
            Ok(Reply::Nothing) if asked && !has_reply => Reply::Word(DONE),
            Ok(reply) => reply,
            Err(reason) if asked && !has_reply => {
                tell(News::Refused(reason.into()));
                Reply::Word(FAILED)
            }
            Err(reason) => return Err(Ended::Refused(reason.into())),
        };
        match reply {
            Reply::Nothing => {}
            Reply::Word(word) => self.channel.reply(header.code, &word.to_ne_bytes(), None)?,
            Reply::State(VringState { index, value }) => {
                let payload = [index.to_ne_bytes(), value.to_ne_bytes()].concat();
                self.channel.reply(header.code, &payload, None)?;
            }
            Reply::Inflight(spec, file) => {
                self.channel.reply(header.code, &spec.to_bytes(), Some(file.as_fd()))?;
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, request: Request, mut fds: Vec<OwnedFd>) -> Result<Reply, Reason> {
        match request {
            Request::GetFeatures => return Ok(Reply::Word(OFFERED)),
            Request::SetFeatures(bits) => self.set_features(bits)?,
            Request::GetProtocolFeatures => return Ok(Reply::Word(PROTOCOL_OFFERED)),
            Request::SetProtocolFeatures(bits) => {
                if bits & !PROTOCOL_OFFERED != 0 {
                    return Err(Reason::Features(bits & !PROTOCOL_OFFERED));
                }
                self.protocol = bits;
            }
            Request::GetQueueNum => return Ok(Reply::Word(self.rings.len() as u64 / 2)),
            Request::GetMaxMemSlots => return Ok(Reply::Word(SLOTS as u64)),
            // There is one owner, who connected; the log is read when the front-end likes.
            Request::SetOwner | Request::SetLogFd => {}
            Request::ResetOwner => self.stop_all(),
            Request::SetMemTable(regions) => self.set_memory_table(&regions, &fds)?,
            Request::AddMemReg(region) => {
                let memory = self.memory.with(region, &fds.remove(0))?;
                self.set_memory(memory)?;
            }
            Request::RemMemReg(region) => {
                let memory = self.memory.without(region);
                self.set_memory(memory)?;
            }
            Request::SetLogBase(area) => return self.set_log(area, &fds.remove(0)),
            Request::SetVringNum(VringState { index, value }) => {
                let ring = self.idle_ring(index)?;
                if !value.is_power_of_two() || value > SIZE_MAX {
                    return Err(Reason::Ring(ring, Broken::Size(value)));
                }
                self.rings[ring].size = value;
            }
            Request::SetVringAddr(address) => self.set_address(address)?,
            // Buffers are used in order: where to begin is what the used ring says, also after a crash.
            Request::SetVringBase(VringState { index, value }) => {
                let ring = self.idle_ring(index)?;
                self.rings[ring].base = value as u16;
            }
            // QEMU 7.2 resets the device first and asks then: a guest that migrates depends on the answer.
            Request::GetVringBase(index) => {
                let ring = self.ring(index)?;
                self.stop(ring);
                let value = self.rings[ring].base.into();
                return Ok(Reply::State(VringState { index, value }));
            }
            Request::SetVringKick(index) => self.set_kick(index, fds.pop())?,
            Request::SetVringCall(index) => {
                let ring = self.ring(index)?;
                let call = event(fds.pop())?;
                self.device.slot(ring).lock().call.clone_from(&call);
                // Something may have been given back while nobody could be told.
                signal(call.as_deref());
            }
            Request::SetVringErr(index) => {
                let ring = self.ring(index)?;
                self.device.slot(ring).lock().err = event(fds.pop())?;
            }
            Request::SetVringEnable(VringState { index, value }) => {
                let ring = self.ring(index)?;
                self.rings[ring].enabled = Some(value != 0);
                self.put_features(ring);
            }
            Request::SendRarp(mac) => {
                if mac[0] & 1 != 0 || mac == [0; 6] {
                    return Err(Reason::NotAHost);
                }
                let slot = self.device.slot(1);
                slot.lock().announce = Some(mac);
                slot.bell.ring();
            }
            // What a frame may be long is the switch's to say; the driver only must not be promised nonsense.
            Request::NetSetMtu(mtu) => {
                if !(MTU_MIN..=MTU_MAX).contains(&mtu) {
                    return Err(Reason::Mtu(mtu));
                }
            }
            Request::GetInflightFd(spec) => {
                self.check_inflight(spec)?;
                let (file, spec) = Inflight::create(spec.queues, spec.queue_size)?;
                return Ok(Reply::Inflight(spec, file));
            }
            Request::SetInflightFd(spec) => {
                self.check_inflight(spec)?;
                self.inflight = Some(Arc::new(Inflight::map(&fds.remove(0), spec)?));
            }
            Request::SetStatus(status) => {
                self.status = (status & 0xff) as u8;
                if self.status == 0 {
                    self.stop_all();
                }
            }
            Request::GetStatus => return Ok(Reply::Word(self.status.into())),
        }
        Ok(Reply::Nothing)
    }

    fn ring(&self, index: u32) -> Result<usize, Reason> {
        let ring = usize::try_from(index).ok().filter(|&ring| ring < self.rings.len());
        ring.ok_or(Reason::NoRing(index))
    }

    fn idle_ring(&self, index: u32) -> Result<usize, Reason> {
        let ring = self.ring(index)?;
        match self.device.slot(ring).lock().ring {
            Some(_) => Err(Reason::InOperation(index)),
            None => Ok(ring),
        }
    }

    fn set_features(&mut self, bits: u64) -> Result<(), Reason> {
        self.features = Features::accept(bits).ok_or(Reason::Features(bits & !OFFERED))?;
        (0..self.rings.len()).for_each(|ring| self.put_features(ring));
        Ok(())
    }

    /// Has a ring work by what was agreed on.
    fn put_features(&self, ring: usize) {
        let slot = self.device.slot(ring);
        let mut state = slot.lock();
        state.features = self.features;
        state.enabled = self.rings[ring].enabled.unwrap_or(!self.features.has_protocol());
        state.setting.log = self.log.clone().filter(|_| self.features.logs());
        let notify = self.notify();
        if let Some(ring) = &mut state.ring {
            ring.set_notify(notify);
        }
        drop(state);
        slot.bell.ring();
    }

    fn notify(&self) -> Notify {
        if self.features.has_event_index() { Notify::ByIndex } else { Notify::ByFlag }
    }

    fn set_memory_table(
        &mut self,
        regions: &[RegionSpec],
        files: &[OwnedFd],
    ) -> Result<(), Reason> {
        let mut memory = Memory::default();
        for (&region, file) in regions.iter().zip(files) {
            memory = memory.with(region, file)?;
        }
        self.set_memory(memory)
    }

    /// Puts other memory under all rings. What workers still use of the old one stays until they are done.
    fn set_memory(&mut self, memory: Memory) -> Result<(), Reason> {
        self.memory = Arc::new(memory);
        for ring in 0..self.rings.len() {
            let layout = self.layout(ring);
            let mut state = self.device.slot(ring).lock_still();
            state.setting.memory = self.memory.clone();
            let placed = state.ring.as_mut().map(|place| place.place(layout, &self.memory));
            if let Some(lost) = state.ring.take_if(|_| matches!(placed, Some(Err(_)))) {
                // It begins again where its used index says once its memory is back.
                (self.rings[ring].base, state.notes) = (lost.next(), None);
            }
            drop(state);
            // Whoever found it held up has gone to sleep.
            self.device.slot(ring).bell.ring();
        }
        (0..self.rings.len()).try_for_each(|ring| self.start(ring))
    }

    fn set_log(&mut self, area: Area, file: &OwnedFd) -> Result<Reply, Reason> {
        self.log = Some(Arc::new(DirtyLog::new(file, area)?));
        (0..self.rings.len()).for_each(|ring| self.put_features(ring));
        Ok(Reply::Word(DONE))
    }

    fn set_address(&mut self, address: VringAddress) -> Result<(), Reason> {
        let ring = self.ring(address.index)?;
        self.rings[ring].address = address;
        let layout = self.layout(ring);
        let mut state = self.device.slot(ring).lock_still();
        // It comes again for a ring in operation when writes to it are to be noted.
        let placed = state.ring.as_mut().map(|place| place.place(layout, &self.memory));
        match placed {
            Some(Err(broken)) => {
                state.fail(broken, &self.device);
                Err(Reason::Ring(ring, broken))
            }
            _ => {
                drop(state);
                // Whoever found it held up has gone to sleep.
                self.device.slot(ring).bell.ring();
                Ok(())
            }
        }
    }

    fn set_kick(&mut self, index: u32, kick: Option<OwnedFd>) -> Result<(), Reason> {
        let ring = self.ring(index)?;
        let kick = event(kick)?.ok_or(Reason::Polls)?;
        let bell = &self.device.slot(ring).bell;
        if let Some(old) = self.rings[ring].kick.take() {
            bell.forget(old.as_fd());
        }
        // Only a guest's transmit ring is waited for; new receive buffers are looked for when there is a frame.
        if ring % 2 == 1 {
            bell.watch(kick.as_fd())?;
        }
        self.rings[ring].kick = Some(kick);
        self.start(ring)
    }

    fn layout(&self, ring: usize) -> Layout {
        let Setup { size, address, .. } = &self.rings[ring];
        let VringAddress { flags, desc, used, avail, log, .. } = *address;
        Layout { size: *size, desc, avail, used, log: (flags & 1 != 0).then_some(log) }
    }

    /// Puts a ring into operation when everything for it is known.
    fn start(&mut self, ring: usize) -> Result<(), Reason> {
        let Setup { size, address, kick, .. } = &self.rings[ring];
        let layout = self.layout(ring);
        let is_known = kick.is_some() && *size > 0 && *address != VringAddress::default();
        if !is_known || self.memory.user(address.used, 4).is_none() {
            return Ok(());
        }
        let slot = self.device.slot(ring);
        let mut state = slot.lock_still();
        if state.ring.is_some() {
            return Ok(());
        }
        let wrong = |broken| Reason::Ring(ring, broken);
        let notify = self.notify();
        let mut started = Ring::new(layout, &self.memory, notify).map_err(wrong)?;
        let notes = self.inflight.as_ref().and_then(|area| area.of_ring(ring, *size as u16));
        state.notes = notes.map(|mut notes| {
            started.take_again(notes.recover(started.used()));
            notes
        });
        (state.ring, state.broken) = (Some(started), None);
        let call = state.call.clone();
        drop(state);
        slot.bell.ring();
        // Something may have been given back while nobody could be told.
        signal(call.as_deref());
        Ok(())
    }

    /// Takes a ring out of operation, once every buffer has been given back.
    fn stop(&mut self, ring: usize) {
        let slot = self.device.slot(ring);
        let mut state = slot.lock_still();
        if let Some(stopped) = state.ring.take() {
            self.rings[ring].base = stopped.next();
        }
        (state.notes, state.broken) = (None, None);
        drop(state);
        if let Some(kick) = self.rings[ring].kick.take() {
            slot.bell.forget(kick.as_fd());
        }
    }

    fn stop_all(&mut self) {
        (0..self.rings.len()).for_each(|ring| self.stop(ring));
    }

    fn check_inflight(&self, spec: InflightSpec) -> Result<(), Reason> {
        let InflightSpec { queues, queue_size, .. } = spec;
        let fits = usize::from(queues) <= self.rings.len() && u32::from(queue_size) <= SIZE_MAX;
        if queues == 0 || queue_size == 0 || !fits {
            return Err(Reason::Inflight(queues, queue_size));
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.device.close();
    }
}

impl From<ChannelError> for Ended {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Closed => Self::Closed,
            ChannelError::Bad(bad) => Self::BadMessage(bad),
            ChannelError::TooManyDescriptors => Self::TooManyDescriptors,
            ChannelError::Io(error) => Self::Io(error),
        }
    }
}

/// Takes a descriptor for an event; anything else could keep whoever signals it waiting at any time. It is made
/// non-blocking, which holds for as long as nobody who shares it takes that back: see [`signal`].
fn event(fd: Option<OwnedFd>) -> Result<Option<Arc<OwnedFd>>, Reason> {
    let Some(fd) = fd else { return Ok(None) };
    let what = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    if what.as_os_str() != "anon_inode:[eventfd]" {
        return Err(Reason::NotAnEvent);
    }
    super::channel::set_nonblocking(fd.as_fd(), true)?;
    Ok(Some(Arc::new(fd)))
}
