//! A tunnel without a seal: frames of a TAP as records over UDP, and back. What a sealed one can reach at most.
//! `tunnel TAP LISTEN PEER`, addresses with ports

use std::{net::SocketAddr, os::fd::AsRawFd, process::ExitCode};

#[path = "../tests/lab/tunnel.rs"]
mod records;

use records::{UNTAGGED, lay_out, take_in};
use weft_ports::{
    Job, Opened, Scratch, Tally, tap,
    udp::{self, Destination, Receiver, Segmentation, Sender},
};
use weft_vlan::Tags;

/// A datagram that an MTU of 1500 takes, by either family.
const RECORD: usize = 1452;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let addresses = arguments.get(1..).unwrap_or_default().iter().map(|text| text.parse());
    let (Some(device), Ok(addresses)) =
        (arguments.first(), addresses.collect::<Result<Vec<SocketAddr>, _>>())
    else {
        return usage();
    };
    let [listen, peer] = addresses[..] else { return usage() };
    match open(device, listen, peer).and_then(End::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tunnel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: tunnel TAP LISTEN PEER");
    ExitCode::from(2)
}

struct End {
    port: Opened,
    sender: Sender,
    receiver: Receiver,
    to: Destination,
    tally: Tally,
}

fn open(
    device: &str,
    listen: SocketAddr,
    peer: SocketAddr,
) -> Result<End, Box<dyn std::error::Error>> {
    let port = tap::open(device, 1)?;
    let socket = udp::open(listen, 1, Segmentation::Kernel)?.remove(0);
    Ok(End {
        port,
        sender: socket.sender(),
        receiver: socket.receiver(),
        to: Destination::new(peer, 0),
        tally: Tally::default(),
    })
}

impl End {
    fn run(mut self) -> Result<(), Box<dyn std::error::Error>> {
        let mut scratch = Scratch::new();
        let mut jobs = Vec::new();
        loop {
            let sent = self.send(&mut scratch)?;
            let delivered = self.deliver(&mut scratch, &mut jobs)?;
            if !sent && !delivered {
                self.wait();
            }
        }
    }

    /// Sends what the TAP has; tells whether it had anything.
    fn send(&mut self, scratch: &mut Scratch) -> Result<bool, Box<dyn std::error::Error>> {
        let burst = self.port.rx[0].receive(scratch)?;
        let mut batch = self.sender.batch(&mut self.to, &mut self.tally);
        for frame in 0..burst.frames().len() as u16 {
            let job = Job { frame, tags: Tags { vlan: Some(UNTAGGED), payload: None } };
            lay_out(&burst, &job, RECORD, &mut batch);
        }
        batch.send();
        Ok(!burst.is_empty())
    }

    /// Delivers what has come to the TAP; tells whether anything had.
    fn deliver(
        &mut self,
        scratch: &mut Scratch,
        jobs: &mut Vec<Job>,
    ) -> Result<bool, Box<dyn std::error::Error>> {
        if !self.receiver.fill()? {
            return Ok(false);
        }
        let mut builder = scratch.builder();
        let mut records = self.receiver.records();
        while !builder.is_full()
            && let Some(record) = records.next()
        {
            take_in(record, &mut builder);
        }
        let burst = builder.finish();
        jobs.clear();
        jobs.extend((0..burst.frames().len() as u16).map(|frame| Job { frame, tags: Tags::NONE }));
        self.port.tx[0].send(&burst, jobs, &mut self.tally);
        Ok(true)
    }

    fn wait(&self) {
        let mut ready = [self.port.rx[0].fd(), self.receiver.fd()].map(|fd| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: the kernel reads and writes two entries, which are there.
        unsafe { libc::poll(ready.as_mut_ptr(), 2, -1) };
    }
}
