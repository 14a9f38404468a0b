//! Two files, and what is different in the words of the file.

use weft_config::{Config, api::ChangeKind, diff};

const BASE: &str = r#"
[vlan.office]
id = 10

[port.a]
type = "tap"
device = "t0"
vlan = { trunk = [10, 20], native = 10 }
macs = ["52:54:00:12:34:56", "52:54:00:12:34:57"]

[port.b]
type = "stream"
socket = "/run/b.sock"
vlan = { access = "office" }

[[fdb]]
mac = "52:54:00:12:34:56"
vlan = 10
port = "a"
"#;

fn differences(old: &str, new: &str) -> Vec<String> {
    let parsed =
        |text: &str| Config::parse(text).unwrap_or_else(|errors| panic!("{}", errors.plain()));
    let changes = diff(&parsed(old), &parsed(new));
    let line = |change: &weft_config::api::Change| {
        let sign = match change.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Changed => '~',
        };
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        format!("{sign} {}: {} -> {}", change.path, value(&change.old), value(&change.new))
    };
    changes.iter().map(line).collect()
}

#[test]
fn what_means_the_same_is_no_difference() {
    assert_eq!(differences(BASE, BASE), [""; 0]);
    let rewritten = r#"
# Comments, order, names and defaults written out.
fdb = [{ port = "a", vlan = "office", mac = "52-54-00-12-34-56" }]
[daemon]
workers = 1
[port.b]
vlan = { access = 10 }
enabled = true
isolated = false
switch = "main"
mode = "server"
type = "stream"
socket = "/run/./b.sock"
[port.a]
type = "tap"
queues = 1
device = "t0"
macs = ["52:54:00:12:34:57", "52:54:00:12:34:56"]
vlan = { native = "office", trunk = ["20-20", "office"], ethertype = "802.1Q", native-tagged = false }
[switch.main]
mac-ageing = "5m"
mac-limit = 65536
[vlan.office]
id = 10
"#;
    assert_eq!(differences(BASE, rewritten), [""; 0]);
}

#[test]
fn differences_are_told_in_the_words_of_the_file() {
    #[rustfmt::skip]
    let table: &[(&str, &str, &[&str])] = &[
        ("id = 10", "id = 20", &[
            "~ vlan.office.id: 10 -> 20",
            "~ port.b.vlan: { access = 10 } -> { access = 20 }",
        ]),
        ("device = \"t0\"", "device = \"t1\"\nqueues = 2\nmtu = 9000", &[
            "~ port.a.device: \"t0\" -> \"t1\"",
            "~ port.a.queues: 1 -> 2",
            "+ port.a.mtu: none -> 9000",
        ]),
        ("macs = [\"52:54:00:12:34:56\", \"52:54:00:12:34:57\"]", "enabled = false", &[
            "~ port.a.enabled: true -> false",
            "- port.a.macs: [\"52:54:00:12:34:56\", \"52:54:00:12:34:57\"] -> none",
        ]),
        ("trunk = [10, 20]", "trunk = [10, \"20-29\"]", &[
            "~ port.a.vlan: { trunk = [10, 20], native = 10 } -> { trunk = [10, \"20-29\"], native = 10 }",
        ]),
        ("type = \"stream\"\nsocket = \"/run/b.sock\"", "type = \"netdev\"\ndevice = \"tap0\"", &[
            "~ port.b.type: \"stream\" -> \"netdev\"",
            "+ port.b.device: none -> \"tap0\"",
            "+ port.b.io: none -> \"packet\"",
            "- port.b.socket: \"/run/b.sock\" -> none",
            "- port.b.mode: \"server\" -> none",
        ]),
        ("[[fdb]]\nmac = \"52:54:00:12:34:56\"\nvlan = 10\nport = \"a\"", "", &[
            "- fdb: { mac = \"52:54:00:12:34:56\", vlan = 10, port = \"a\" } -> none",
        ]),
        ("vlan = 10\nport = \"a\"", "vlan = 10\nport = \"b\"", &[
            "~ fdb: { mac = \"52:54:00:12:34:56\", vlan = 10, port = \"a\" } -> { mac = \"52:54:00:12:34:56\", vlan = 10, port = \"b\" }",
        ]),
        ("[vlan.office]", "[daemon]\nworkers = 2\n[switch.lab]\nmac-limit = 5\n[switch.main]\nmac-ageing = \"1m\"\n[port.c]\ntype = \"tap\"\ndevice = \"t9\"\nvlan = { access = 7 }\n[vlan.office]", &[
            "~ daemon.workers: 1 -> 2",
            "+ switch.lab: none -> { mac-limit = 5 }",
            "~ switch.main.mac-ageing: \"300s\" -> \"60s\"",
            "+ port.c: none -> { type = \"tap\", device = \"t9\", vlan = { access = 7 } }",
        ]),
    ];
    for (from, to, expected) in table {
        assert!(BASE.contains(from), "{from}");
        assert_eq!(differences(BASE, &BASE.replacen(from, to, 1)), *expected, "{to}");
    }
}
