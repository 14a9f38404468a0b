//! `weftctl doctor` finds the usual traps of a real switch, and nothing where nothing is wrong.

use serde_json::Value;
use weft_netns::{
    Bed, Host, Kind, Lab, Member,
    frame::{BROADCAST, DOT1Q, Frame, mac, mac_text},
    until,
};

const CONFIG: &str = "\
[port.one]
type = \"netdev\"
device = \"v1\"
vlan = { access = 10 }

[port.two]
type = \"netdev\"
device = \"v2\"
vlan = { access = 10 }
";

const MEMBERS: [Member; 2] = [
    Member {
        name: "one",
        keys: "vlan = { access = 10 }",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
    Member {
        name: "two",
        keys: "vlan = { access = 10 }\nmtu = 1000",
        on_wire: &[],
        at_monitor: &[(DOT1Q, 10)],
    },
];

/// What it finds, worst first: `grade: what`.
fn findings(diagnosis: &Value) -> Vec<String> {
    let findings = diagnosis["findings"].as_array().expect("findings are a list");
    findings.iter().map(|one| format!("{}: {}", one["grade"], one["what"])).collect()
}

fn diagnosis(ctl: &weft_netns::Ctl) -> Value {
    let output = ctl.line("--json doctor");
    let diagnosis: Value = serde_json::from_str(&output.stdout).expect("it is one document");
    let wanted = if diagnosis["problems"] == 0 { 0 } else { 1 };
    assert_eq!(output.code, Some(wanted), "{}", output.stderr);
    diagnosis
}

#[test]
fn a_healthy_switch_has_no_finding() {
    let lab = Lab::new();
    let hosts = [("v1", "10.0.0.1/24"), ("v2", "10.0.0.2/24")]
        .map(|(device, address)| Host::on_veth(&lab, device, address));
    let daemon = lab.daemon(CONFIG);
    hosts[0].wait_for_ping("10.0.0.2");
    let said = daemon.ctl().run("doctor");
    assert!(said.contains("nothing is wrong") && said.contains("2 ports"), "{said}");
}

#[test]
fn traps_are_found_with_their_cures() {
    let lab = Lab::with_workers(1);
    let missing = "[port.gone]\ntype = \"netdev\"\ndevice = \"v9\"\nvlan = { access = 10 }\n";
    let mut bed = Bed::start(&lab, Kind::Stream, missing, &MEMBERS);
    let ctl = bed.daemon.ctl();
    // A tag where none belongs, too long a frame for one of them, and an address in two places.
    bed.offer("one", &Frame::new(mac(1), BROADCAST).tag(10).text("tagged").bytes());
    bed.offer("one", &Frame::new(mac(1), BROADCAST).text("long").len(1400).bytes());
    for turn in 0..6 {
        bed.offer(["one", "two"][turn % 2], &Frame::new(mac(7), BROADCAST).text("me").bytes());
    }
    let mac = mac_text(mac(7));
    until("its moves are told", || {
        ctl.run("events --recent").matches(&format!("{mac} ")).count() >= 5
    });
    let found = findings(&diagnosis(&ctl));
    for wanted in [
        "\"problem\": \"port gone: device v9 does not exist\"",
        "\"problem\": \"port one has dropped 1 frames rx tagged-on-access\"",
        "\"problem\": \"port two has dropped 1 frames tx oversize\"",
        "port two only 1000: 1 frames were too long",
        &format!("{mac} in VLAN 10 of switch main has moved"),
    ] {
        assert!(found.iter().any(|one| one.contains(wanted)), "no {wanted} in {found:#?}");
    }
    let output = ctl.line("doctor");
    assert_eq!(output.code, Some(1));
    let said = output.stdout;
    assert!(said.contains("cure: ") && said.contains("weftctl port set NAME --trunk"), "{said}");
    assert!(output.stderr.contains("there are"), "{}", output.stderr);
}
