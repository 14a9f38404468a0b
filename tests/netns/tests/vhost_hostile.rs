//! A guest and a front-end that misbehave for seconds on end cost their neighbours no frame, and the switch neither
//! descriptors, threads nor memory.
//!
//! ```text
//!   nobody's guest ── bad.sock ─ vhost-user, access 10 ┐
//!   host a, 10.0.0.1 ── tapa ─ tap, access 10 ─────────┼ switch
//!   host b, 10.0.0.2 ── tapb ─ tap, access 10 ─────────┘
//! ```

use std::{
    fs,
    io::Write,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use weft_netns::{Daemon, FrontEnd, Host, Lab, Process, each_worker_count, until, until_some};

/// For how long each of them goes on.
const SPELL: Duration = Duration::from_secs(3);
/// What a daemon's own memory may grow by: what its allocator keeps of a moment's need.
const GROWTH_KIB: u64 = 8 << 10;
/// Lines that the log has at most of what a guest did within a minute.
const LINES: usize = 11;

fn scene(lab: &Lab) -> (Daemon, Host, Host) {
    let port = |name| {
        format!("[port.{name}]\ntype = \"tap\"\ndevice = \"tap{name}\"\nvlan = {{ access = 10 }}\n")
    };
    let daemon = lab.daemon(&format!(
        "[port.bad]\ntype = \"vhost-user\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n{}{}",
        lab.path("bad.sock").display(),
        port("a"),
        port("b")
    ));
    let a = Host::on_tap(lab, &daemon, "tapa", "10.0.0.1/24");
    let b = Host::on_tap(lab, &daemon, "tapb", "10.0.0.2/24");
    a.wait_for_ping("10.0.0.2");
    (daemon, a, b)
}

/// How many descriptors and threads a daemon has.
fn holdings(daemon: &Daemon) -> (usize, usize) {
    let count = |what: &str| {
        fs::read_dir(format!("/proc/{}/{what}", daemon.pid())).expect("the daemon runs").count()
    };
    (count("fd"), count("task"))
}

/// Lets `crime` happen again and again beside neighbours that talk to each other, and looks at what it cost.
fn beside_neighbours(lab: &Lab, daemon: &Daemon, host: &Host, mut crime: impl FnMut(&Lab)) -> u64 {
    let ctl = daemon.ctl();
    crime(lab);
    ctl.wait_for_state("bad", "waiting");
    let (held, memory) = (holdings(daemon), daemon.own_memory_kib());
    let pings = Process::start_line(host.space(), "ping -q -i 0.002 -c 2000 -W 10 10.0.0.2");
    let (end, mut crimes) = (Instant::now() + SPELL, 0);
    while Instant::now() < end {
        crime(lab);
        crimes += 1;
    }
    let report = pings.finish();
    assert!(report.contains("2000 packets transmitted, 2000 received"), "{report}");
    ctl.wait_for_state("bad", "waiting");
    until("nothing is held any more", || {
        let now = holdings(daemon);
        now.0 <= held.0 && now.1 <= held.1
    });
    let grown = daemon.own_memory_kib().saturating_sub(memory);
    assert!(grown < GROWTH_KIB, "{grown} KiB of memory were not given back");
    for port in ["a", "b"] {
        let port = ctl.port(port);
        assert!(port["tx"]["drops"]["queue-full"].is_null(), "{port}");
    }
    crimes
}

fn a_thousand_connections_a_second(workers: usize) {
    let lab = Lab::with_workers(workers);
    let (daemon, host, _other) = scene(&lab);
    let mut number = 0_usize;
    // A hundred each tenth of a second: some of no message, some of half a one, some of one that makes no sense.
    let bytes = [[1_u8, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [77, 0, 0, 0]].concat();
    let bursts = beside_neighbours(&lab, &daemon, &host, |lab| {
        let next = Instant::now() + Duration::from_millis(100);
        for _ in 0..100 {
            number += 1;
            let mut stream = UnixStream::connect(lab.path("bad.sock")).expect("somebody listens");
            // The port may have hung up already.
            let _ = stream.write_all(&bytes[..number % 17]);
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    });
    assert!(bursts * 100 >= 1000, "{bursts}00 connections in {SPELL:?}");
}

fn a_guest_that_breaks_its_ring_again_and_again(workers: usize) {
    let lab = Lab::with_workers(workers);
    let (daemon, host, _other) = scene(&lab);
    let mut broken = 0;
    beside_neighbours(&lab, &daemon, &host, |lab| {
        let mut front_end = until_some("the port takes a guest", || {
            let mut front_end = FrontEnd::connect(&lab.path("bad.sock")).ok()?;
            front_end.break_ring().ok()?;
            Some(front_end)
        });
        broken += 1;
        for _ in 0..9 {
            front_end.break_ring().expect("the ring can be set up again");
            broken += 1;
        }
    });
    assert!(broken >= 100, "{broken} rings broken in {SPELL:?}");
    daemon.ctl().wait_for_drops("bad", "rx", "malformed", broken);
    assert_eq!(daemon.ctl().drops("bad", "rx", "malformed"), broken);
    let lines = daemon.log().lines().filter(|line| line.contains("stands still")).count();
    assert!((1..=LINES).contains(&lines), "{lines} lines about {broken} broken rings");
}

each_worker_count!(a_thousand_connections_a_second, a_guest_that_breaks_its_ring_again_and_again);
