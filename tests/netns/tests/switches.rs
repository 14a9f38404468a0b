//! Several switches in one daemon do not hear each other, and VLAN names work wherever a number does.
//!
//! ```text
//!   a1, a2 ── TAP, access office ── switch main
//!   b1, b2 ── TAP, access office ── switch lab
//! ```

use weft_netns::{
    Daemon, Lab, Nic, Wire,
    frame::{BROADCAST, Frame, mac, mac_text},
};

const CONFIG: &str = "\
[switch.lab]
mac-limit = 100
[vlan.office]
id = 10
[vlan.guests]
id = 20
[port.a1]
type = \"netdev\"
device = \"a1\"
vlan = { access = \"office\" }
[port.a2]
type = \"netdev\"
device = \"a2\"
vlan = { trunk = [\"office\", \"guests\"], native = \"office\" }
[port.b1]
switch = \"lab\"
type = \"netdev\"
device = \"b1\"
vlan = { access = \"office\" }
[port.b2]
switch = \"lab\"
type = \"netdev\"
device = \"b2\"
vlan = { access = 10 }
[[fdb]]
mac = \"02:00:00:00:00:77\"
vlan = \"office\"
port = \"b2\"
";

fn scene(workers: usize) -> (Lab, Daemon, [Nic; 4]) {
    let lab = Lab::with_workers(workers);
    let nics = ["a1", "a2", "b1", "b2"].map(|device| Nic::open(lab.switch(), device));
    let daemon = lab.daemon(CONFIG);
    (lab, daemon, nics)
}

fn switches_do_not_leak(workers: usize) {
    let (_lab, daemon, [mut a1, mut a2, mut b1, mut b2]) = scene(workers);
    let ctl = daemon.ctl();
    let a = Frame::new(mac(1), BROADCAST).text("in main").bytes();
    let b = Frame::new(mac(1), BROADCAST).text("in lab").bytes();
    a1.send(&a);
    a2.expect_nothing_before(&a);
    b1.send(&b);
    b2.expect_nothing_before(&b);
    // The same address in the same VLAN, once in each switch.
    let entries = ctl.json("fdb list --vlan office");
    let mut found: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["mac"] == mac_text(mac(1)))
        .map(|entry| {
            (
                entry["switch"].as_str().unwrap(),
                entry["port"].as_str().unwrap(),
                entry["vlan"].as_u64(),
            )
        })
        .collect();
    found.sort_unstable();
    assert_eq!(found, [("lab", "b1", Some(10)), ("main", "a1", Some(10))]);
    // A static entry of one is unknown in the other.
    let to = Frame::new(mac(1), mac(0x77)).text("to the static one").bytes();
    a1.send(&to);
    a2.expect_nothing_before(&to);
    b1.send(&to);
    b2.expect_nothing_before(&to);
    // A port moves to the other switch, live.
    ctl.run("port set a1 --switch lab");
    let moved = Frame::new(mac(2), BROADCAST).text("moved").bytes();
    a1.send(&moved);
    b1.expect_frame(&moved);
    let marker = Frame::new(mac(3), BROADCAST).text("marker").bytes();
    b1.send(&marker);
    b2.expect_frame(&marker);
    assert_eq!(ctl.port("a2")["tx"]["frames"], 2);
}

fn vlan_names_work_wherever_a_number_does(workers: usize) {
    let (_lab, daemon, [mut a1, mut a2, ..]) = scene(workers);
    let ctl = daemon.ctl();
    assert_eq!(ctl.port("a1")["vlan"]["access"], 10);
    let frame = Frame::new(mac(2), BROADCAST).text("to guests").bytes();
    ctl.run("port set a1 --access guests");
    a1.send(&frame);
    a2.expect_frame(&Frame::new(mac(2), BROADCAST).tag(20).text("to guests").bytes());
    assert!(daemon.config().contains("\"guests\""), "{}", daemon.config());
    ctl.run("fdb add 02:00:00:00:00:05 --vlan guests --port a2");
    assert_eq!(ctl.fdb(20, "02:00:00:00:00:05"), Some(("a2".into(), "static".into())));
    ctl.run("fdb list --vlan guests");
    ctl.run("fdb flush --vlan guests");
    ctl.run("fdb remove 02:00:00:00:00:05 --vlan guests");
    let trace =
        ctl.json("trace --port a2 --src 02:00:00:00:00:09 --dst ff:ff:ff:ff:ff:ff --tag guests");
    assert_eq!((&trace["verdict"], &trace["vlan"]), (&"flood".into(), &20.into()), "{trace}");
    let vlans = ctl.json("vlan list");
    let named = vlans
        .as_array()
        .unwrap()
        .iter()
        .find(|vlan| vlan["name"] == "guests" && vlan["switch"] == "main");
    let named = named.unwrap_or_else(|| panic!("{vlans}"));
    assert_eq!(
        (&named["vlan"], &named["untagged"][0], &named["tagged"][0]),
        (&20.into(), &"a1".into(), &"a2".into())
    );
    let errors = ctl.refused(1, "port set a1 --access gests");
    assert!(errors.contains("guests"), "the near name is suggested: {errors}");
    // A name that is in use stays.
    ctl.refused(1, "vlan remove guests");
}

weft_netns::each_worker_count!(switches_do_not_leak, vlan_names_work_wherever_a_number_does);
