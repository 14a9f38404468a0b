//! What looks like handshakes, in the name of many addresses, as fast as a card takes it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use crate::{Datagram, Watch};

/// A flood from 10.99.1.0/24.
#[derive(Debug)]
pub struct Flood {
    template: Datagram,
    stop: AtomicBool,
    datagrams: AtomicU64,
    bytes: AtomicU64,
}

impl Flood {
    /// Prepares one of this initiation: one in four is the same again, the others are of the same form, with everything in
    /// them spoilt.
    pub fn of(template: Datagram) -> Self {
        Self {
            template,
            stop: AtomicBool::new(false),
            datagrams: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Floods from a card of its own until `work` has ended, however it ends.
    pub fn beside(&self, watch: &mut Watch, work: impl FnOnce()) {
        thread::scope(|scope| {
            scope.spawn(|| self.run(watch));
            let stops = Stops(&self.stop);
            work();
            drop(stops);
        });
    }

    /// Returns how many datagrams were sent.
    pub fn datagrams(&self) -> u64 {
        self.datagrams.load(Relaxed)
    }

    /// Returns how many bytes were sent, frames with their headers.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn run(&self, watch: &mut Watch) {
        let mut number = 0;
        while !self.stop.load(Relaxed) {
            for _ in 0..16 {
                number += 1;
                let datagram = self.datagram(number);
                watch.send(&datagram);
                self.datagrams.fetch_add(1, Relaxed);
                self.bytes.fetch_add(datagram.frame().len() as u64, Relaxed);
            }
            thread::yield_now();
        }
    }

    fn datagram(&self, number: u64) -> Datagram {
        let mut datagram = self.template.clone();
        let [.., high, low] = number.to_be_bytes();
        datagram.from = SocketAddr::from((Ipv4Addr::new(10, 99, 1, low), 1000 + u16::from(high)));
        if number.is_multiple_of(4) {
            return datagram;
        }
        for (at, byte) in datagram.payload.iter_mut().enumerate().skip(4) {
            *byte ^= number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at as u32 * 7) as u8;
        }
        datagram
    }
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
