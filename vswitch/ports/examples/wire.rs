//! A wire: copies frames between two ports both ways, without a switch. What the ports alone can do.
//! `wire tap:NAME|packet:DEVICE|xdp:DEVICE tap:NAME|packet:DEVICE|xdp:DEVICE`

use std::{os::fd::AsRawFd, process::ExitCode};

use weft_ports::{BURST, Burst, Job, Opened, Scratch, Tally, link::Links, packet, tap, xdp};
use weft_vlan::Tags;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [left, right] = &arguments[..] else {
        eprintln!(
            "usage: wire tap:NAME|packet:DEVICE|xdp:DEVICE tap:NAME|packet:DEVICE|xdp:DEVICE"
        );
        return ExitCode::from(2);
    };
    match open(left).and_then(|left| Ok((left, open(right)?))) {
        Ok((left, right)) => run([left, right]),
        Err(error) => {
            eprintln!("wire: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open(port: &str) -> Result<Opened, String> {
    let index = |device| {
        Links::open()
            .and_then(|links| links.index(device))
            .map_err(|error| format!("{port}: {error}"))
    };
    let opened = match port.split_once(':') {
        Some(("tap", device)) => tap::open(device, 1),
        Some(("packet", device)) => packet::open(index(device)?),
        Some(("xdp", device)) => xdp::open(index(device)?).map(|(opened, _)| opened),
        _ => return Err(format!("{port}: not tap:NAME, packet:DEVICE or xdp:DEVICE")),
    };
    opened.map_err(|error| format!("{port}: {error}"))
}

fn run(mut ports: [Opened; 2]) -> ExitCode {
    let mut scratch = Scratch::new();
    let mut jobs = Vec::with_capacity(BURST);
    let mut tally = Tally::default();
    loop {
        let mut idle = true;
        for side in 0..2 {
            let [left, right] = &mut ports;
            let (from, to) = if side == 0 { (left, right) } else { (right, left) };
            match from.rx[0].receive(&mut scratch) {
                Ok(burst) if burst.is_empty() => {}
                Ok(burst) => {
                    idle = false;
                    fill(&mut jobs, &burst);
                    to.tx[0].send(&burst, &jobs, &mut tally);
                }
                Err(fault) => {
                    eprintln!("wire: {fault}");
                    return ExitCode::FAILURE;
                }
            }
        }
        if idle {
            wait(&ports);
        }
    }
}

/// Sends every frame on as it came.
fn fill(jobs: &mut Vec<Job>, burst: &Burst<'_>) {
    jobs.clear();
    let all = burst.frames().iter().zip(0..);
    jobs.extend(all.map(|(frame, position)| Job {
        frame: position,
        tags: Tags { vlan: frame.head.tag(), payload: None },
    }));
}

fn wait(ports: &[Opened; 2]) {
    let mut ready = ports.each_ref().map(|port| libc::pollfd {
        fd: port.rx[0].fd().as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: the kernel reads and writes two entries, which are there.
    unsafe { libc::poll(ready.as_mut_ptr(), 2, -1) };
}
