//! The receiving side of a queue: frames are read where the kernel has laid them. Their tags are in band; checksums that
//! a sender on this machine left undone are told by what stands in their place.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use weft_core::DropReason;
use weft_offload::find_undone;
use weft_vlan::Offload;

use super::{
    RX_SLOTS, Socket,
    ring::{Consumer, Producer},
};
use crate::{
    BURST, Burst, Fault, Receive, Scratch,
    queue::{ARENA_BUDGET, Arrivals, CACHE_LINE},
    sys,
};

/// Bursts between two looks at what was lost, while the worker does not rest.
const BURSTS_BETWEEN_LOOKS: u32 = 1024;

pub(super) struct XdpReceive {
    socket: Arc<Socket>,
    received: Consumer<libc::xdp_desc>,
    fill: Producer<u64>,
    /// The chunks that the last burst lies in.
    held: Vec<u64>,
    losses: Losses,
    bursts_to_look: u32,
    is_gone: bool,
}

/// What the kernel has dropped, and how much of it was counted.
#[derive(Default)]
struct Losses {
    queue_full: Loss,
    oversize: Loss,
}

#[derive(Default)]
struct Loss {
    seen: u64,
    counted: u64,
}

impl XdpReceive {
    pub(super) fn new(
        socket: Arc<Socket>,
        received: Consumer<libc::xdp_desc>,
        mut fill: Producer<u64>,
    ) -> Self {
        for chunk in 0..RX_SLOTS {
            fill.put(socket.memory.address(chunk));
        }
        fill.publish();
        Self {
            socket,
            received,
            fill,
            held: Vec::with_capacity(BURST),
            losses: Losses::default(),
            bursts_to_look: BURSTS_BETWEEN_LOOKS,
            is_gone: false,
        }
    }

    /// Gives the chunks of the last burst back to the kernel.
    fn give_back(&mut self) {
        if self.held.is_empty() {
            return;
        }
        for chunk in self.held.drain(..) {
            // The ring has room for every chunk that there is.
            self.fill.put(chunk);
        }
        self.fill.publish();
        if self.fill.needs_wakeup() {
            self.socket.wake_driver();
        }
    }

    /// Takes frames until the burst has no room for more.
    fn take(&mut self, arrivals: &mut Arrivals) {
        let mut bytes = 0;
        while !arrivals.is_full() && bytes < ARENA_BUDGET {
            let Some(descriptor) = self.received.take() else { break };
            self.held.push(self.socket.memory.chunk_of(descriptor.addr));
            let len = descriptor.len as usize;
            let Some(frame) = self.socket.memory.at(descriptor.addr, len) else {
                arrivals.refuse(DropReason::Malformed, 1);
                continue;
            };
            // SAFETY: the kernel has written so many bytes here, and leaves the chunk alone until it gets it back by
            // `give_back`, which needs the queue that the burst borrows.
            unsafe { arrivals.push(frame, len, None, None) };
            if let Some(head) = arrivals.last()
                && let Some(csum) = find_undone(head)
            {
                head.set_offload(Ok(Offload { csum: Some(csum), gso: None }));
            }
            bytes += len.next_multiple_of(CACHE_LINE);
        }
        self.received.release();
    }

    /// Asks the kernel what it dropped and whether the device is still there.
    fn look(&mut self) -> io::Result<()> {
        self.bursts_to_look = BURSTS_BETWEEN_LOOKS;
        let fd = self.socket.fd.as_fd();
        let statistics: libc::xdp_statistics =
            sys::get_option(fd, libc::SOL_XDP, libc::XDP_STATISTICS)?;
        self.losses.see(&statistics);
        // Said once, when the device is taken from the socket.
        let error: c_int = sys::get_option(fd, libc::SOL_SOCKET, libc::SO_ERROR)?;
        self.is_gone |= error == libc::ENETDOWN;
        Ok(())
    }
}

impl Losses {
    fn see(&mut self, statistics: &libc::xdp_statistics) {
        // A frame for which there is no chunk counts as dropped too; what is left of those did not fit a chunk.
        let unfilled = statistics.rx_fill_ring_empty_descs + statistics.rx_invalid_descs;
        let for_want_of_chunks = statistics.rx_dropped.min(unfilled);
        self.queue_full.seen = statistics.rx_ring_full + for_want_of_chunks;
        self.oversize.seen = statistics.rx_dropped - for_want_of_chunks;
    }

    fn are_counted(&self) -> bool {
        [&self.queue_full, &self.oversize].iter().all(|loss| loss.seen <= loss.counted)
    }

    fn count(&mut self, arrivals: &mut Arrivals) {
        for (loss, reason) in [
            (&mut self.queue_full, DropReason::QueueFull),
            (&mut self.oversize, DropReason::Oversize),
        ] {
            if loss.seen > loss.counted {
                arrivals.refuse(reason, loss.seen - loss.counted);
                loss.counted = loss.seen;
            }
        }
    }
}

impl Receive for XdpReceive {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        let arrivals = &mut scratch.arrivals;
        arrivals.clear();
        self.give_back();
        self.take(arrivals);
        self.bursts_to_look -= 1;
        if self.bursts_to_look == 0 {
            self.look()?;
        }
        self.losses.count(arrivals);
        if self.is_gone && arrivals.is_empty() {
            return Err(Fault::DeviceGone);
        }
        Ok(arrivals.burst())
    }

    fn is_polled(&self) -> bool {
        true
    }

    fn rest(&mut self) -> bool {
        self.give_back();
        // An error here is one of `receive` too, and reported by that.
        let looked = self.look();
        looked.is_ok() && !self.is_gone && self.losses.are_counted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_fit_is_told_from_what_had_no_chunk() {
        let statistics =
            |rx_dropped, rx_ring_full, rx_fill_ring_empty_descs| libc::xdp_statistics {
                rx_dropped,
                rx_invalid_descs: 0,
                tx_invalid_descs: 0,
                rx_ring_full,
                rx_fill_ring_empty_descs,
                tx_ring_empty_descs: 0,
            };
        for (seen, queue_full, oversize) in [
            (statistics(0, 0, 0), 0, 0),
            (statistics(5, 0, 0), 0, 5),
            (statistics(5, 2, 3), 5, 2),
            // A driver without copies asks for chunks before there are frames.
            (statistics(0, 1, 9), 1, 0),
        ] {
            let mut losses = Losses::default();
            losses.see(&seen);
            assert_eq!((losses.queue_full.seen, losses.oversize.seen), (queue_full, oversize));
            assert_eq!(losses.are_counted(), queue_full + oversize == 0);
            losses.count(&mut Scratch::new().arrivals);
            assert!(losses.are_counted());
        }
    }
}
