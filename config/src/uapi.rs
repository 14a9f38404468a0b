//! The cross-platform userspace protocol of WireGuard, which `wg` speaks over a Unix socket: `get=1` and `set=1`, as
//! lines of `key=value` (wireguard.com/xplatform, "Configuration Protocol"). Reads and writes text; knows no socket
//! and changes nothing.

mod answer;
mod plan;
mod request;

pub use answer::{Device, DevicePeer, outcome};
pub use plan::{Plan, Secret};
pub use request::{AllowedIp, Request, Set, SetPeer};

/// `errno` of what the protocol's text does not allow.
pub const EINVAL: i32 = 22;
/// `errno` of what cannot be done here at all.
pub const EOPNOTSUPP: i32 = 95;
/// `errno` of what the daemon failed to do.
pub const EIO: i32 = 5;

/// Why a request is not done. Says which key is at fault, and never its value: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Refusal {
    /// What the client is told: an `errno` above 0.
    pub errno: i32,
    /// What a person is told.
    pub what: String,
}

impl Refusal {
    fn invalid(what: impl Into<String>) -> Self {
        Self { errno: EINVAL, what: what.into() }
    }
}
