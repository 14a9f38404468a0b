//! Upper and lower bounds of everything that a configuration can ask for.

use std::{ops::RangeInclusive, time::Duration};

/// Bytes of a configuration file.
pub const TEXT_MAX: usize = 4 << 20;
/// Ports of one daemon; the forwarding core numbers no more.
pub const PORTS_MAX: usize = 4096;
/// Switches of one daemon.
pub const SWITCHES_MAX: usize = 256;
/// Static forwarding entries of one daemon.
pub const FDB_MAX: usize = 65_536;
/// Segments of one daemon.
pub const SEGMENTS_MAX: usize = 4096;
/// Peers of one daemon; each is a port too, and counts among those.
pub const PEERS_MAX: usize = 4096;
/// WireGuard adapters of one daemon; each is a port too, and counts among those.
pub const WIREGUARDS_MAX: usize = 64;
/// Characters of a WireGuard adapter's name: `wg` shows no more.
pub const WIREGUARD_NAME_MAX: usize = 15;
/// Addresses of one WireGuard adapter.
pub const WIREGUARD_ADDRESSES_MAX: usize = 16;
/// WireGuard peers of one daemon.
pub const WIREGUARD_PEERS_MAX: usize = 16_384;
/// Allowed IPs of one WireGuard peer.
pub const ALLOWED_IPS_MAX: usize = 4096;
/// Bytes of an IP packet through a WireGuard tunnel: the least that IPv6 allows, and what jumbo frames have.
pub const WIREGUARD_MTU: RangeInclusive<i64> = 1280..=9000;
/// Seconds between a WireGuard peer's keepalives; 0 for none.
pub const KEEPALIVE: RangeInclusive<i64> = 0..=65_535;
/// Ids of segments: 24 bits.
pub const SEGMENT_ID: RangeInclusive<i64> = 1..=16_777_215;
/// Code points of an IP header.
pub const DSCP: RangeInclusive<i64> = 0..=63;
/// Characters of a name in the DNS.
pub const HOST_MAX: usize = 253;
/// Characters of one of its parts.
pub const LABEL_MAX: usize = 63;
/// Bytes of a file's path: `PATH_MAX` without its terminator.
pub const PATH_MAX: usize = 4095;
/// Bytes of a key file; a key and a little space around it.
pub const KEY_FILE_MAX: usize = 4096;
/// Characters of the name of a port, switch, VLAN, segment or peer.
pub const NAME_MAX: usize = 32;
/// Bytes of a device's name: IFNAMSIZ without its terminator.
pub const DEVICE_MAX: usize = 15;
/// Bytes of a socket's path: `sun_path` without its terminator.
pub const SOCKET_MAX: usize = 107;
/// Characters of a user's or group's name.
pub const ACCOUNT_MAX: usize = 32;
/// Elements of a list of VLANs.
pub const VLAN_LIST_MAX: usize = 4094;
/// Addresses in `macs` or `ips` of one port.
pub const ADDRESSES_MAX: usize = 1024;
/// Threads that move frames.
pub const WORKERS: RangeInclusive<i64> = 1..=64;
/// Queues of a device.
pub const QUEUES: RangeInclusive<i64> = 1..=16;
/// Bytes behind the Ethernet header: the least that IPv4 allows, and the most that its length field can say.
pub const MTU: RangeInclusive<i64> = 68..=65_535;
/// Addresses that a switch, or a port, remembers.
pub const MAC_LIMIT: RangeInclusive<i64> = 1..=1_048_576;
/// How long an address lives; the upper end is that of IEEE 802.1Q-2022 table 8-6.
pub const MAC_AGEING: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(1_000_000);
/// Flooded frames a second.
pub const FLOOD_LIMIT: RangeInclusive<u32> = 1..=100_000_000;
