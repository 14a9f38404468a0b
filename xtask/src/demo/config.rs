//! The configuration files of both hosts.

use std::path::Path;

/// Returns the file of north: three virtual machines and a desk.
pub(crate) fn north(dev1_socket: &Path, db1_socket: &Path, key_file: &Path) -> String {
    format!(
        r#"[vlan.office]
id = 10

[vlan.lab]
id = 20

# A virtio machine. QEMU makes the TAP and holds it; weft waits for it to come.
[port.web1]
type = "netdev"
device = "tap0"
vlan = {{ access = "office" }}

# An emulated card. QEMU connects to the socket; no privileges needed.
[port.dev1]
type = "stream"
socket = "{}"
vlan = {{ access = "lab" }}

# The fast way for a virtio machine: weft serves its rings in its own memory.
[port.db1]
type = "vhost-user"
socket = "{}"
vlan = {{ access = "office" }}

# A TAP of weft's own making, for a host.
[port.desk]
type = "tap"
device = "desk0"
vlan = {{ access = "office" }}

{}"#,
        dev1_socket.display(),
        db1_socket.display(),
        vpn(key_file)
    )
}

/// Returns the file of south: a virtual machine and a till, and other numbers for its VLANs.
pub(crate) fn south(key_file: &Path) -> String {
    format!(
        r#"# The same office as north's, though it has another number here.
[vlan.office]
id = 110

# North calls its office 10; this is not it.
[vlan.shop]
id = 10

[port.web2]
type = "netdev"
device = "tap0"
vlan = {{ access = "office" }}

[port.till]
type = "tap"
device = "till0"
vlan = {{ access = "shop" }}

{}"#,
        vpn(key_file)
    )
}

fn vpn(key_file: &Path) -> String {
    format!(
        r#"# The tunnels of this host.
[vpn]
listen = "[::]:51900"
private-key-file = "{}"
"#,
        key_file.display()
    )
}
