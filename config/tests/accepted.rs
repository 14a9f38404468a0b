//! Files without mistakes, and what they mean.

use std::{num::NonZeroU32, time::Duration};

use weft_config::{Config, NetdevIo, PortType, SocketConfig, SocketMode, vlan_json, vlan_words};
use weft_vlan::{Native, PortVlan, Tpid, VlanId, VlanSet};

fn parsed(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|errors| panic!("{}", errors.plain()))
}

fn vid(number: u16) -> VlanId {
    VlanId::new(number).unwrap()
}

fn vids(numbers: impl IntoIterator<Item = u16>) -> VlanSet {
    numbers.into_iter().map(vid).collect()
}

#[test]
fn an_empty_file_has_the_switch_main() {
    let config = parsed("");
    assert_eq!(config, Config::default());
    assert_eq!(config.daemon.workers.get(), 1);
    assert_eq!(config.switches.keys().collect::<Vec<_>>(), ["main"]);
    assert_eq!(config.switches["main"].mac_ageing, Duration::from_secs(300));
    assert_eq!(config.switches["main"].mac_limit, 65_536);
    assert_eq!(parsed("# nothing\n\n"), config);
    assert_eq!(parsed("\u{feff}[switch.main]\r\nmac-ageing = \"5m\"\r\n"), config);
}

#[test]
fn a_whole_file_is_read() {
    let config = parsed(
        r#"
[daemon]
workers = 2

[switch.main]
mac-ageing = "1h"
mac-limit = 1000

[switch.lab]

[vlan.office]
id = 10

[port.web1]
switch = "main"
type = "netdev"
device = "tap0"
io = "packet"
vlan = { access = "office" }
enabled = false
mtu = 1500
mac-limit = 64
macs = ["52:54:00:12:34:57", "52-54-00-12-34-56", "52:54:00:12:34:56"]
ips = ["fd00::5", "10.10.0.5"]
isolated = true
flood-limit = "1000/s"

[port.host]
type = "tap"
device = "weft0"
queues = 2
vlan = { trunk = [10, 20, "100-199"], native = 10 }

[port.dev1]
switch = "lab"
type = "stream"
socket = "/run/weft//ports/dev1/dev1.sock"
owner = "libvirt-qemu"
group = "kvm"
socket-mode = "0660"
vlan = { access = 20 }

[port.dev2]
type = "stream"
socket = "/run/vm.sock"
mode = "client"
owner = "libvirt-qemu"
vlan = { access = 20 }

[port.db1]
type = "vhost-user"
socket = "/run/weft/ports/db1/db1.sock"
owner = "libvirt-qemu"
queues = 4
vlan = { access = 20 }

[[fdb]]
mac = "52:54:00:12:34:58"
vlan = 199
port = "host"

[[fdb]]
mac = "52:54:00:12:34:56"
vlan = "office"
port = "web1"
"#,
    );
    assert_eq!(config.daemon.workers.get(), 2);
    assert_eq!(config.switches["main"].mac_ageing, Duration::from_secs(3600));
    assert_eq!(config.switches["main"].mac_limit, 1000);
    assert_eq!(config.switches["lab"], Config::default().switches["main"]);
    assert_eq!(config.vlans["office"], vid(10));

    let web1 = &config.ports["web1"];
    assert_eq!(web1.switch, "main");
    assert_eq!(web1.kind, PortType::Netdev { device: "tap0".to_owned(), io: NetdevIo::Packet });
    assert_eq!(web1.vlan, PortVlan::Access(vid(10)));
    assert!(!web1.enabled && web1.isolated);
    assert_eq!(
        (web1.mtu, web1.mac_limit, web1.flood_limit),
        (Some(1500), Some(64), NonZeroU32::new(1000))
    );
    let macs: Vec<String> = web1.macs.iter().map(ToString::to_string).collect();
    assert_eq!(macs, ["52:54:00:12:34:56", "52:54:00:12:34:57"]);
    let ips: Vec<String> = web1.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.10.0.5", "fd00::5"]);

    let host = &config.ports["host"];
    assert_eq!(host.kind, PortType::Tap { device: "weft0".to_owned(), queues: 2 });
    assert!(host.enabled && !host.isolated && host.macs.is_empty());
    let socket = SocketConfig {
        path: "/run/weft/ports/dev1/dev1.sock".to_owned(),
        mode: SocketMode::Server,
        owner: Some("libvirt-qemu".to_owned()),
        group: Some("kvm".to_owned()),
        socket_mode: Some(0o660),
    };
    assert_eq!(config.ports["dev1"].kind, PortType::Stream(socket));
    assert_eq!(config.ports["dev1"].switch, "lab");
    let socket = SocketConfig {
        path: "/run/vm.sock".to_owned(),
        mode: SocketMode::Client,
        owner: Some("libvirt-qemu".to_owned()),
        group: None,
        socket_mode: None,
    };
    assert_eq!(config.ports["dev2"].kind, PortType::Stream(socket));

    let socket = SocketConfig {
        path: "/run/weft/ports/db1/db1.sock".to_owned(),
        mode: SocketMode::Server,
        owner: Some("libvirt-qemu".to_owned()),
        group: None,
        socket_mode: None,
    };
    assert_eq!(config.ports["db1"].kind, PortType::VhostUser { socket, queues: 4 });
    assert!(config.to_toml().contains("type = \"vhost-user\""));

    let entries: Vec<_> = config
        .fdb
        .iter()
        .map(|e| (e.switch.as_str(), e.vlan.get(), e.mac.to_string(), e.port.as_str()))
        .collect();
    let expected = [
        ("main", 10, "52:54:00:12:34:56".to_owned(), "web1"),
        ("main", 199, "52:54:00:12:34:58".to_owned(), "host"),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn vlan_modes_are_read_and_said_in_json_and_in_words() {
    let trunk = |members, native, tpid| PortVlan::Trunk { members, native, tpid };
    let tunnel = |customer| PortVlan::Dot1qTunnel { vlan: vid(300), customer };
    #[rustfmt::skip]
    let table = [
        // as written,                                      meaning,                                                                 as JSON,                                                  in words
        ("{ access = 10 }",                                 PortVlan::Access(vid(10)),                                               r#"{"access":10}"#,                                       "access 10"),
        ("{ access = 'office' }",                           PortVlan::Access(vid(10)),                                               r#"{"access":10}"#,                                       "access 10"),
        ("{ access = '4094' }",                             PortVlan::Access(vid(4094)),                                             r#"{"access":4094}"#,                                     "access 4094"),
        ("{ access = 0x10 }",                               PortVlan::Access(vid(16)),                                               r#"{"access":16}"#,                                       "access 16"),
        ("{ trunk = [20, 'office', '100-199', '150-160'] }", trunk(vids([10, 20].into_iter().chain(100..=199)), None, Tpid::Dot1Q),  r#"{"trunk":[10,20,"100-199"]}"#,                         "trunk 10, 20, 100-199"),
        ("{ trunk = ['10-11', 30] }",                       trunk(vids([10, 11, 30]), None, Tpid::Dot1Q),                            r#"{"trunk":[10,11,30]}"#,                                "trunk 10-11, 30"),
        ("{ trunk = ['5-5'] }",                             trunk(vids([5]), None, Tpid::Dot1Q),                                     r#"{"trunk":[5]}"#,                                       "trunk 5"),
        ("{ trunk = 'all' }",                               trunk(VlanSet::all(), None, Tpid::Dot1Q),                                r#"{"trunk":"all"}"#,                                     "trunk all"),
        ("{ trunk = ['1-4094'] }",                          trunk(VlanSet::all(), None, Tpid::Dot1Q),                                r#"{"trunk":"all"}"#,                                     "trunk all"),
        ("{ trunk = 'all', native = 10 }",                  trunk(VlanSet::all(), Some(Native::Untagged(vid(10))), Tpid::Dot1Q),     r#"{"native":10,"trunk":"all"}"#,                         "trunk all native 10"),
        ("{ trunk = [10], native = 'office', native-tagged = false }", trunk(vids([10]), Some(Native::Untagged(vid(10))), Tpid::Dot1Q), r#"{"native":10,"trunk":[10]}"#,                       "trunk 10 native 10"),
        ("{ trunk = [10], native = 10, native-tagged = true }", trunk(vids([10]), Some(Native::Tagged(vid(10))), Tpid::Dot1Q),       r#"{"native":10,"native-tagged":true,"trunk":[10]}"#,     "trunk 10 native 10 tagged"),
        ("{ trunk = [300], ethertype = '802.1ad' }",        trunk(vids([300]), None, Tpid::Dot1ad),                                  r#"{"ethertype":"802.1ad","trunk":[300]}"#,               "trunk 300 802.1ad"),
        ("{ trunk = [300], ethertype = '802.1Q' }",         trunk(vids([300]), None, Tpid::Dot1Q),                                   r#"{"trunk":[300]}"#,                                     "trunk 300"),
        ("{ dot1q-tunnel = 300 }",                          tunnel(None),                                                            r#"{"dot1q-tunnel":300}"#,                                "dot1q-tunnel 300"),
        ("{ dot1q-tunnel = 300, customer = [10, 12] }",     tunnel(Some(vids([10, 12]))),                                            r#"{"customer":[10,12],"dot1q-tunnel":300}"#,             "dot1q-tunnel 300 customer 10, 12"),
    ];
    for (written, meaning, json, words) in table {
        let text = format!(
            "vlan.office.id = 10\n[port.a]\ntype = 'tap'\ndevice = 't0'\nvlan = {written}\n"
        );
        let vlan = &parsed(&text).ports["a"].vlan;
        assert_eq!(*vlan, meaning, "{written}");
        assert_eq!(vlan_json(vlan).to_string(), json, "{written}");
        assert_eq!(vlan_words(vlan), words, "{written}");
    }
}

#[test]
fn every_way_to_write_a_table_is_the_same() {
    let ways = [
        "[port.a]\ntype = 'tap'\ndevice = 't0'\nvlan = { access = 10 }\n",
        "[port.a]\ntype = 'tap'\ndevice = 't0'\n[port.a.vlan]\naccess = 10\n",
        "[port.a]\ntype = 'tap'\ndevice = 't0'\nvlan.access = 10\n",
        "[port]\na = { type = 'tap', device = 't0', vlan = { access = 10 } }\n",
        "port.a.type = 'tap'\nport.a.device = 't0'\nport.a.vlan.access = 10\n",
        "port = { a = { type = 'tap', device = 't0', vlan.access = 10 } }\n",
    ];
    for way in ways {
        assert_eq!(parsed(way), parsed(ways[0]), "{way}");
    }
}

#[test]
fn socket_modes_are_octal() {
    for (written, bits) in
        [("'0660'", 0o660), ("'660'", 0o660), ("0o600", 0o600), ("'0777'", 0o777)]
    {
        let text = format!(
            "[port.a]\ntype = 'stream'\nsocket = '/a'\nsocket-mode = {written}\nvlan = {{ access = 1 }}\n"
        );
        let PortType::Stream(socket) = &parsed(&text).ports["a"].kind else { panic!("{written}") };
        assert_eq!(socket.socket_mode, Some(bits), "{written}");
    }
}
