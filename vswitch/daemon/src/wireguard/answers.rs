//! What the adapter says of its own accord, as a queue that frames come from: answers to ARP and ND, ICMP errors, packets
//! whose neighbour has been found. Those whose neighbour was not are refused here.

use std::{os::fd::BorrowedFd, sync::Arc};

use weft_ports::{BURST, Burst, Fault, Receive, Scratch};

use super::site::Site;

pub(super) struct Answers {
    site: Arc<Site>,
    taken: Vec<Vec<u8>>,
    holds_more: bool,
}

impl Answers {
    pub(super) fn new(site: Arc<Site>) -> Self {
        Self { site, taken: Vec::with_capacity(BURST), holds_more: false }
    }
}

impl Receive for Answers {
    fn fd(&self) -> BorrowedFd<'_> {
        self.site.answered()
    }

    fn receive<'b>(&'b mut self, scratch: &'b mut Scratch) -> Result<Burst<'b>, Fault> {
        self.taken.clear();
        let mut builder = scratch.builder();
        self.holds_more = self.site.take_answers(BURST, &mut self.taken, |reason, packets| {
            builder.refuse(reason, packets);
        });
        for frame in &self.taken {
            builder.push(frame, None, None);
        }
        Ok(builder.finish())
    }

    fn holds_more(&self) -> bool {
        self.holds_more
    }
}
