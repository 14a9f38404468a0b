//! What drops of a reason say about a configuration, and what to do about it.

use super::Grade;

/// Returns how bad drops of a reason are, and the cure; `None` where they are what traffic brings about by itself.
pub(super) fn cure(way: &str, reason: &str) -> Option<(Grade, &'static str)> {
    use Grade::{Hint, Problem};
    Some(match (way, reason) {
        ("rx", "tagged-on-access") => (
            Problem,
            "the guest tags its frames: make the port a trunk (weftctl port set NAME --trunk LIST), or have it not tag",
        ),
        ("rx", "vlan-not-member") => (
            Problem,
            "the trunk lacks a VLAN that the guest uses: weftctl port set NAME --trunk LIST",
        ),
        ("rx", "no-native-vlan") => (
            Problem,
            "untagged frames come to a trunk that has no native VLAN: weftctl port set NAME --native VLAN",
        ),
        ("rx", "customer-vlan-not-member") => {
            (Problem, "the customer uses a VLAN that `customer` does not list")
        }
        ("rx", "vlan-reserved") => (Hint, "something sends VID 4095, which is reserved"),
        ("rx", "spoofed") => (
            Hint,
            "a source that `macs` or `ips` do not list: a guest with another address than you think, or one that lies",
        ),
        ("rx", "bad-source" | "malformed" | "bad-offload") => (
            Hint,
            "the guest or its driver makes frames that are none: weftctl capture --drops shows them",
        ),
        ("rx", "flood-limited") => (
            Hint,
            "broadcast or unknown unicast beyond `flood-limit`: a storm, or too small a limit",
        ),
        ("rx", "static-elsewhere") => {
            (Problem, "an address that is static on another port: weftctl fdb list shows it")
        }
        (_, "loop-blocked") => (
            Problem,
            "a segment's hosts also meet on a physical network: take one of the two ways out",
        ),
        (_, "oversize") => {
            (Problem, "frames are longer than the port's MTU: one MTU for all hosts of a VLAN")
        }
        ("tx", "ambiguous-tag") => (
            Problem,
            "frames with a tag of their own would leave a trunk untagged: use --native-tagged, or no native VLAN there",
        ),
        ("tx", "unsupported-offload") => (
            Problem,
            "a sort of super-frame that the device cannot take: ethtool -K DEVICE gso off at the sender",
        ),
        (_, "queue-full") => (
            Hint,
            "the receiver does not keep up: a guest without processor time, or more traffic than its link takes",
        ),
        ("tx", "no-session") => (Hint, "frames for a peer with which there was no session"),
        ("tx", "port-down") => (Hint, "frames for a port whose device or guest was not there"),
        _ => return None,
    })
}
