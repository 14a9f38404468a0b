//! Guests by themselves, over the kernel's bridge: they boot, take commands, and die with their owner.
//!
//! ```text
//!   guest (virtio) ── pg ── bridge ── hv ── Host
//! ```

use weft_netns::{Guest, GuestNic, Host, Lab};

#[test]
fn a_guest_boots_and_takes_commands() {
    let lab = Lab::new();
    let host = Host::on_veth(&lab, "hv", "10.0.0.1/24");
    let nic = GuestNic::VirtioTap { device: "pg".into(), mac: "52:54:00:00:00:01" };
    let mut guest = Guest::boot(&lab, "guest", &[nic]);
    for line in [
        "add bridge type bridge",
        "set bridge up",
        "set pg master bridge up",
        "set hv master bridge",
    ] {
        lab.switch().run(&format!("ip link {line}"));
    }
    assert_eq!(guest.run("echo one; echo two"), "one\ntwo");
    assert_eq!(guest.ask("exit 7").code, 7);
    guest.set_address("10.0.0.2/24");
    guest.wait_for_ping("10.0.0.1");
    assert!(host.pings("10.0.0.2"));
    assert!(!guest.pings("10.0.0.3"));
}
