//! Edits: text in, text out, comments and layout of everything else byte for byte.

use serde_json::{Map, Value, json};
use weft_config::{
    Config, Edit,
    api::{AddFdb, AddPort, AddSwitch, AddVlan, SetPort},
};

fn table(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(table) => table,
        other => panic!("{other} is no table"),
    }
}

fn add_port(name: &str, port: Value) -> Edit {
    Edit::AddPort(AddPort { name: name.to_owned(), port: table(port), may_exist: false })
}

fn add_port_if_missing(name: &str, port: Value) -> Edit {
    Edit::AddPort(AddPort { name: name.to_owned(), port: table(port), may_exist: true })
}

fn set_port(name: &str, port: Value) -> Edit {
    Edit::SetPort { name: name.to_owned(), set: SetPort { port: table(port) } }
}

fn remove_port(name: &str) -> Edit {
    Edit::RemovePort { name: name.to_owned() }
}

fn add_vlan(name: &str, id: u16, may_exist: bool) -> Edit {
    Edit::AddVlan(AddVlan { name: name.to_owned(), id, may_exist })
}

fn add_switch(name: &str, switch: Value, may_exist: bool) -> Edit {
    Edit::AddSwitch(AddSwitch { name: name.to_owned(), switch: table(switch), may_exist })
}

fn add_fdb(mac: &str, vlan: Value, port: &str, may_exist: bool) -> Edit {
    Edit::AddFdb(AddFdb { mac: mac.to_owned(), vlan, port: port.to_owned(), may_exist })
}

fn remove_fdb(mac: &str, vlan: Value) -> Edit {
    Edit::RemoveFdb { mac: mac.to_owned(), vlan, switch: None }
}

#[track_caller]
fn becomes(text: &str, edit: &Edit, expected: &str) {
    let edited = edit.apply(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(edited, expected);
    Config::parse(&edited).unwrap_or_else(|errors| panic!("{}", errors.plain()));
}

/// Compares code, message and help of a refusal.
#[track_caller]
fn refused(text: &str, edit: &Edit, expected: &str) {
    match edit.apply(text) {
        Ok(edited) => panic!("accepted:\n{edited}"),
        Err(error) => {
            let body = error.body();
            let help = body.help.unwrap_or_default();
            assert_eq!(format!("{}: {}\nhelp: {help}", body.code, body.message), expected);
        }
    }
}

const FILE: &str = r#"# weft on host one

[daemon]
workers = 1   # enough

# the office
[vlan.office]
id = 10

[vlan.voice]
id = 20

# web server
# (rack 3)
[port.web1]
type = "netdev"
device = "tap0"          # libvirt's
vlan = { access = "office" }
# guards
macs = ["52:54:00:12:34:56"]
ips = [
    "10.10.0.5",  # v4
    "fd00::5",
]

[port.host]   # ours
type = "tap"
device = "weft0"
vlan = { trunk = [10, 20, "100-199"], native = 10 }
# vlan = { trunk = "all" }

# statics
[[fdb]]
mac = "52:54:00:12:34:56"
vlan = "office"
port = "web1"

# the end
"#;

#[test]
fn a_port_is_added_behind_the_last_one() {
    let port = json!({"vlan": {"native": 10, "trunk": [10, "20-29"]}, "type": "tap", "device": "t1", "mtu": null});
    let added = "\n[port.vm]\ntype = \"tap\"\ndevice = \"t1\"\nvlan = { trunk = [10, \"20-29\"], native = 10 }\n";
    let expected = FILE.replace(
        "# vlan = { trunk = \"all\" }\n",
        &format!("# vlan = {{ trunk = \"all\" }}\n{added}"),
    );
    becomes(FILE, &add_port("vm", port), &expected);
}

#[test]
fn the_first_of_a_section_is_added_at_the_end() {
    let port = json!({"type": "tap", "device": "t1", "vlan": {"access": 10}});
    let lines = "[port.vm]\ntype = \"tap\"\ndevice = \"t1\"\nvlan = { access = 10 }\n";
    becomes("", &add_port("vm", port.clone()), lines);
    becomes("# c\n", &add_port("vm", port.clone()), &format!("# c\n\n{lines}"));
    becomes("# no line end", &add_port("vm", port.clone()), &format!("# no line end\n\n{lines}"));
    let crlf = "[daemon]\r\nworkers = 1\r\n";
    becomes(crlf, &add_port("vm", port), &format!("{crlf}\r\n{}", lines.replace('\n', "\r\n")));
    becomes("", &add_switch("lab", json!({}), false), "[switch.lab]\n");
    becomes("", &add_vlan("office", 10, false), "[vlan.office]\nid = 10\n");
}

#[test]
fn vlans_switches_and_entries_are_added_behind_their_like() {
    becomes(
        FILE,
        &add_vlan("guests", 30, false),
        &FILE.replace("id = 20\n", "id = 20\n\n[vlan.guests]\nid = 30\n"),
    );
    becomes(
        FILE,
        &add_switch("lab", json!({"mac-limit": 5, "mac-ageing": "60s"}), false),
        &format!("{FILE}\n[switch.lab]\nmac-ageing = \"60s\"\nmac-limit = 5\n"),
    );
    let entry = "\n[[fdb]]\nmac = \"52:54:00:00:00:01\"\nvlan = \"voice\"\nport = \"host\"\n";
    becomes(
        FILE,
        &add_fdb("52-54-00-00-00-01", json!("voice"), "host", false),
        &FILE.replace("port = \"web1\"\n", &format!("port = \"web1\"\n{entry}")),
    );
}

#[test]
fn setting_a_key_leaves_the_rest_alone() {
    #[rustfmt::skip]
    let table = [
        (json!({"vlan": {"trunk": [10, 20]}}),   "vlan = { access = \"office\" }",                "vlan = { trunk = [10, 20] }"),
        (json!({"vlan": {"access": 10}}),        "macs",                                          "macs"),
        (json!({"enabled": true}),               "macs",                                          "macs"),
        (json!({"device": "tap1"}),              "device = \"tap0\"          # libvirt's",        "device = \"tap1\"          # libvirt's"),
        (json!({"mtu": 9000}),                   "vlan = { access = \"office\" }\n",              "vlan = { access = \"office\" }\nmtu = 9000\n"),
        (json!({"isolated": true}),              "    \"fd00::5\",\n]\n",                         "    \"fd00::5\",\n]\nisolated = true\n"),
        (json!({"macs": null}),                  "macs = [\"52:54:00:12:34:56\"]\n",              ""),
        (json!({"ips": null}),                   "ips = [\n    \"10.10.0.5\",  # v4\n    \"fd00::5\",\n]\n", ""),
        (json!({"macs": ["52:54:00:12:34:56"]}), "macs",                                          "macs"),
        (json!({"mtu": null}),                   "macs",                                          "macs"),
        (json!({"macs": null, "mtu": 1400}),     "vlan = { access = \"office\" }\n# guards\nmacs = [\"52:54:00:12:34:56\"]\n", "vlan = { access = \"office\" }\nmtu = 1400\n# guards\n"),
    ];
    for (set, from, to) in table {
        assert!(FILE.contains(from), "{from}");
        becomes(FILE, &set_port("web1", set), &FILE.replacen(from, to, 1));
    }
}

#[test]
fn a_new_key_stands_where_the_file_format_has_it() {
    let text = "[switch.lab]\n[port.a] # a\n  # tap\n  type = \"tap\"\n  device = \"a\"\n  vlan = { access = 1 }";
    becomes(
        text,
        &set_port("a", json!({"switch": "lab", "queues": 2, "mtu": 1400})),
        "[switch.lab]\n[port.a] # a\nswitch = \"lab\"\n  # tap\n  type = \"tap\"\n  device = \"a\"\n  queues = 2\n  \
         vlan = { access = 1 }\n  mtu = 1400\n",
    );
}

#[test]
fn a_port_goes_with_its_own_comment() {
    let start = FILE.find("\n[port.host]").unwrap();
    let end = FILE.find("\n# statics").unwrap();
    becomes(FILE, &remove_port("host"), &format!("{}{}", &FILE[..start], &FILE[end..]));

    let without_entry = FILE.replace(
        "\n# statics\n[[fdb]]\nmac = \"52:54:00:12:34:56\"\nvlan = \"office\"\nport = \"web1\"\n",
        "",
    );
    becomes(FILE, &remove_fdb("52:54:00:12:34:56", json!(10)), &without_entry);
    let start = without_entry.find("\n# web server").unwrap();
    let end = without_entry.find("\n[port.host]").unwrap();
    becomes(
        &without_entry,
        &remove_port("web1"),
        &format!("{}{}", &without_entry[..start], &without_entry[end..]),
    );
}

#[test]
fn a_comment_right_above_the_next_table_stays() {
    let text = "# a's\n[port.a]\ntype = \"tap\"\ndevice = \"a\"\nvlan = { access = 1 }\n# b's\n[port.b]\ntype = \"tap\"\ndevice = \"b\"\nvlan = { access = 1 }\n# b's too\n";
    let at = text.find("# b's\n").unwrap();
    becomes(text, &remove_port("a"), &text[at..]);
    becomes(text, &remove_port("b"), &text[..at]);
}

#[test]
fn other_layouts_are_edited_in_their_own_way() {
    let set = set_port("a", json!({"mtu": 9000}));
    let vlan = set_port("a", json!({"vlan": {"access": 2}}));
    let more = add_port("b", json!({"type": "tap", "device": "b", "vlan": {"access": 1}}));

    let sub_table = "[port.a]\ntype = \"tap\"\ndevice = \"a\"\n[port.a.vlan] # here\naccess = 1\n";
    becomes(sub_table, &set, &sub_table.replace("[port.a.vlan]", "mtu = 9000\n[port.a.vlan]"));
    becomes(sub_table, &vlan, &sub_table.replace("access = 1", "access = 2"));
    becomes(sub_table, &remove_port("a"), "");

    let dotted = "port.a.type = \"tap\"\nport.a.device = \"a\" # x\nport.a.vlan.access = 1\ndaemon.workers = 1\n";
    becomes(dotted, &set, &dotted.replace("access = 1\n", "access = 1\nport.a.mtu = 9000\n"));
    becomes(dotted, &vlan, &dotted.replace("port.a.vlan.access = 1\n", "port.a.vlan.access = 2\n"));
    becomes(dotted, &remove_port("a"), "daemon.workers = 1\n");
    let added = "\n[port.b]\ntype = \"tap\"\ndevice = \"b\"\nvlan = { access = 1 }\n";
    becomes(dotted, &more, &format!("{dotted}{added}"));

    let inline =
        "[port] # all\na = { type = \"tap\", device = \"a\", vlan = { access = 1 } } # a\n";
    becomes(inline, &set, &inline.replace("1 } }", "1 }, mtu = 9000 }"));
    becomes(inline, &remove_port("a"), "[port] # all\n");

    let nested = "port = { a = { type = \"tap\", device = \"a\", vlan = { access = 1 } } } # a\n";
    becomes(nested, &set, &nested.replace("1 } }", "1 }, mtu = 9000 }"));
    becomes(
        nested,
        &more,
        &nested.replace(
            "1 } } }",
            "1 } }, b = { type = \"tap\", device = \"b\", vlan = { access = 1 } } }",
        ),
    );
    becomes(nested, &remove_port("a"), "port = {} # a\n");

    let list = "fdb = [{ mac = \"02:00:00:00:00:01\", vlan = 1, port = \"a\" }] # x\n[port.a]\ntype = \"tap\"\ndevice = \"a\"\nvlan = { access = 1 }\n";
    let second = "{ mac = \"02:00:00:00:00:02\", vlan = 1, port = \"a\" }";
    becomes(
        list,
        &add_fdb("02:00:00:00:00:02", json!(1), "a", false),
        &list.replace("}]", &format!("}}, {second}]")),
    );
    becomes(
        list,
        &remove_fdb("02:00:00:00:00:01", json!("1")),
        &list.replacen("[{ mac = \"02:00:00:00:00:01\", vlan = 1, port = \"a\" }]", "[]", 1),
    );
}

#[test]
fn a_table_is_changed_key_by_key_and_keeps_its_comments() {
    let vlan = |mode: Value| set_port("a", json!({ "vlan": mode }));
    let head = "[port.a]\ntype = \"tap\"\ndevice = \"a\"\n\n";
    let trunk = json!({"trunk": [10, 20], "native": 10, "native-tagged": true});
    #[rustfmt::skip]
    let tables = [
        // A mode hands its line to the next one.
        ("# seen\n[port.a.vlan] # here\n# the office\naccess = 10   # web\n# end\n", trunk.clone(),
         "# seen\n[port.a.vlan] # here\n# the office\ntrunk = [10, 20]   # web\nnative = 10\nnative-tagged = true\n# end\n"),
        // What goes leaves its comment.
        ("[port.a.vlan]\n  trunk = [10, 20] # both\n  # why\n  native = 10 # phones\n", json!({"access": 5}),
         "[port.a.vlan]\n  access = 5 # both\n  # why\n  # phones\n"),
        ("[port.a.vlan]\nnative = 0xa # ten\ntrunk = [10, 20] # both\n", json!({"trunk": [10], "native": 10}),
         "[port.a.vlan]\nnative = 0xa # ten\ntrunk = [10] # both\n"),
        ("[port.a.vlan]\nnative = 10\ntrunk = [10, 20] # both\n", json!({"trunk": [20]}),
         "[port.a.vlan]\ntrunk = [20] # both\n"),
        // Lists too.
        ("[port.a.vlan]\ntrunk = [ # all\n  10, # office\n  # voice\n  20,   # old\n  30\n]\n", json!({"trunk": [10, 30, 40]}),
         "[port.a.vlan]\ntrunk = [ # all\n  10, # office\n  # voice\n  30,\n  40\n]\n"),
        ("[port.a.vlan]\ntrunk = [\n  10, # office\n  # voice\n  20, # new\n]\n", json!({"trunk": [10, 15, 20, 30]}),
         "[port.a.vlan]\ntrunk = [\n  10, # office\n  15,\n  # voice\n  20, # new\n  30,\n]\n"),
        ("[port.a.vlan]\ntrunk = [10, 20 # two\n]\n", json!({"trunk": [10, 30, 40]}),
         "[port.a.vlan]\ntrunk = [10, # two\n    30,\n    40\n]\n"),
        ("[port.a.vlan]\ntrunk = [10, # one\n  20]\n", json!({"trunk": [20]}),
         "[port.a.vlan]\ntrunk = [ # one\n  20]\n"),
        // Dotted keys.
        ("vlan.access = 10 # web\n", trunk,
         "vlan.trunk = [10, 20] # web\nvlan.native = 10\nvlan.native-tagged = true\n"),
        ("vlan.dot1q-tunnel = 300 # q\nmtu = 1400\nvlan.customer = [1, 2] # c\n", json!({"access": 5}),
         "vlan.access = 5 # q\nmtu = 1400\n# c\n"),
        ("vlan = { trunk = [\n  10, # ten\n  20,\n], native = 10 } # x\n", json!({"trunk": [10, 30], "native": 30}),
         "vlan = { trunk = [\n  10, # ten\n  30,\n], native = 30 } # x\n"),
    ];
    for (before, mode, after) in tables {
        becomes(&format!("{head}{before}"), &vlan(mode), &format!("{head}{after}"));
    }
    becomes(
        "port.a.type = \"tap\"\nport.a.device = \"a\" # x\nport.a.vlan.access = 1 # y\ndaemon.workers = 1\n",
        &vlan(json!({"trunk": [1, 2]})),
        "port.a.type = \"tap\"\nport.a.device = \"a\" # x\nport.a.vlan.trunk = [1, 2] # y\ndaemon.workers = 1\n",
    );
}

#[test]
fn an_equal_one_that_may_exist_changes_nothing() {
    let equal = json!({"switch": "main", "type": "netdev", "device": "tap0", "vlan": {"access": 10}, "enabled": true,
        "macs": ["52-54-00-12-34-56"], "ips": ["fd00::5", "10.10.0.5"]});
    becomes(FILE, &add_port_if_missing("web1", equal), FILE);
    becomes(FILE, &add_vlan("office", 10, true), FILE);
    becomes(FILE, &add_switch("main", json!({"mac-ageing": "5m"}), true), FILE);
    becomes(FILE, &add_fdb("52:54:00:12:34:56", json!(10), "web1", true), FILE);
}

#[test]
fn what_exists_is_not_added_again() {
    refused(
        FILE,
        &add_port("web1", json!({"type": "tap", "device": "t", "vlan": {"access": 1}})),
        "exists: port web1 exists already\nhelp: choose another name, or change the one that is there",
    );
    refused(
        FILE,
        &add_port_if_missing(
            "host",
            json!({"type": "tap", "device": "weft0", "vlan": {"access": 20}, "mtu": 1400}),
        ),
        "exists: port host exists already and differs: vlan is { trunk = [10, 20, \"100-199\"], native = 10 }, \
         not { access = 20 }; mtu is not set, not 1400\nhelp: change the one that is there, or remove it first",
    );
    refused(
        FILE,
        &add_vlan("office", 11, true),
        "exists: vlan office exists already and differs: id is 10, not 11\nhelp: change the one that is there, or remove it first",
    );
    refused(
        FILE,
        &add_switch("main", json!({}), false),
        "exists: switch main exists already\nhelp: choose another name, or change the one that is there",
    );
    refused(
        FILE,
        &add_fdb("52:54:00:12:34:56", json!("office"), "host", true),
        "exists: fdb entry 52:54:00:12:34:56 in VLAN 10 on port web1 exists already\n\
         help: choose another name, or change the one that is there",
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let near = "help: did you mean web1?";
    refused(FILE, &remove_port("wbe1"), &format!("not-found: there is no port wbe1\n{near}"));
    refused(
        FILE,
        &set_port("Web1", json!({"mtu": 1})),
        &format!("not-found: there is no port Web1\n{near}"),
    );
    refused(FILE, &remove_port(""), "not-found: there is no port \"\"\nhelp: ");
    refused(FILE, &remove_port("a\nb"), "not-found: there is no port \"a\\nb\"\nhelp: ");
    refused(
        FILE,
        &Edit::RemoveVlan { name: "ofice".to_owned() },
        "not-found: there is no vlan ofice\nhelp: did you mean office?",
    );
    refused(
        FILE,
        &remove_fdb("52:54:00:12:34:56", json!(20)),
        "not-found: there is no fdb entry 52:54:00:12:34:56 in VLAN 20\nhelp: ",
    );
    refused(
        FILE,
        &add_fdb("02:00:00:00:00:01", json!(10), "hots", false),
        "not-found: there is no port hots\nhelp: did you mean host?",
    );
}

#[test]
fn what_is_in_use_stays() {
    let help = "help: remove or change these first";
    refused(
        FILE,
        &remove_port("web1"),
        &format!("in-use: port web1 is in use by fdb 52:54:00:12:34:56\n{help}"),
    );
    refused(
        FILE,
        &Edit::RemoveVlan { name: "office".to_owned() },
        &format!("in-use: vlan office is in use by port web1, fdb 52:54:00:12:34:56\n{help}"),
    );
    becomes(
        FILE,
        &Edit::RemoveVlan { name: "voice".to_owned() },
        &FILE.replace("\n[vlan.voice]\nid = 20\n", ""),
    );
    let lab = "[switch.lab]\n\n[port.a]\ntype = \"tap\"\ndevice = \"a\"\nswitch = \"lab\"\nvlan = { access = 1 }\n";
    let remove = |name: &str| Edit::RemoveSwitch { name: name.to_owned() };
    refused(lab, &remove("lab"), &format!("in-use: switch lab is in use by port a\n{help}"));
    refused(lab, &remove("main"), "invalid-request: the switch main is always there\nhelp: ");
    becomes("[switch.lab]\n\n[switch.x]\n", &remove("lab"), "[switch.x]\n");
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let port = json!({"type": "tap", "device": "t", "vlan": {"access": 1}});
    refused(
        FILE,
        &add_port("a.b]\n[port.c", port.clone()),
        "invalid-request: the port name \"a.b]\\n[port.c\" contains '.'; letters, digits, `-` and `_` are allowed\n\
         help: a name has up to 32 letters, digits, `-` and `_`",
    );
    refused(
        FILE,
        &add_fdb("52:54", json!(10), "web1", false),
        "invalid-request: `52:54` is not a MAC address: six hexadecimal octets, as in 52:54:00:12:34:56\nhelp: ",
    );
    refused(
        FILE,
        &add_fdb("02:00:00:00:00:01", json!(0), "web1", false),
        "invalid-request: \"0\" is no VLAN\nhelp: a VLAN is a number from 1 to 4094, or the name of one",
    );
    refused(
        FILE,
        &add_vlan("x", 4095, false),
        "invalid-request: \"4095\" is no VLAN\nhelp: a VLAN is a number from 1 to 4094, or the name of one",
    );
    refused(
        FILE,
        &set_port("web1", json!({"vlan": {"access": null}})),
        "invalid-request: the value is not something that a configuration can hold\nhelp: ",
    );
    refused(
        FILE,
        &set_port("web1", json!({"mtu": u64::MAX})),
        "invalid-request: the value is not something that a configuration can hold\nhelp: ",
    );
    refused(
        "[daemon]\nworker = 1\n",
        &add_port("a", port),
        "invalid-config: the configuration, line 2: daemon: unknown key \"worker\"\nhelp: did you mean `workers`?",
    );
}

#[test]
fn strange_keys_and_values_cannot_break_out_of_their_place() {
    let edit = set_port("web1", json!({"x\"]\n[port.evil]\ntype": "\"\n[port.evil]\n"}));
    let edited = edit.apply(FILE).unwrap();
    let errors = Config::parse(&edited).unwrap_err();
    assert_eq!(errors.mistakes().len(), 1, "{}", errors.plain());
    assert!(errors.plain().contains("port web1: unknown key"), "{}", errors.plain());
}

#[test]
fn an_entry_on_two_switches_needs_its_switch() {
    let text = "[switch.lab]\n[port.a]\ntype = \"tap\"\ndevice = \"a\"\nvlan = { access = 1 }\n[port.b]\nswitch = \"lab\"\ntype = \"tap\"\ndevice = \"b\"\nvlan = { access = 1 }\n";
    let first = "\n[[fdb]]\nmac = \"02:00:00:00:00:01\"\nvlan = 1\nport = \"a\"\n";
    let second = first.replace("\"a\"", "\"b\"");
    let both = format!("{text}{first}{second}");
    becomes(&format!("{text}{first}"), &add_fdb("02:00:00:00:00:01", json!(1), "b", false), &both);
    refused(
        &both,
        &remove_fdb("02:00:00:00:00:01", json!(1)),
        "invalid-request: fdb entry 02:00:00:00:00:01 in VLAN 1 is there on several switches\nhelp: say which switch",
    );
    let on_lab = Edit::RemoveFdb {
        mac: "02:00:00:00:00:01".to_owned(),
        vlan: json!(1),
        switch: Some("lab".to_owned()),
    };
    becomes(&both, &on_lab, &format!("{text}{first}"));
}
