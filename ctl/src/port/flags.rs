//! The options that describe a port, turned into the keys of `[port.NAME]`.

use std::{net::IpAddr, num::NonZeroU32};

use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser, builder::PossibleValue};
use serde_json::{Map, Value};
use weft_vlan::MacAddr;

use crate::{
    failure::Failure,
    render::clean,
    vlan::{VlanList, VlanRef},
};

/// What a port is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PortKind {
    /// An existing device: a VM's TAP, a veth, a NIC
    Netdev,
    /// A TAP that weftd makes; its other side is the host's
    Tap,
    /// A guest's virtio rings in shared memory, by the VMM's socket
    VhostUser,
    /// A socket for QEMU's -netdev stream
    Stream,
}

impl PortKind {
    fn word(self) -> &'static str {
        match self {
            Self::Netdev => "netdev",
            Self::Tap => "tap",
            Self::VhostUser => "vhost-user",
            Self::Stream => "stream",
        }
    }
}

/// Which end of a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// weftd listens
    Server,
    /// The VMM listens; weftd connects, again and again
    Client,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// How the frames of an existing device are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Io {
    /// By a packet socket: super-frames cross whole
    Packet,
    /// By AF_XDP: small frames cross faster
    Xdp,
}

impl Io {
    fn word(self) -> &'static str {
        match self {
            Self::Packet => "packet",
            Self::Xdp => "xdp",
        }
    }
}

/// What announces the tags of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ethertype {
    /// 0x8100.
    Dot1Q,
    /// 0x88A8.
    Dot1ad,
}

impl Ethertype {
    fn word(self) -> &'static str {
        match self {
            Self::Dot1Q => "802.1Q",
            Self::Dot1ad => "802.1ad",
        }
    }
}

impl ValueEnum for Ethertype {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Dot1Q, Self::Dot1ad]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let aliases = match self {
            Self::Dot1Q => ["802.1q", "0x8100"],
            Self::Dot1ad => ["802.1AD", "0x88a8"],
        };
        Some(PossibleValue::new(self.word()).aliases(aliases))
    }
}

/// The type of a new port.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Typed {
    /// What the port is attached to
    #[arg(long = "type", value_name = "TYPE", required = true)]
    kind: PortKind,
}

/// The VLAN mode of a port.
#[derive(Clone, Debug, Args)]
pub(crate) struct VlanFlags {
    /// Untagged frames only, in this VLAN
    #[arg(long, help_heading = "VLANs", value_name = "VLAN", conflicts_with_all = ["trunk", "native", "native_tagged", "ethertype",
        "dot1q_tunnel", "customer"])]
    access: Option<VlanRef>,
    /// Tagged frames of these VLANs, as in 10,20,100-199,office, or all
    #[arg(long, help_heading = "VLANs", value_name = "LIST", conflicts_with_all = ["dot1q_tunnel", "customer"])]
    trunk: Option<VlanList>,
    /// The trunk's VLAN of untagged frames
    #[arg(long, help_heading = "VLANs", value_name = "VLAN", conflicts_with_all = ["dot1q_tunnel", "customer"])]
    native: Option<VlanRef>,
    /// The native VLAN leaves tagged all the same
    #[arg(long, help_heading = "VLANs", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        conflicts_with_all = ["dot1q_tunnel", "customer"])]
    native_tagged: Option<bool>,
    /// What announces the trunk's tags: 802.1Q (0x8100, the default) or 802.1ad (0x88A8)
    #[arg(long, help_heading = "VLANs", value_name = "TPID")]
    ethertype: Option<Ethertype>,
    /// Whatever comes travels as payload of this VLAN, its own tags included
    #[arg(long, help_heading = "VLANs", value_name = "VLAN")]
    dot1q_tunnel: Option<VlanRef>,
    /// The only customer VLANs that enter the dot1q-tunnel
    #[arg(long, help_heading = "VLANs", value_name = "LIST")]
    customer: Option<VlanList>,
}

/// Everything about a port but its name and type of creation.
#[derive(Clone, Debug, Args)]
pub(crate) struct PortFlags {
    /// The device: an existing one of a netdev port, a new one of a tap port
    #[arg(long, value_parser = NonEmptyStringValueParser::new(), conflicts_with = "port_socket")]
    device: Option<String>,
    /// The port's socket, of a vhost-user or stream port
    #[arg(id = "port_socket", long = "socket", value_name = "PATH", value_parser = NonEmptyStringValueParser::new())]
    socket: Option<String>,
    #[command(flatten)]
    pub(super) vlan: VlanFlags,
    /// The switch; main when not named
    #[arg(long, value_name = "NAME", help_heading = "Limits and guards")]
    switch: Option<String>,
    /// Bytes behind the Ethernet header; the device's when not named
    #[arg(long, value_name = "BYTES", help_heading = "Limits and guards")]
    mtu: Option<u32>,
    /// Addresses that may be learned from the port
    #[arg(long, value_name = "COUNT", help_heading = "Limits and guards")]
    mac_limit: Option<u32>,
    /// An allowed source address; all others are dropped. May be repeated, or a list with commas
    #[arg(
        long = "mac",
        value_name = "MAC",
        value_delimiter = ',',
        help_heading = "Limits and guards"
    )]
    macs: Vec<MacAddr>,
    /// An allowed IP, ARP and ND sender; all others are dropped. May be repeated, or a list with commas
    #[arg(
        long = "ip",
        value_name = "IP",
        value_delimiter = ',',
        help_heading = "Limits and guards"
    )]
    ips: Vec<IpAddr>,
    /// The port does not talk to other isolated ports
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        help_heading = "Limits and guards")]
    isolated: Option<bool>,
    /// Broadcast, multicast and unknown unicast frames a second from here, as in 1000/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate, help_heading = "Limits and guards")]
    flood_limit: Option<String>,
    /// The port carries frames
    #[arg(long, conflicts_with = "disabled", help_heading = "Limits and guards")]
    enabled: bool,
    /// The port stays configured but carries nothing
    #[arg(long, help_heading = "Limits and guards")]
    disabled: bool,
    /// How a netdev port's frames are taken: packet (the default) or xdp
    #[arg(long, help_heading = "Attachment")]
    io: Option<Io>,
    /// Queues of a tap port, queue pairs of a vhost-user port
    #[arg(long, value_name = "COUNT", help_heading = "Attachment")]
    queues: Option<u16>,
    /// Which end of the socket listens
    #[arg(long, help_heading = "Attachment")]
    mode: Option<Mode>,
    /// The user who may be at the other end of the socket
    #[arg(long, value_name = "USER", help_heading = "Attachment")]
    owner: Option<String>,
    /// The group that may be at the other end of the socket
    #[arg(long, value_name = "GROUP", help_heading = "Attachment")]
    group: Option<String>,
    /// The socket's permission bits, as in 0660
    #[arg(long, value_name = "BITS", value_parser = parse_bits, help_heading = "Attachment")]
    socket_mode: Option<String>,
}

impl PortFlags {
    /// Returns the table of a new port.
    ///
    /// # Errors
    /// Fails when the options do not make a port.
    pub(super) fn new_port(&self, typed: Typed) -> Result<Map<String, Value>, Failure> {
        self.check_attachment(typed.kind)?;
        let mut table = self.keys();
        table.insert("type".to_owned(), typed.kind.word().into());
        table.insert("vlan".to_owned(), Value::Object(self.vlan.new_mode()?));
        Ok(table)
    }

    /// Returns the keys that are named, but for those of the VLAN mode.
    pub(super) fn keys(&self) -> Map<String, Value> {
        let texts = |list: Vec<String>| (!list.is_empty()).then(|| Value::from(list));
        let enabled = if self.disabled { Some(false) } else { self.enabled.then_some(true) };
        let keys = [
            ("switch", self.switch.clone().map(Value::from)),
            ("device", self.device.clone().map(Value::from)),
            ("socket", self.socket.clone().map(Value::from)),
            ("mode", self.mode.map(|mode| mode.word().into())),
            ("owner", self.owner.clone().map(Value::from)),
            ("group", self.group.clone().map(Value::from)),
            ("socket-mode", self.socket_mode.clone().map(Value::from)),
            ("io", self.io.map(|io| io.word().into())),
            ("queues", self.queues.map(Value::from)),
            ("enabled", enabled.map(Value::from)),
            ("mtu", self.mtu.map(Value::from)),
            ("mac-limit", self.mac_limit.map(Value::from)),
            ("macs", texts(self.macs.iter().map(ToString::to_string).collect())),
            ("ips", texts(self.ips.iter().map(ToString::to_string).collect())),
            ("isolated", self.isolated.map(Value::from)),
            ("flood-limit", self.flood_limit.clone().map(Value::from)),
        ];
        keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    fn check_attachment(&self, kind: PortKind) -> Result<(), Failure> {
        let word = kind.word();
        match (kind, &self.device, &self.socket) {
            (PortKind::Netdev | PortKind::Tap, Some(_), None)
            | (PortKind::VhostUser | PortKind::Stream, None, Some(_)) => Ok(()),
            (PortKind::Netdev | PortKind::Tap, _, Some(_)) => Err(Failure::usage(format!(
                "a {word} port has a --device, not a --socket"
            ))
            .help(
                "the daemon's socket goes before the command: `weftctl --socket PATH port add …`",
            )),
            (PortKind::Netdev, None, None) => {
                Err(Failure::usage("a netdev port needs --device DEVICE, one that exists")
                    .help("`ip link` lists the devices"))
            }
            (PortKind::Tap, None, None) => Err(Failure::usage(
                "a tap port needs --device DEVICE, the name of the TAP that weftd makes",
            )
            .help("for example --device weft0")),
            (PortKind::VhostUser | PortKind::Stream, Some(_), _) => Err(Failure::usage(format!(
                "a {word} port has a --socket, not a --device"
            ))
            .help("for a device use --type netdev")),
            (PortKind::VhostUser, None, None) => Err(Failure::usage(
                "a vhost-user port needs --socket PATH, in a directory of its own",
            )
            .help("for example --socket /run/weft/ports/db1/db1.sock; `weftctl port show db1 --qemu` then says the guest's side")),
            (PortKind::Stream, None, None) => Err(Failure::usage(
                "a stream port needs --socket PATH",
            )
            .help("QEMU then has `-netdev stream,id=n0,addr.type=unix,addr.path=PATH,server=off`")),
        }
    }
}

impl VlanFlags {
    /// Returns the mode of a new port.
    fn new_mode(&self) -> Result<Map<String, Value>, Failure> {
        if self.access.is_none() && self.trunk.is_none() && self.dot1q_tunnel.is_none() {
            return Err(Failure::usage("the port needs a VLAN mode: --access, --trunk or --dot1q-tunnel").help(
                "--access 10 for a guest that knows no VLANs, --trunk 10,20 for one that tags its frames, --trunk all \
                 for every VLAN",
            ));
        }
        self.merged("", Map::new())
    }

    /// Returns a mode that is named in full: nothing of the old one is kept.
    pub(super) fn replacing(&self) -> Option<Map<String, Value>> {
        self.access.as_ref().map(|vlan| Map::from_iter([("access".to_owned(), vlan.to_value())]))
    }

    /// Tells whether the new mode depends on the old one.
    pub(super) fn needs_current(&self) -> bool {
        self.trunk.is_some()
            || self.native.is_some()
            || self.native_tagged.is_some()
            || self.ethertype.is_some()
            || self.dot1q_tunnel.is_some()
            || self.customer.is_some()
    }

    /// Returns the old mode with what is named here instead; another kind of mode begins anew.
    ///
    /// # Errors
    /// Fails when something is named that the mode does not have.
    pub(super) fn merged(
        &self,
        name: &str,
        old: Map<String, Value>,
    ) -> Result<Map<String, Value>, Failure> {
        let mut mode = self.replacing().unwrap_or(old);
        let whole = [
            ("trunk", self.trunk.as_ref().map(VlanList::to_value)),
            ("dot1q-tunnel", self.dot1q_tunnel.as_ref().map(VlanRef::to_value)),
        ];
        for (key, value) in whole {
            let Some(value) = value else { continue };
            if !mode.contains_key(key) {
                mode.clear();
            }
            mode.insert(key.to_owned(), value);
        }
        let parts = [
            ("trunk", "native", self.native.as_ref().map(VlanRef::to_value)),
            ("trunk", "native-tagged", self.native_tagged.map(Value::from)),
            ("trunk", "ethertype", self.ethertype.map(|ethertype| ethertype.word().into())),
            ("dot1q-tunnel", "customer", self.customer.as_ref().map(VlanList::to_value)),
        ];
        for (owner, key, value) in parts {
            let Some(value) = value else { continue };
            // An ethertype may stand beside dot1q-tunnel too; whether it makes sense there the daemon says.
            if !mode.contains_key(owner)
                && (key != "ethertype" || mode.contains_key("access") || mode.is_empty())
            {
                let port = if name.is_empty() {
                    String::new()
                } else {
                    format!("port {} has none: ", clean(name))
                };
                return Err(Failure::usage(format!("{port}--{key} belongs to --{owner}")).help(
                    format!(
                        "name the {owner} too, as in --{owner} {}",
                        if owner == "trunk" { "10,20" } else { "300" }
                    ),
                ));
            }
            mode.insert(key.to_owned(), value);
        }
        Ok(mode)
    }
}

/// A key of a port that has a default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub(crate) enum PortKey {
    /// Back to switch main
    Switch,
    /// No device, when the type changes
    Device,
    /// No socket, when the type changes
    Socket,
    /// Back to server
    Mode,
    /// Only the daemon's user may connect
    Owner,
    /// No group may connect
    Group,
    /// Back to 0600, or 0660 with a group
    SocketMode,
    /// Back to one
    Queues,
    /// Back to packet
    Io,
    /// Back to enabled
    Enabled,
    /// Back to the device's
    Mtu,
    /// No limit of the port's own
    MacLimit,
    /// Every source address is allowed
    Macs,
    /// Every IP, ARP and ND sender is allowed
    Ips,
    /// Back to talking to everybody
    Isolated,
    /// No limit
    FloodLimit,
    /// Untagged frames are dropped
    Native,
    /// The native VLAN leaves untagged
    NativeTagged,
    /// Back to 802.1Q
    Ethertype,
    /// Every customer VLAN enters
    Customer,
}

impl PortKey {
    /// Returns the key of the port's table, if it is one of those.
    pub(super) fn top(&self) -> Option<&'static str> {
        Some(match self {
            Self::Switch => "switch",
            Self::Device => "device",
            Self::Socket => "socket",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Group => "group",
            Self::SocketMode => "socket-mode",
            Self::Queues => "queues",
            Self::Io => "io",
            Self::Enabled => "enabled",
            Self::Mtu => "mtu",
            Self::MacLimit => "mac-limit",
            Self::Macs => "macs",
            Self::Ips => "ips",
            Self::Isolated => "isolated",
            Self::FloodLimit => "flood-limit",
            Self::Native | Self::NativeTagged | Self::Ethertype | Self::Customer => return None,
        })
    }

    /// Returns the key of the VLAN mode, if it is one of those.
    pub(super) fn within_vlan(&self) -> Option<&'static str> {
        Some(match self {
            Self::Native => "native",
            Self::NativeTagged => "native-tagged",
            Self::Ethertype => "ethertype",
            Self::Customer => "customer",
            _ => return None,
        })
    }
}

fn parse_rate(text: &str) -> Result<String, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    match number.parse::<NonZeroU32>() {
        Ok(rate) => Ok(format!("{rate}/s")),
        Err(_) => Err("a rate is a number of frames a second, as in 1000/s".to_owned()),
    }
}

fn parse_bits(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(bits) if bits <= 0o777 && !digits.starts_with('+') => Ok(format!("{bits:04o}")),
        _ => Err("permission bits are octal, as in 0660".to_owned()),
    }
}

#[cfg(test)]
mod tests;
