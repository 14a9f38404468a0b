//! The Noise tunnel: handshake, session, replay window, timers, fragments. Sans-I/O: time and randomness are
//! arguments, bytes go in and out. Never sees a VLAN or a frame.

mod control;
mod fragment;
mod host;
mod keys;
mod limit;
mod mac;
mod message;
mod noise;
mod path_mtu;
mod peer;
mod preferences;
mod random;
mod reassembly;
mod session;
mod suite;
#[cfg(test)]
mod test;
mod timestamp;
mod window;
mod x25519;

pub use control::{Control, MalformedControl};
pub use fragment::{
    BundleId, BundleIds, FRAGMENT_HEADER, Fragment, Fragments, LONGEST_BUNDLE, MOST_FRAGMENTS,
    MalformedFragment, UncuttableError,
};
pub use host::{
    DownReason, Event, Host, HostConfig, HostError, Load, PeerConfig, PeerState, PeerStatus,
    Refusal, Reset, Transmit,
};
pub use keys::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use limit::SourceLimit;
pub use path_mtu::{LARGEST_UDP_PAYLOAD, PathMtu, Probe};
pub use peer::PeerId;
pub use random::Random;
pub use reassembly::{
    FragmentError, Losses, REASSEMBLY_BOUND, REASSEMBLY_TIMEOUT, Reassembled, Reassembly,
};
pub use session::{
    Kind, OpenError, Opened, PAYLOAD_AT, RECORD_OVERHEAD, REJECT_AFTER, SealError, Session,
    payload_room, record_index, record_len,
};
pub use suite::{Suite, Suites, UnknownSuite};
pub use timestamp::Tai64n;
pub use window::WINDOW;
