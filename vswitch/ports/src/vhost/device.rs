//! What the session of a front-end and the workers that serve its rings share: a slot for each ring, behind a lock that
//! a worker takes once a burst and the session when something changes.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    features::Features,
    inflight::Notes,
    ring::{Broken, Ring, Setting},
};
use crate::{
    event::{Event, signal},
    sys,
};

/// How long a worker may take to give back the buffers of a burst. It takes microseconds; one that has been stopped
/// by a debugger is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The guest's card.
pub(super) struct Device {
    slots: Box<[Slot]>,
    gone: AtomicBool,
    /// Readable when a ring has broken.
    pub(super) news: Event,
}

/// The place of one ring.
pub(super) struct Slot {
    state: Mutex<State>,
    returned: Condvar,
    pub(super) bell: Bell,
}

/// What there is to know of a ring.
#[derive(Default)]
pub(super) struct State {
    /// The ring, while it is in operation.
    pub(super) ring: Option<Ring>,
    pub(super) setting: Setting,
    pub(super) features: Features,
    pub(super) notes: Option<Notes>,
    /// Whether frames may pass. A ring that is not enabled is emptied.
    pub(super) enabled: bool,
    /// Buffers that a worker has taken and not given back.
    pub(super) outstanding: usize,
    /// No more buffers are to be taken, somebody waits for those that were.
    pub(super) held_up: bool,
    /// Tells the ring from earlier and later ones in this place.
    pub(super) generation: u64,
    /// Wakes the driver.
    pub(super) call: Option<Arc<OwnedFd>>,
    /// Tells the front-end that the ring has broken.
    pub(super) err: Option<Arc<OwnedFd>>,
    /// Why no more buffers are taken until the driver begins anew.
    pub(super) broken: Option<Broken>,
    /// Whether that has been told.
    pub(super) told: bool,
    /// An address that is to be made known from this port.
    pub(super) announce: Option<[u8; 6]>,
}

impl Device {
    /// Makes a card with this many rings.
    pub(super) fn new(rings: usize) -> io::Result<Self> {
        let slot =
            |_| Ok(Slot { state: Mutex::default(), returned: Condvar::new(), bell: Bell::new()? });
        Ok(Self {
            slots: (0..rings).map(slot).collect::<io::Result<_>>()?,
            gone: AtomicBool::new(false),
            news: Event::new()?,
        })
    }

    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// Ends it: its queues bring no more frames and take none.
    pub(super) fn close(&self) {
        self.gone.store(true, Ordering::Release);
        self.slots.iter().for_each(|slot| slot.bell.ring());
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a slot once all buffers of it have been given back.
    pub(super) fn lock_still(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        if state.outstanding > 0 {
            state.held_up = true;
            self.bell.ring();
            let waited = self
                .returned
                .wait_timeout_while(state, PATIENCE, |state| state.outstanding > 0)
                .unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            state.held_up = false;
            if state.outstanding > 0 {
                // What is given back from here on is of an earlier ring, and nobody's.
                state.generation += 1;
                state.outstanding = 0;
            }
        }
        state
    }

    /// Takes note that a worker holds no buffer any more.
    pub(super) fn all_returned(&self, state: &mut State) {
        state.outstanding = 0;
        if state.held_up {
            self.returned.notify_all();
        }
    }
}

impl State {
    /// Returns the ring with what it is in, while buffers may be taken from it.
    pub(super) fn working(&mut self) -> Option<(&mut Ring, &Setting, Option<&mut Notes>)> {
        if self.broken.is_some() || self.held_up {
            return None;
        }
        Some((self.ring.as_mut()?, &self.setting, self.notes.as_mut()))
    }

    /// Stops the ring until its driver begins anew.
    pub(super) fn fail(&mut self, broken: Broken, device: &Device) {
        self.broken = Some(broken);
        self.told = false;
        device.news.signal();
    }

    /// Tells whether memory was taken away under the ring, and stops it then.
    pub(super) fn is_cut(&mut self, device: &Device) -> bool {
        let cut = self.setting.is_cut() || self.notes.as_ref().is_some_and(Notes::is_cut);
        if cut && self.broken.is_none() {
            self.fail(Broken::Cut, device);
        }
        cut
    }

    /// Shows the driver what was given back, and wakes it when it wants to be.
    pub(super) fn publish(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        let unpublished = ring.unpublished();
        let wake = ring.publish(&self.setting);
        if unpublished > 0
            && let Some(notes) = &mut self.notes
        {
            notes.published(ring.used());
        }
        if wake {
            signal(self.call.as_deref());
        }
    }
}

/// What becomes readable when a ring wants attention: its driver's kick, or word from the session. Both are watched
/// edge-triggered and never read, so that no call can be made to wait by a front-end that reads its own event.
pub(super) struct Bell {
    epoll: OwnedFd,
    own: Event,
}

impl Bell {
    fn new() -> io::Result<Self> {
        // SAFETY: the call takes no memory.
        let epoll = sys::check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made this descriptor and nobody else knows it.
        let bell = Self { epoll: unsafe { OwnedFd::from_raw_fd(epoll) }, own: Event::new()? };
        bell.watch(bell.own.fd())?;
        Ok(bell)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Watches a driver's kick.
    pub(super) fn watch(&self, kick: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, kick)
    }

    /// Watches it no more. It has to be said: other processes keep the event when it is closed here.
    pub(super) fn forget(&self, kick: BorrowedFd<'_>) {
        // It can only fail for a descriptor that is not watched.
        let _ = self.control(libc::EPOLL_CTL_DEL, kick);
    }

    fn control(&self, operation: libc::c_int, fd: BorrowedFd<'_>) -> io::Result<()> {
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        let mut event = libc::epoll_event { events, u64: 0 };
        // SAFETY: the kernel reads one event.
        sys::check(unsafe {
            libc::epoll_ctl(self.epoll.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }

    pub(super) fn ring(&self) {
        self.own.signal();
    }

    /// Takes note that it was heard. What it rang for has to be looked for after this.
    pub(super) fn heard(&self) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 2];
        // SAFETY: the kernel writes at most so many events.
        unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 2, 0) };
    }
}
