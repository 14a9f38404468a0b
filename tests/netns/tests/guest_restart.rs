//! A guest that is killed and started again is on its VLAN again without a command, whether it came by a TAP or by a
//! stream socket.
//!
//! ```text
//!   guest (virtio) ── tapg ─ netdev, access 10 ─┐
//!   guest (e1000) ─── g.sock ─ stream, access 10 ┼ switch
//!   host, 10.0.0.9 ── taph ─ tap, access 10 ─────┘
//! ```

use weft_netns::{Guest, GuestNic, Host, Lab};

fn restart(port: &str, nic: impl Fn(&Lab) -> GuestNic, attachment: impl Fn(&Lab) -> String) {
    let lab = Lab::with_workers(1);
    let daemon = lab.daemon(&format!(
        "[port.{port}]\n{}\nvlan = {{ access = 10 }}\n\
         [port.h]\ntype = \"tap\"\ndevice = \"taph\"\nvlan = {{ access = 10 }}\n",
        attachment(&lab)
    ));
    let ctl = daemon.ctl();
    let host = Host::on_tap(&lab, &daemon, "taph", "10.0.0.9/24");
    for boot in 0..2 {
        let mut guest = Guest::boot(&lab, &format!("boot{boot}"), &[nic(&lab)]);
        guest.set_address("10.0.0.1/24");
        guest.wait_for_ping("10.0.0.9");
        assert!(host.pings("10.0.0.1"));
        drop(guest);
        let state = ctl.wait_for_state(port, "waiting");
        assert!(state["reason"].is_string(), "{state}");
        assert_eq!(ctl.fdb(10, "52:54:00:00:00:01"), None);
    }
}

#[test]
fn by_tap() {
    restart(
        "g",
        |_| GuestNic::VirtioTap { device: "tapg".into(), mac: "52:54:00:00:00:01" },
        |_| "type = \"netdev\"\ndevice = \"tapg\"".into(),
    );
}

#[test]
fn by_stream_socket() {
    restart(
        "g",
        |lab| GuestNic::E1000Stream { socket: lab.path("g.sock"), mac: "52:54:00:00:00:01" },
        |lab| format!("type = \"stream\"\nsocket = \"{}\"", lab.path("g.sock").display()),
    );
}
