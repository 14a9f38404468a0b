//! The stacks of two hosts talk through TAPs and an underlay, offloads on: super-frames are cut to records that
//! take less than a segment of theirs, and come out as super-frames.
//!
//! ```text
//!   test's namespace                         far
//!   host A ─ t1 ─ records ─ u0 ──────────── eth0 ─ records ─ t2 ─ host B
//! ```

mod lab;

use std::net::SocketAddr;

use lab::{
    Host, Passed, Tagging, Transfer, enter, ip, jobs_for,
    tunnel::{UNTAGGED, lay_out, take_in},
    until,
};
use weft_ports::{
    Opened, Scratch, tap,
    udp::{self, Destination, Receiver, Segmentation, Sender, Socket},
};
use weft_vlan::Tags;

const BYTES: usize = 6 << 20;
const RECORD: usize = 1400;

/// One end: a guest's port and the underlay.
struct End {
    port: Opened,
    sender: Sender,
    receiver: Receiver,
    to: Destination,
}

impl End {
    fn new(port: Opened, socket: &Socket, to: SocketAddr) -> Self {
        let to = Destination::new(to, 0);
        Self { port, sender: socket.sender(), receiver: socket.receiver(), to }
    }

    /// Sends what the guest has sent.
    fn send(&mut self, scratch: &mut Scratch, passed: &mut Passed) {
        let burst = self.port.rx[0].receive(scratch).unwrap();
        let mut batch = self.sender.batch(&mut self.to, &mut passed.tally);
        for job in jobs_for(&burst, Tagging::Push(UNTAGGED)) {
            lay_out(&burst, &job, RECORD, &mut batch);
        }
        batch.send();
    }

    /// Delivers what has come to the guest.
    fn deliver(&mut self, scratch: &mut Scratch, passed: &mut Passed) {
        if !self.receiver.fill().unwrap() {
            return;
        }
        let mut builder = scratch.builder();
        let mut records = self.receiver.records();
        while !builder.is_full()
            && let Some(record) = records.next()
        {
            take_in(record, &mut builder);
        }
        let burst = builder.finish();
        passed.frames += burst.frames().len() as u64;
        for frame in burst.frames() {
            assert_eq!(frame.head.tag(), Some(UNTAGGED));
            if frame.head.offload().unwrap().gso.is_some() {
                passed.longest = passed.longest.max(frame.head.untagged_len());
            }
        }
        let mut jobs = jobs_for(&burst, Tagging::Keep);
        jobs.iter_mut().for_each(|job| job.tags = Tags::NONE);
        self.port.tx[0].send(&burst, &jobs, &mut passed.tally);
    }
}

#[test]
fn super_frames_cross_an_underlay_whose_records_take_less_than_a_segment() {
    for segmentation in [Segmentation::Kernel, Segmentation::None] {
        enter();
        let (a, b, far) = (Host::new(), Host::new(), Host::with_veth("u0"));
        // Room for a whole segment with what stands in front of it: single ones are not cut.
        ip("link set u0 mtu 1600");
        far.ip("link set eth0 mtu 1600");
        far.address(9);
        ip("addr add 10.0.0.8/24 dev u0");
        let ports = [tap::open("t1", 1).unwrap(), tap::open("t2", 1).unwrap()];
        a.take("t1");
        b.take("t2");
        a.address(1);
        b.address(2);
        let bind = move |address: &str| {
            udp::open(address.parse().unwrap(), 1, segmentation).unwrap().remove(0)
        };
        let sockets = [bind("0.0.0.0:0"), far.run(move || bind("[::]:0"))];
        let [to_a, to_b] = [([10, 0, 0, 8], &sockets[0]), ([10, 0, 0, 9], &sockets[1])]
            .map(|(ip, socket)| SocketAddr::from((ip, socket.address().unwrap().port())));
        let [t1, t2] = ports;
        let mut ends = [End::new(t1, &sockets[0], to_b), End::new(t2, &sockets[1], to_a)];
        for (client, server, to) in
            [(&a, &b, "10.0.0.2"), (&b, &a, "10.0.0.1"), (&a, &b, "fd00::2"), (&b, &a, "fd00::1")]
        {
            let transfer = Transfer::begin(client, server, to, BYTES);
            let passed = carry(&mut ends, transfer);
            let there = &passed[usize::from(to.ends_with('2'))];
            assert!(there.longest > 40_000, "to {to}: {} bytes at most", there.longest);
            assert!(there.frames < (BYTES / 1448 / 2) as u64, "to {to}: {} frames", there.frames);
        }
    }
}

/// Passes records both ways until the transfer is over; returns what arrived at each end.
fn carry(ends: &mut [End; 2], transfer: Transfer) -> [Passed; 2] {
    let mut scratch = Scratch::new();
    let (mut passed, mut out) = <([Passed; 2], Passed)>::default();
    until("the end of the transfer", || {
        for (end, passed) in ends.iter_mut().zip(&mut passed) {
            end.send(&mut scratch, &mut out);
            end.deliver(&mut scratch, passed);
        }
        transfer.is_over().then_some(())
    });
    transfer.check();
    assert_eq!(out.tally.drops, []);
    passed
}
