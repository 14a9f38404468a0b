//! What a client of the userspace protocol of WireGuard sends: any text. It is read or refused without its values; what is to
//! be done for it leaves a configuration that is one, and endpoints are of peers that are there.
//!
//! Input: the lines behind `set=1`, or a whole request.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use weft_config::{
    Config,
    uapi::{Request, Secret, outcome},
};
use weft_vpn::{PresharedKey, PrivateKey};

const ADAPTER: &str = "[wireguard.road]\nvlan = 10\naddress = [\"10.10.0.1/24\"]\nlisten = \"[::]:51820\"\n\
                       private-key-file = \"/etc/weft/own.key\"\n";

fn text() -> String {
    let mut text = ADAPTER.to_owned();
    for (seed, name) in ["alice", "bob"].into_iter().enumerate() {
        let key = PrivateKey::generate(&mut |out: &mut [u8]| out.fill(seed as u8 + 1)).public();
        text += &format!(
            "# {name}'s\n[wireguard.road.peer.{name}]\npublic-key = \"{}\"\nallowed-ips = [\"10.10.0.20{seed}/32\"]\n",
            key
        );
    }
    text
}

fuzz_target!(|request: &str| {
    for request in [request.to_owned(), format!("set=1\n{request}")] {
        match Request::parse(&request) {
            Ok(Request::Set(set)) => {
                let text = text();
                let config = Config::parse(&text).expect("a configuration is one");
                let own = PrivateKey::generate(&mut |out: &mut [u8]| out.fill(9));
                let preshared = BTreeMap::<String, PresharedKey>::new();
                let adapter = &config.wireguard["road"];
                let plan = set.plan("road", adapter, (&own, &preshared), |secret| {
                    Ok(match secret {
                        Secret::Private(_) => "/var/lib/weft/own.key".to_owned(),
                        Secret::Preshared(peer, _) => format!("/var/lib/weft/{peer}.psk"),
                    })
                });
                let Ok(plan) = plan else { continue };
                let after = match plan.edit {
                    Some(edit) => edit.apply(&text).expect("the file has room for an edit"),
                    None => text,
                };
                let Ok(after) = Config::parse(&after) else { continue };
                let peers = &after.wireguard["road"].peers;
                for (key, _) in plan.endpoints {
                    assert!(peers.values().any(|peer| peer.public_key == key));
                }
                for named in &set.peers {
                    let count = peers.values().filter(|peer| peer.public_key == named.public_key);
                    assert!(count.count() <= 1);
                }
            }
            Ok(Request::Get) => {}
            Err(refusal) => {
                assert!(refusal.errno > 0);
                assert!(refusal.what.len() < 400, "{}", refusal.what);
                assert!(outcome(&Err(refusal)).starts_with("errno=-"));
            }
        }
    }
});
