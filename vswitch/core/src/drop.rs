//! Why a frame, or one copy of it, goes nowhere. One reason a drop, one counter a reason.

use std::{fmt, str::FromStr};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The one reason of a drop. The text form is what counters, metrics and JSON show.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in the order of the enumeration.
            pub const ALL: &[Self] = &[$(Self::$name),*];
            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Returns the name that users see.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Shorter than a header, a tag cut short, or a VID-0 tag in front of another tag.
    Malformed = "malformed",
    /// A source that is multicast, broadcast or all zero.
    BadSource = "bad-source",
    /// A destination that bridges never forward.
    ReservedAddress = "reserved-address",
    /// A source that the port's `macs` or `ips` do not allow.
    Spoofed = "spoofed",
    /// Beyond the port's `flood-limit`.
    FloodLimited = "flood-limited",
    /// A tag on an access port.
    TaggedOnAccess = "tagged-on-access",
    /// A VLAN that the trunk does not carry.
    VlanNotMember = "vlan-not-member",
    /// Untagged on a trunk without a native VLAN.
    NoNativeVlan = "no-native-vlan",
    /// VID 4095.
    VlanReserved = "vlan-reserved",
    /// A customer VLAN that the dot1q-tunnel port does not carry.
    CustomerVlanNotMember = "customer-vlan-not-member",
    /// From or to a port on which a loop was found in the frame's VLAN.
    LoopBlocked = "loop-blocked",
    /// Longer than the MTU allows.
    Oversize = "oversize",
    /// Virtio-net metadata that does not fit the frame.
    BadOffload = "bad-offload",
    /// A source that is static on another port.
    StaticElsewhere = "static-elsewhere",
    /// The destination is where the frame came from.
    SamePort = "same-port",
    /// Nobody else is in the VLAN.
    NoMember = "no-member",
    /// From an isolated port to isolated ports only.
    Isolated = "isolated",
    /// From a tunnel to tunnels only.
    SplitHorizon = "split-horizon",
    /// Would leave a trunk untagged although its payload begins with that trunk's tag.
    AmbiguousTag = "ambiguous-tag",
    /// The receiver did not keep up.
    QueueFull = "queue-full",
    /// The port has no device or peer.
    PortDown = "port-down",
    /// The tunnel has no session with its peer.
    NoSession = "no-session",
    /// The WireGuard adapter has no way for the packet.
    Unroutable = "unroutable",
    /// Offload metadata that the port cannot express or finish.
    UnsupportedOffload = "unsupported-offload",
}

impl fmt::Display for DropReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.as_str())
    }
}

/// The text names no drop reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseDropReasonError;

impl FromStr for DropReason {
    type Err = ParseDropReasonError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or(ParseDropReasonError)
    }
}
