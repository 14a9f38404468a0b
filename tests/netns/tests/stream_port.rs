//! Stream ports: both ends of the socket, guests that come, go, lie about lengths, and do not read.
//!
//! ```text
//!   stream ── srv (weftd listens) ─── access 10 ┐
//!   stream ── cli (weftd connects) ── access 10 ┼ switch
//!   Nic nic ─ nic ─────────────────── access 10 ┘
//! ```

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    time::{Duration, Instant},
};

use weft_netns::{
    Daemon, Lab, Nic, StreamGuest, Wire,
    frame::{BROADCAST, Frame, mac},
    until,
};

struct Scene {
    lab: Lab,
    daemon: Daemon,
    nic: Nic,
    server: PathBuf,
    client: PathBuf,
}

fn scene(workers: usize) -> Scene {
    let lab = Lab::with_workers(workers);
    let nic = Nic::open(lab.switch(), "nic");
    let (server, client) = (lab.path("srv.sock"), lab.path("cli.sock"));
    let daemon = lab.daemon(&format!(
        "[port.srv]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.cli]\ntype = \"stream\"\nmode = \"client\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n\
         [port.nic]\ntype = \"netdev\"\ndevice = \"nic\"\nvlan = {{ access = 10 }}\n",
        server.display(),
        client.display()
    ));
    Scene { lab, daemon, nic, server, client }
}

fn talk(a: &mut dyn Wire, b: &mut dyn Wire, text: &str) {
    let frame = Frame::new(mac(1), BROADCAST).text(text).bytes();
    a.send(&frame);
    b.expect_frame(&frame);
    let frame = Frame::new(mac(2), mac(1)).text(text).bytes();
    b.send(&frame);
    a.expect_frame(&frame);
}

fn guests_come_and_go(workers: usize) {
    let Scene { daemon, mut nic, server, lab: _lab, .. } = scene(workers);
    let ctl = daemon.ctl();
    for round in 0..5 {
        let port = ctl.wait_for_state("srv", "waiting");
        assert!(port["reason"].is_string(), "{port}");
        let mut guest = StreamGuest::connect(&server);
        ctl.wait_for_state("srv", "up");
        talk(&mut guest, &mut nic, &format!("round {round}"));
    }
    ctl.wait_for_state("srv", "waiting");
    assert_eq!(ctl.fdb(10, "02:00:00:00:00:01"), None);
}

fn the_daemon_connects_again_and_again(workers: usize) {
    let Scene { daemon, mut nic, client, lab: _lab, .. } = scene(workers);
    let ctl = daemon.ctl();
    ctl.wait_for_state("cli", "waiting");
    for round in 0..3 {
        let listener = UnixListener::bind(&client).unwrap();
        let mut guest = StreamGuest::accept(&listener);
        ctl.wait_for_state("cli", "up");
        talk(&mut guest, &mut nic, &format!("round {round}"));
        drop((listener, guest));
        ctl.wait_for_state("cli", "waiting");
        fs::remove_file(&client).unwrap();
    }
}

/// One guest at a time: a second one is turned away, the first notices nothing.
fn a_second_guest_is_turned_away(workers: usize) {
    let Scene { daemon, mut nic, server, lab: _lab, .. } = scene(workers);
    let mut first = StreamGuest::connect(&server);
    daemon.ctl().wait_for_state("srv", "up");
    talk(&mut first, &mut nic, "first");
    let mut second = StreamGuest::connect(&server);
    assert!(second.is_hung_up(Instant::now() + Duration::from_secs(10)), "two guests on one port");
    talk(&mut first, &mut nic, "still there");
}

fn lengths_that_lie_end_the_connection_only(workers: usize) {
    let Scene { daemon, mut nic, server, lab, .. } = scene(workers);
    let ctl = daemon.ctl();
    let other = lab.path("other.sock");
    ctl.run(&format!("port add other --type stream --socket {} --access 10", other.display()));
    let mut other = StreamGuest::connect(&other);
    for lie in [u32::MAX, 0x8000_0000, 1 << 24, 200_000] {
        let mut guest = StreamGuest::connect(&server);
        ctl.wait_for_state("srv", "up");
        guest.write_raw(&lie.to_be_bytes()).unwrap();
        // The daemon may have hung up by the time the rest is written.
        let _ = guest.write_raw(&[0x5a; 2000]);
        assert!(guest.is_hung_up(Instant::now() + Duration::from_secs(10)), "{lie} was believed");
        ctl.wait_for_state("srv", "waiting");
        talk(&mut other, &mut nic, "others");
    }
    // Cut short in the length, in the frame, and a length of nothing.
    for (bytes, malformed) in [(&[0u8, 0][..], 0), (&[0, 0, 0, 60, 1, 2, 3], 0), (&[0, 0, 0, 0], 1)]
    {
        let before = ctl.drops("srv", "rx", "malformed");
        let mut guest = StreamGuest::connect(&server);
        ctl.wait_for_state("srv", "up");
        guest.write_raw(bytes).unwrap();
        drop(guest);
        ctl.wait_for_state("srv", "waiting");
        assert_eq!(ctl.drops("srv", "rx", "malformed"), before + malformed);
    }
    let mut guest = StreamGuest::connect(&server);
    talk(&mut guest, &mut nic, "after all that");
}

/// A frame may come in any pieces.
fn frames_are_put_together(workers: usize) {
    let Scene { daemon, mut nic, server, lab: _lab, .. } = scene(workers);
    let mut guest = StreamGuest::connect(&server);
    daemon.ctl().wait_for_state("srv", "up");
    let frames: Vec<_> = (0..20)
        .map(|n| Frame::new(mac(1), BROADCAST).text(&format!("piece {n}")).len(60 + n * 70).bytes())
        .collect();
    let mut stream = Vec::new();
    for frame in &frames {
        stream.extend((frame.len() as u32).to_be_bytes());
        stream.extend(frame);
    }
    for piece in stream.chunks(7) {
        guest.write_raw(piece).unwrap();
    }
    for frame in &frames {
        nic.expect_nothing_before(frame);
    }
}

/// A guest that does not read loses its own frames and holds up nobody.
fn a_slow_reader_holds_up_nobody(workers: usize) {
    let Scene { daemon, mut nic, server, lab, .. } = scene(workers);
    let ctl = daemon.ctl();
    let other = lab.path("other.sock");
    ctl.run(&format!("port add other --type stream --socket {} --access 10", other.display()));
    let mut slow = StreamGuest::connect(&server);
    let mut other = StreamGuest::connect(&other);
    ctl.wait_for_state("srv", "up");
    ctl.wait_for_state("other", "up");
    let hello = Frame::new(mac(9), BROADCAST).text("hello").bytes();
    slow.send(&hello);
    nic.expect_frame(&hello);
    let resident = daemon.own_memory_kib();
    for number in 0..4000 {
        let frame =
            Frame::new(mac(1), BROADCAST).text(&format!("number {number}")).len(1500).bytes();
        nic.send(&frame);
        other.expect_frame(&frame);
    }
    ctl.wait_for_drops("srv", "tx", "queue-full", 1);
    assert!(
        daemon.own_memory_kib() < resident + 8 * 1024,
        "{} KiB, then {}",
        resident,
        daemon.own_memory_kib()
    );
    // What it does read is whole frames in order, and it goes on from there.
    let last = Frame::new(mac(1), BROADCAST).text("last").bytes();
    until("the slow one gets something new", || {
        nic.send(&last);
        let deadline = Instant::now() + Duration::from_millis(200);
        while let Some(frame) = slow.receive(deadline) {
            assert!(frame.len() == 1500 || frame.len() == 60, "a frame of {} bytes", frame.len());
            if frame == last {
                return true;
            }
        }
        false
    });
}

fn the_socket_is_its_owners(workers: usize) {
    let lab = Lab::with_workers(workers);
    let path = lab.path("ports/vm/own.sock");
    let daemon = lab.daemon(&format!(
        "[port.own]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
        path.display()
    ));
    let ctl = daemon.ctl();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    ctl.run("port set own --socket-mode 0660 --group root");
    until("the socket has its new mode", || {
        fs::metadata(&path).is_ok_and(|meta| meta.permissions().mode() & 0o777 == 0o660)
    });
    ctl.run("port remove own");
    until("the socket goes with its port", || !path.exists());
}

/// Where others may put files, one of them could listen in the port's place.
fn a_directory_of_everyones_is_refused_until_it_is_closed(workers: usize) {
    let lab = Lab::with_workers(workers);
    let directory = lab.path("open");
    let path = directory.join("own.sock");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    let daemon = lab.daemon(&format!(
        "[port.own]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 10 }}\n",
        path.display()
    ));
    let ctl = daemon.ctl();
    let port = ctl.wait_for_state("own", "failed");
    let reason = port["reason"].as_str().unwrap();
    assert!(reason.contains(&format!("chmod go-w {}", directory.display())), "{port}");
    assert!(!path.exists());
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
    daemon.reload();
    ctl.wait_for_state("own", "waiting");
    StreamGuest::connect(&path);
    // In a sticky one nobody can take the port's socket away.
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).unwrap();
    ctl.run("port set own --disabled");
    ctl.run("port set own --enabled");
    ctl.wait_for_state("own", "waiting");
}

weft_netns::each_worker_count!(
    guests_come_and_go,
    the_daemon_connects_again_and_again,
    a_second_guest_is_turned_away,
    lengths_that_lie_end_the_connection_only,
    frames_are_put_together,
    a_slow_reader_holds_up_nobody,
    the_socket_is_its_owners,
    a_directory_of_everyones_is_refused_until_it_is_closed,
);
