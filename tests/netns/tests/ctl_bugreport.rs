//! What `weftctl bugreport` prints names nobody, whatever things are called.

use weft_netns::{Host, Lab};

/// Stands in every name, path and key; an address has numbers of its own.
const CANARY: &str = "kanari";

#[test]
fn a_report_names_nobody() {
    let lab = Lab::new();
    let host = Host::on_veth(&lab, "kanariveth", "10.0.0.1/24");
    let keys = [1, 2].map(|number| {
        let path = lab.path(&format!("{CANARY}{number}.key"));
        weft_netns::Ctl::new(&path).run(&format!("key generate --out {}", path.display()));
        path.display().to_string()
    });
    let [vpn, road] = keys;
    let socket = lab.path(&format!("{CANARY}.sock"));
    let public = "CSOLUmM6kIzn7QZnBU1Gi5sTvwPIdSHxhBv3RSDwHn4=";
    let daemon = lab.daemon(&format!(
        "# {CANARY}\n[switch.{CANARY}sw]\n[vlan.{CANARY}vlan]\nid = 10\n\
         [port.{CANARY}port]\ntype = \"netdev\"\ndevice = \"kanariveth\"\nvlan = {{ access = \"{CANARY}vlan\" }}\n\
         macs = [\"{}\"]\nips = [\"10.0.0.1\"]\n\
         [port.{CANARY}tap]\ntype = \"tap\"\ndevice = \"kanaritap\"\nvlan = {{ trunk = [10, 20], native = 20 }}\n\
         [port.{CANARY}stream]\ntype = \"stream\"\nsocket = \"{}\"\nvlan = {{ access = 30 }}\nswitch = \"{CANARY}sw\"\n\
         [segment.{CANARY}seg]\nid = 5010\nvlan = 10\n\
         [vpn]\nlisten = \"127.0.0.1:51977\"\nprivate-key-file = \"{vpn}\"\n\
         [vpn.peer.{CANARY}peer]\npublic-key = \"{public}\"\nsegments = [\"{CANARY}seg\"]\n\
         [wireguard.{CANARY}wg]\nvlan = 20\naddress = [\"10.77.0.1/24\"]\nlisten = \"127.0.0.1:51978\"\n\
         private-key-file = \"{road}\"\n",
        host.mac(),
        socket.display(),
    ));
    host.space().exec("ping -c 1 -W 1 -q 10.0.0.9");
    let ctl = daemon.ctl();
    let said = ctl.run("bugreport");
    let report = ctl.json("bugreport");
    assert_eq!(report["ports"].as_array().map(Vec::len), Some(5), "{said}");
    assert_eq!(report["switches"].as_array().map(Vec::len), Some(2), "{said}");
    let keys: Vec<&str> = report["configuration"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|key| key.as_str())
        .collect();
    for key in ["port.*.device", "port.*.vlan", "vpn.peer.*.public-key", "wireguard.*.listen"] {
        assert!(keys.contains(&key), "no {key} in {keys:?}");
    }
    for secret in [CANARY, "10.0.0.", "10.77", "127.0.0.1", public, &host.mac(), "/tmp"] {
        assert!(!said.to_lowercase().contains(&secret.to_lowercase()), "{secret} in {said}");
    }
}
