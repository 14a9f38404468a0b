//! A free address for a new client: one of the VLAN's that no adapter in it, gateway or client is known to have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use weft_config::api::Wireguard;

/// Addresses of a network that are looked at.
const TRIED_MAX: u32 = 1 << 17;
/// Of an IPv4 network, where the search begins, in parts of 256: routers are at its ends, and what is given out by
/// DHCP mostly below.
const START: u64 = 201;
/// Of an IPv6 network, where it begins.
const START_V6: u128 = 0x201;

/// Returns a free address of each family that the adapter has, as networks of one address; `all` are the adapters that
/// there are.
pub(super) fn free(adapter: &Wireguard, all: &[Wireguard]) -> Vec<IpNet> {
    let own: Vec<IpNet> = parsed(&adapter.address);
    let is_beside =
        |other: &&Wireguard| (&other.switch, other.vlan) == (&adapter.switch, adapter.vlan);
    let mut taken: Vec<IpNet> = Vec::new();
    for beside in all.iter().filter(is_beside) {
        taken.extend(parsed(&beside.address).iter().map(|own| IpNet::from(own.addr())));
        let gateways = beside.gateway.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
        taken.extend(gateways.map(IpNet::from));
        let peers = beside.peers.iter().flat_map(|peer| parsed(&peer.allowed_ips));
        // A network that is larger than the adapter's says where everything else goes, not who has an address.
        taken.extend(peers.filter(|network| !own.iter().any(|own| network.contains(&own.trunc()))));
    }
    let is_free = |ip: &IpAddr| !taken.iter().any(|network| network.contains(ip));
    let v4 = own.iter().find_map(|network| match network {
        IpNet::V4(network) => candidates_v4(*network).map(IpAddr::V4).find(is_free),
        IpNet::V6(_) => None,
    });
    let v6 = own.iter().find_map(|network| match network {
        IpNet::V6(network) if !network.addr().is_unicast_link_local() => {
            candidates_v6(*network).map(IpAddr::V6).find(is_free)
        }
        _ => None,
    });
    v4.into_iter().chain(v6).map(IpNet::from).collect()
}

fn parsed(networks: &[String]) -> Vec<IpNet> {
    networks.iter().filter_map(|network| network.parse().ok()).collect()
}

/// Returns the hosts of a network, from the middle of its upper half on and then from its beginning.
fn candidates_v4(network: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let (first, last) =
        (u64::from(network.network().to_bits()), u64::from(network.broadcast().to_bits()));
    let size = last - first + 1;
    let start = first + size * START / 256;
    let hosts = if size > 2 { first + 1..last } else { first..last + 1 };
    let around = (start..hosts.end).chain(hosts.start..start.max(hosts.start));
    around
        .take(TRIED_MAX as usize)
        .filter_map(|bits| u32::try_from(bits).ok())
        .map(Ipv4Addr::from_bits)
}

fn candidates_v6(network: Ipv6Net) -> impl Iterator<Item = Ipv6Addr> {
    let first = network.network().to_bits();
    let last = network.broadcast().to_bits();
    let start = if last - first > START_V6 { first + START_V6 } else { first.saturating_add(1) };
    (start..=last).take(TRIED_MAX as usize).map(Ipv6Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn adapter(vlan: u16, address: Value, gateway: Value, peers: &[Value]) -> Wireguard {
        let none = json!({"frames": 0, "bytes": 0, "drops": {}});
        let peers: Vec<Value> = peers
            .iter()
            .map(|allowed| {
                json!({"name": "x", "public-key": "k", "preshared-key": false, "allowed-ips": allowed,
                    "rx-bytes": 0, "tx-bytes": 0})
            })
            .collect();
        let adapter = json!({"name": "road", "switch": "main", "vlan": vlan, "address": address, "gateway": gateway,
            "listen": "[::]:51820", "mtu": 1420, "state": "up", "rx": none, "tx": none, "peers": peers});
        serde_json::from_value(adapter).unwrap()
    }

    fn found(address: Value, gateway: Value, peers: &[Value]) -> Vec<String> {
        found_beside(vec![adapter(10, address, gateway, peers)])
    }

    /// Returns what is free for the first adapter.
    fn found_beside(all: Vec<Wireguard>) -> Vec<String> {
        free(&all[0], &all).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_first_free_address_is_taken() {
        let nobody: &[Value] = &[];
        let road = || json!(["10.10.0.1/24"]);
        assert_eq!(found(road(), json!([]), nobody), ["10.10.0.201/32"]);
        assert_eq!(
            found(json!(["10.10.0.1/24", "fd00::1/64", "fe80::1/64"]), json!([]), nobody),
            ["10.10.0.201/32", "fd00::201/128"]
        );
        let taken = [json!(["10.10.0.201/32", "fd00::201/128"]), json!(["10.10.0.202/31"])];
        assert_eq!(
            found(json!(["fd00::1/64", "10.10.0.1/24"]), json!(["10.10.0.204"]), &taken),
            ["10.10.0.205/32", "fd00::202/128"]
        );
        // A larger network says nothing of who has an address in the VLAN, the VLAN's own neither.
        let site = [json!(["0.0.0.0/0", "10.10.0.0/24", "10.0.0.0/8"])];
        assert_eq!(found(road(), json!([]), &site), ["10.10.0.201/32"]);
        // At the end it goes on at the beginning.
        assert_eq!(found(road(), json!([]), &[json!(["10.10.0.128/25"])]), ["10.10.0.2/32"]);
        assert_eq!(found(json!(["10.0.0.1/16"]), json!([]), nobody), ["10.0.201.0/32"]);
    }

    #[test]
    fn what_other_adapters_of_the_vlan_have_is_not_free() {
        let network = || json!(["10.10.0.1/24"]);
        let beside = |vlan| {
            let clients = [json!(["10.10.0.201/32"]), json!(["10.10.0.203/32"])];
            adapter(vlan, json!(["10.10.0.202/24"]), json!(["10.10.0.204"]), &clients)
        };
        let road = || adapter(10, network(), json!([]), &[]);
        assert_eq!(found_beside(vec![road(), beside(10)]), ["10.10.0.205/32"]);
        assert_eq!(found_beside(vec![road(), beside(11)]), ["10.10.0.201/32"]);
    }

    #[test]
    fn where_all_are_taken_there_is_none() {
        let nobody: &[Value] = &[];
        assert_eq!(found(json!(["10.0.0.1/32"]), json!([]), nobody), [""; 0]);
        assert_eq!(found(json!(["10.0.0.0/31"]), json!([]), nobody), ["10.0.0.1/32"]);
        assert_eq!(found(json!(["10.0.0.1/30"]), json!(["10.0.0.2"]), nobody), [""; 0]);
        assert_eq!(found(json!(["10.0.0.1/30"]), json!([]), nobody), ["10.0.0.2/32"]);
        assert_eq!(found(json!(["fd00::1/128"]), json!([]), nobody), [""; 0]);
        assert_eq!(found(json!(["fd00::/127"]), json!([]), nobody), ["fd00::1/128"]);
    }
}
