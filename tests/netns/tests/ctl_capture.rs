//! `weftctl capture`: what it wrote, read by those who read captures.
//!
//! ```text
//!   tap0 ── web ─ access 10 ────────┐
//!   tap1 ── host ─ trunk 10, 20 ────┼ switch ── weftctl capture ── tshark, tcpdump
//!   tap2 ── db ─ access 20 ─────────┘
//! ```

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use weft_netns::{
    Daemon, Lab, Nic, Process, Wire,
    frame::{BROADCAST, Frame, mac},
    http, until,
};

const CONFIG: &str = "\
[vlan.office]
id = 10
[port.web]
type = \"netdev\"
device = \"tap0\"
vlan = { access = 10 }
[port.host]
type = \"netdev\"
device = \"tap1\"
vlan = { trunk = [10, 20] }
[port.db]
type = \"netdev\"
device = \"tap2\"
vlan = { access = 20 }
mtu = 1000
";

struct Scene {
    lab: Lab,
    daemon: Daemon,
    web: Nic,
    host: Nic,
    db: Nic,
}

fn scene() -> Scene {
    let lab = Lab::new();
    let [web, host, db] = ["tap0", "tap1", "tap2"].map(|device| Nic::open(lab.switch(), device));
    let daemon = lab.daemon(CONFIG);
    for port in ["web", "host", "db"] {
        daemon.ctl().wait_for_state(port, "up");
    }
    Scene { lab, daemon, web, host, db }
}

/// A `weftctl capture` into a file that has begun.
struct Capturing {
    process: Process,
    file: PathBuf,
}

impl Scene {
    #[track_caller]
    fn capture(&self, name: &str, arguments: &str) -> Capturing {
        let file = self.lab.path(name);
        let mut words = vec!["capture", "-w", file.to_str().unwrap()];
        words.extend(arguments.split_whitespace());
        let process = Process::start(name, self.lab.switch(), self.daemon.ctl().command(&words));
        until("the capture has begun", || fs::metadata(&file).is_ok_and(|file| file.len() > 0));
        Capturing { process, file }
    }

    /// Sends frames of every fate: to everybody in 10, to everybody in 20, and two that are dropped.
    fn traffic(&mut self) {
        let hello = Frame::new(mac(1), BROADCAST).len(200);
        self.web.send(&hello.clone().bytes());
        self.host.expect_frame(&hello.tag(10).bytes());
        self.web.send(&Frame::new(mac(1), BROADCAST).tag(10).bytes());
        self.host.send(&Frame::new(mac(2), BROADCAST).tag(30).bytes());
        let large = Frame::new(mac(2), BROADCAST).len(1200);
        self.host.send(&large.tag(20).bytes());
        let ip = |last| [10, 0, 0, last].into();
        let datagram = Frame::new(mac(3), mac(2)).udp(ip(3), ip(2), b"what a guest says");
        self.db.send(&datagram.clone().bytes());
        self.host.expect_frame(&datagram.tag(20).bytes());
        self.daemon.ctl().wait_for_drops("db", "tx", "oversize", 1);
    }

    fn captures(&self) -> Vec<Value> {
        let answer = http::request(&self.daemon.socket(), "GET", "/v1/captures", &[], "");
        answer.json().as_array().unwrap().clone()
    }
}

impl Capturing {
    /// Ends it as a user does, and returns what it said.
    #[track_caller]
    fn end(self) -> (PathBuf, String) {
        self.process.signal(Signal::SIGINT);
        let said = self.process.finish();
        (self.file, said)
    }
}

/// Has tshark print fields of each frame, in the order of the file.
#[track_caller]
fn tshark(file: &Path, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r"]).arg(file).args(["-T", "fields"]);
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = command.output().expect("tshark can be started: apt-get install tshark");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {stderr}");
    assert!(!stderr.contains("cut short") && !stderr.contains("damaged"), "tshark: {stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[track_caller]
fn interfaces(file: &Path) -> Vec<String> {
    tshark(file, &["frame.interface_name"]).into_iter().map(|row| row[0].clone()).collect()
}

#[test]
fn tshark_reads_ports_ways_tags_lengths_and_reasons() {
    let mut scene = scene();
    let capturing = scene.capture("all.pcapng", "--snaplen 100");
    scene.traffic();
    let (file, said) = capturing.end();
    assert!(said.contains("8 frames captured into"), "{said}");
    assert!(!said.contains("not captured"), "{said}");
    let fields = [
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.len",
        "frame.cap_len",
        "vlan.id",
        "frame.comment",
    ];
    let rows: Vec<String> = tshark(&file, &fields).iter().map(|row| row.join(" ")).collect();
    // The text of a datagram makes its length.
    let datagram = 14 + 20 + 8 + 17;
    let expected = [
        "web:in 0x00000001 200 100  ".to_owned(),
        "host:out 0x00000002 204 100 10 ".to_owned(),
        "web:in 0x00000001 64 64 10 dropped: tagged-on-access".to_owned(),
        "host:in 0x00000001 64 64 30 dropped: vlan-not-member".to_owned(),
        "host:in 0x00000001 1204 100 20 ".to_owned(),
        "db:out 0x00000002 1204 100 20 dropped: oversize (VLAN 20)".to_owned(),
        format!("db:in 0x00000001 {datagram} {datagram}  "),
        format!("host:out 0x00000002 {0} {0} 20 ", datagram + 4),
    ];
    let mut sorted = (rows.clone(), expected.to_vec());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1);
    let times = tshark(&file, &["frame.time_epoch"]);
    assert!(times.is_sorted(), "{times:?}");
    assert!(times[0][0].split('.').nth(1).is_some_and(|fraction| fraction.len() == 9), "{times:?}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let log = scene.daemon.log();
    assert!(log.contains("capture begins") && log.contains("capture ended"), "{log}");
    assert!(log.contains("uid=0") && log.contains("/v1/capture"), "{log}");
}

#[test]
fn ports_vlans_ways_drops_filters_and_counts_choose() {
    for (name, arguments, expected) in [
        ("port", "--port web --port db --direction in", &["db:in", "web:in", "web:in"][..]),
        ("vlan", "--vlan office", &["host:out", "web:in"]),
        ("two", "--vlan 10 --vlan 20 --direction out", &["db:out", "host:out", "host:out"]),
        ("drops", "--drops", &["db:out", "host:in", "web:in"]),
        ("udp", "udp and dst host 10.0.0.2", &["db:in", "host:out"]),
        ("tag", "vlan 20 and not udp", &["db:out", "host:in"]),
        ("deep", "-s 20 udp[8:4]=0x77686174", &["db:in", "host:out"]),
        ("len", "--drops greater 1000", &["db:out"]),
    ] {
        let mut scene = scene();
        let capturing = scene.capture(name, arguments);
        scene.traffic();
        let (file, _) = capturing.end();
        let mut seen = interfaces(&file);
        seen.sort();
        assert_eq!(seen, expected, "{arguments}");
    }
    let mut scene = scene();
    let Capturing { process, file } = scene.capture("count", "--count 3");
    scene.traffic();
    assert!(process.finish().contains("3 frames captured"));
    assert_eq!(interfaces(&file).len(), 3);
    let Capturing { process, .. } = scene.capture("time", "--duration 1s");
    assert!(process.finish().contains("0 frames captured"));
}

#[test]
fn a_port_that_is_down_is_the_reason_of_a_frame_that_does_not_leave() {
    let mut scene = scene();
    let capturing = scene.capture("down", "--drops --port host");
    scene.lab.switch().run("ip link set tap1 down");
    scene.daemon.ctl().wait_for_state("host", "down");
    scene.web.send(&Frame::new(mac(1), BROADCAST).bytes());
    scene.daemon.ctl().wait_for_drops("host", "tx", "port-down", 1);
    let (file, _) = capturing.end();
    let rows = tshark(&file, &["frame.interface_name", "frame.comment", "vlan.id"]);
    assert_eq!(rows, [["host:out", "dropped: port-down (VLAN 10)", "10"]]);
}

#[test]
fn ports_that_come_and_go_meanwhile_keep_their_names() {
    let mut scene = scene();
    let capturing = scene.capture("moving", "");
    let ctl = scene.daemon.ctl();
    ctl.run("port remove db");
    ctl.run("port add late --type netdev --device tap2 --access 10");
    ctl.wait_for_state("late", "up");
    let hello = Frame::new(mac(9), BROADCAST).bytes();
    scene.db.send(&hello);
    scene.web.expect_frame(&hello);
    until("the counters know it", || ctl.port("late")["rx"]["frames"] == 1);
    let (file, _) = capturing.end();
    let mut seen = interfaces(&file);
    seen.sort();
    assert_eq!(seen, ["host:out", "late:in", "web:out"]);
}

#[test]
fn tcpdump_reads_a_pipe_and_leaves_when_it_has_seen_enough() {
    let mut scene = scene();
    let ctl = scene.daemon.ctl().command(&["capture", "--port", "web", "-w", "-"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$0\" \"$@\" | tcpdump -n -e -l -c 2 -r -"]).arg(ctl.get_program());
    shell.args(ctl.get_args());
    let reader = Process::start("weftctl | tcpdump", scene.lab.switch(), shell);
    until("the capture has begun", || scene.captures().len() == 1);
    scene.traffic();
    reader.wait_for("02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff");
    // The next frame finds the pipe closed, and nobody complains.
    scene.traffic();
    let said = reader.finish();
    assert!(!said.contains("error"), "{said}");
    until("the capture has ended", || scene.captures().is_empty());
}

#[test]
fn frames_are_told_in_lines_and_as_documents() {
    let mut scene = scene();
    let ctl = scene.daemon.ctl();
    let lines = Process::start("lines", scene.lab.switch(), ctl.command(&["capture"]));
    let documents =
        Process::start("documents", scene.lab.switch(), ctl.command(&["--json", "capture"]));
    until("the captures have begun", || scene.captures().len() == 2);
    scene.traffic();
    lines.wait_for("10.0.0.3 > 10.0.0.2");
    lines.wait_for("dropped: oversize (VLAN 20)");
    documents.wait_for("\"source-ip\":\"10.0.0.3\"");
    documents.wait_for("\"comment\":\"dropped: tagged-on-access\"");
    for process in [lines, documents] {
        process.signal(Signal::SIGTERM);
        process.finish();
    }
}

/// Whoever does not read loses frames of the capture; the switch loses none, and the loss is told.
#[test]
fn a_slow_reader_costs_captured_frames_alone() {
    let mut scene = scene();
    let (go, out) = (scene.lab.path("go"), scene.lab.path("slow.pcapng"));
    let ctl = scene.daemon.ctl().command(&["--json", "capture", "--port", "web", "-w", "-"]);
    let mut shell = Command::new("sh");
    let script = "out=$1; go=$2; shift 2; \"$0\" \"$@\" | \
                  { while [ ! -e $go ]; do sleep 0.05; done; cat > $out; }";
    shell.args(["-c", script]).arg(ctl.get_program()).arg(&out).arg(&go).args(ctl.get_args());
    let reader = Process::start("a slow reader", scene.lab.switch(), shell);
    until("the capture has begun", || scene.captures().len() == 1);
    let mut sent = 0;
    // More than pipe, socket, pieces and two rings hold.
    for round in 0..100_u32 {
        let frame = |number: u32| {
            let text = format!("{round} {number}");
            Frame::new(mac(1), BROADCAST).text(&text).len(1400)
        };
        for number in 0..100 {
            scene.web.send(&frame(number).bytes());
            sent += 1;
        }
        for number in 0..100 {
            scene.host.expect_frame(&frame(number).tag(10).bytes());
        }
    }
    let id = scene.captures()[0]["id"].as_u64().unwrap();
    let path = format!("/v1/captures/{id}");
    fs::write(&go, "").unwrap();
    let stopped = http::request(&scene.daemon.socket(), "DELETE", &path, &[], "");
    assert_eq!(stopped.status, 204);
    let said = reader.finish();
    let summary: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    let (frames, lost) = (summary["frames"].as_u64().unwrap(), summary["lost"].as_u64().unwrap());
    assert!(lost > 0, "{said}");
    assert_eq!(frames + lost, sent, "{said}");
    assert_eq!(interfaces(&out).len() as u64, frames);
}

#[test]
fn a_full_disk_is_told_and_leaves_a_file_that_can_be_read() {
    let mut scene = scene();
    let directory = scene.lab.path("small");
    fs::create_dir(&directory).unwrap();
    let file = directory.join("full.pcapng");
    let ctl = scene.daemon.ctl().command(&["capture", "--port", "web", "-w"]);
    // A mount namespace of its own: the disk goes with it.
    let script = "mount -t tmpfs -o size=256k small $1; d=$1; f=$2; shift 2; \"$0\" \"$@\" $f; echo \"status $?\"; \
                  tshark -n -r $f -T fields -e frame.number | tail -n 1 | sed 's/^/last /'; echo over";
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", script]).arg(ctl.get_program());
    shell.arg(&directory).arg(&file).args(ctl.get_args());
    let process = Process::start("a full disk", scene.lab.switch(), shell);
    until("the capture has begun", || scene.captures().len() == 1);
    for number in 0..400 {
        let frame = Frame::new(mac(1), BROADCAST).text(&number.to_string()).len(1400);
        scene.web.send(&frame.clone().bytes());
        scene.host.expect_frame(&frame.tag(10).bytes());
    }
    until("the capture has ended", || scene.captures().is_empty());
    process.wait_for("over");
    let said = process.said();
    assert!(said.contains("No space left on device") && said.contains("status 1"), "{said}");
    assert!(!said.contains("cut short"), "{said}");
    let last = said.lines().find_map(|line| line.strip_prefix("last ")).expect("a last frame");
    let last: u32 = last.parse().unwrap();
    assert!((100..400).contains(&last), "{said}");
    scene.traffic();
}

#[test]
fn a_killed_client_ends_its_capture_and_the_switch_goes_on() {
    let mut scene = scene();
    let Capturing { process, .. } = scene.capture("killed", "");
    assert_eq!(scene.captures()[0]["pid"].as_u64(), Some(process.pid().into()));
    process.signal(Signal::SIGKILL);
    until("the capture has ended", || scene.captures().is_empty());
    scene.traffic();
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let scene = scene();
    let ctl = scene.daemon.ctl();
    let there = scene.lab.write("there", "something");
    let there = there.display();
    for (code, line, said) in [
        (2, "capture tcp prot 80", "\n      ^^^^\n"),
        (2, "capture host web1.example.net", "not looked up"),
        (2, "capture --snaplen 0", "snaplen"),
        (1, "capture --port webb", "did you mean `web`?"),
        (1, "capture --vlan offcie", "did you mean `office`?"),
        (1, "capture --vlan 5000", "there is no VLAN `5000`"),
        (1, &format!("capture -w {there}"), "is there already"),
        (1, "capture -w /nowhere/file", "cannot be written"),
    ] {
        let stderr = ctl.refused(code, line);
        assert!(stderr.contains(said), "weftctl {line}: {stderr}");
    }
    assert_eq!(fs::read_to_string(scene.lab.path("there")).unwrap(), "something");
    ctl.run(&format!("capture --duration 1s --overwrite -w {there}"));
    assert_eq!(tshark(&scene.lab.path("there"), &["frame.number"]).len(), 0);
    assert_eq!(fs::metadata(scene.lab.path("there")).unwrap().permissions().mode() & 0o777, 0o600);
    until("all have ended", || scene.captures().is_empty());
    let running: Vec<Capturing> =
        (0..4).map(|number| scene.capture(&format!("{number}.pcapng"), "")).collect();
    let refusal = ctl.refused(1, "capture");
    let pid = running[0].process.pid();
    assert!(refusal.contains(&format!("uid 0 pid {pid}")), "{refusal}");
    running.into_iter().for_each(|capturing| drop(capturing.end()));
    ctl.run("capture --duration 1s");
}
