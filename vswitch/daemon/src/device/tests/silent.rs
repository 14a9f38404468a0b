//! The host's stack is silent behind a claimed device, and a packet socket is not.
//!
//! ```text
//! host's stack (10.9.0.1 on lo) ── t0 ═══ g0   the guest's end: a packet socket
//!                               └─ c9 ═══ g9   the same, not claimed: what the host does otherwise
//! ```

use weft_vlan::MacAddr;

use super::lab::{Lab, Tap, addresses, clsact_count, filters, in_namespace, ip, link, mac, until};
use crate::device::Use;

/// ICMPv6 types. RFC 4861 §4, RFC 3810 §5.2.
const ROUTER_SOLICITATION: u8 = 133;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const MLD_REPORT: u8 = 143;
const GUEST: MacAddr = MacAddr::new([0x52, 0x54, 0, 0, 0, 0x99]);

/// Who has 10.9.0.1? Tell 10.9.0.99. RFC 826.
fn arp_request() -> Vec<u8> {
    let mut frame = MacAddr::BROADCAST.octets().to_vec();
    frame.extend(GUEST.octets());
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(GUEST.octets());
    frame.extend([10, 9, 0, 99, 0, 0, 0, 0, 0, 0, 10, 9, 0, 1]);
    frame.resize(60, 0);
    frame
}

fn is_arp_reply(frame: &[u8]) -> bool {
    frame[12..14] == [0x08, 0x06] && frame[20..22] == [0, 2]
}

/// Tells whether a frame is an ICMPv6 message of that type, with or without a hop-by-hop header before it.
fn is_icmp6(frame: &[u8], kind: u8) -> bool {
    let at = match (&frame[12..14], frame.get(20)) {
        ([0x86, 0xdd], Some(58)) => 54,
        ([0x86, 0xdd], Some(0)) => 62,
        _ => return false,
    };
    frame.get(at) == Some(&kind)
}

#[test]
fn the_host_answers_nothing_while_a_packet_socket_sees_everything() {
    in_namespace(
        the_host_answers_nothing_while_a_packet_socket_sees_everything,
        async |lab: Lab| {
            ip("address add 10.9.0.1/32 dev lo");
            lab.pair("t0", "g0");
            lab.pair("c9", "g9");
            ip("link set t0 up");
            ip("link set c9 up");
            let (mut guest, mut control, port) = (Tap::on("g0"), Tap::on("g9"), Tap::on("t0"));
            let (host_side, control_side) = (mac("t0"), mac("c9"));
            let replies = |tap: &Tap, source| {
                tap.from(source).iter().filter(|frame| is_arp_reply(frame)).count()
            };

            guest.send(&arp_request());
            until("the host answers before the claim", || replies(&guest, host_side) == 1).await;

            let devices = lab.devices().await;
            devices.claim("t0", Use::Netdev).await.unwrap();
            let before = port.from(GUEST).len();
            for asked in 1..=20 {
                guest.send(&arp_request());
                control.send(&arp_request());
                until("the host answers on the other device", || {
                    replies(&control, control_side) == asked
                })
                .await;
            }
            until("the port sees every request", || port.from(GUEST).len() == before + 20).await;
            assert_eq!(replies(&guest, host_side), 1, "the host answered behind a claimed device");

            devices.release("t0").await.unwrap();
            guest.send(&arp_request());
            until("the host answers after the release", || replies(&guest, host_side) == 2).await;
        },
    );
}

#[test]
fn the_host_sends_nothing_by_itself() {
    in_namespace(the_host_sends_nothing_by_itself, async |lab: Lab| {
        // t0 is claimed as it was made, t1 when the kernel has taken its address and joined its groups.
        for (near, far) in [("t0", "g0"), ("t1", "g1"), ("c9", "g9")] {
            lab.pair(near, far);
        }
        let (guests, control) = ([Tap::on("g0"), Tap::on("g1")], Tap::on("g9"));
        let (hosts, control_side) = ([mac("t0"), mac("t1")], mac("c9"));
        let heard = |tap: &Tap, source, kind| {
            tap.from(source).iter().filter(|frame| is_icmp6(frame, kind)).count()
        };
        ip("link set t1 up");
        until("the host looks for routers on t1", || {
            heard(&guests[1], hosts[1], ROUTER_SOLICITATION) > 0
        })
        .await;

        let devices = lab.devices().await;
        for device in ["t0", "t1"] {
            assert!(devices.claim(device, Use::Netdev).await.unwrap().up);
        }
        let before = guests[1].from(hosts[1]).len();
        // First the claims alone, then every occasion on which the kernel makes an address, joins groups and
        // looks for routers.
        for flapping in [&["c9"][..], &["t0", "t1", "c9"], &["t0", "t1", "c9"]] {
            let kinds = [MLD_REPORT, NEIGHBOUR_SOLICITATION, ROUTER_SOLICITATION];
            let so_far = kinds.map(|kind| heard(&control, control_side, kind));
            for near in flapping {
                let far = near.replace(['t', 'c'], "g");
                for change in [&far, *near].into_iter().flat_map(|end| [(end, "down"), (end, "up")])
                {
                    ip(&format!("link set {} {}", change.0, change.1));
                }
            }
            for (kind, count) in kinds.into_iter().zip(so_far) {
                until("the host speaks on the other device", || {
                    heard(&control, control_side, kind) > count
                })
                .await;
            }
            assert_eq!(guests[0].from(hosts[0]), Vec::<Vec<u8>>::new(), "{flapping:?}");
            assert_eq!(guests[1].from(hosts[1])[before..], Vec::<Vec<u8>>::new(), "{flapping:?}");
        }
        assert!(addresses("t0").is_empty() && addresses("t1").is_empty());
    });
}

#[test]
fn the_drop_is_what_tc_would_have_made() {
    in_namespace(the_drop_is_what_tc_would_have_made, async |lab: Lab| {
        lab.pair("t0", "g0");
        let device = lab.devices().await.claim("t0", Use::Netdev).await.unwrap();
        assert_eq!((device.name.as_str(), device.mtu, device.mac), ("t0", 1500, Some(mac("t0"))));
        assert_eq!(device.index, link("t0")["ifindex"]);

        assert_eq!(clsact_count("t0"), 1);
        let shown = filters("t0", "ingress");
        let filter =
            shown.as_array().unwrap().iter().find(|filter| !filter["options"].is_null()).unwrap();
        assert_eq!(
            (&filter["protocol"], &filter["pref"], &filter["kind"]),
            (&"all".into(), &1.into(), &"bpf".into())
        );
        let options = &filter["options"];
        assert_eq!(options["direct-action"], true);
        assert_eq!(
            options["bytecode"]["insns"],
            serde_json::json!([{"code": 6, "jt": 0, "jf": 0, "k": 2}])
        );
        assert!(options["handle"].as_str().unwrap().starts_with("0x7765"), "{options}");
        assert_eq!(link("t0")["inet6_addr_gen_mode"], "none");
    });
}

#[test]
fn the_kernels_link_local_address_is_taken_off_and_given_back() {
    in_namespace(the_kernels_link_local_address_is_taken_off_and_given_back, async |lab: Lab| {
        lab.pair("t0", "g0");
        ip("link set t0 up");
        until("the kernel makes a link-local address", || addresses("t0").len() == 1).await;
        let made = addresses("t0");

        let devices = lab.devices().await;
        devices.claim("t0", Use::Netdev).await.unwrap();
        assert!(addresses("t0").is_empty());
        devices.release("t0").await.unwrap();
        assert_eq!(addresses("t0"), made);
        assert_eq!(link("t0")["inet6_addr_gen_mode"], "eui64");
    });
}
