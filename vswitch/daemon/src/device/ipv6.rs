//! Takes IPv6 off a device without a word. Removing an address by netlink makes the kernel leave its
//! multicast groups aloud, with MLD reports; switching IPv6 off for a moment drops all that and every
//! pending solicitation. `net.ipv6.conf.DEV.disable_ipv6`, kernel documentation ip-sysctl.

use std::{fs, io};

/// Switches the device's IPv6 off and on again. What the kernel makes by itself comes back, which is
/// nothing while its address generation is off.
pub(super) async fn restart(device: &str) -> io::Result<()> {
    let path = path(device);
    let restarted = tokio::task::spawn_blocking(move || {
        fs::write(&path, "1")?;
        fs::write(&path, "0")
    });
    restarted.await.map_err(io::Error::other)?
}

/// Switches the device's IPv6 on if a restart was cut short; tells nobody when there is none.
pub(super) async fn make_sure_it_is_on(device: &str) -> io::Result<()> {
    let path = path(device);
    let done = tokio::task::spawn_blocking(move || match fs::read_to_string(&path) {
        Ok(value) if value.trim() == "1" => fs::write(&path, "0"),
        _ => Ok(()),
    });
    done.await.map_err(io::Error::other)?
}

fn path(device: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6")
}
