//! The Noise tunnel: handshake, session, replay window, timers, fragments. Sans-I/O: time and randomness are
//! arguments, bytes go in and out. Never sees a VLAN or a frame.

mod control;
mod fragment;
mod keys;
mod path_mtu;
mod random;
mod reassembly;
#[cfg(test)]
mod test;
mod x25519;

pub use control::{Control, MalformedControl};
pub use fragment::{
    BundleId, BundleIds, FRAGMENT_HEADER, Fragment, Fragments, LONGEST_BUNDLE, MOST_FRAGMENTS,
    MalformedFragment, UncuttableError,
};
pub use keys::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use path_mtu::{LARGEST_UDP_PAYLOAD, PathMtu, Probe};
pub use random::Random;
pub use reassembly::{
    FragmentError, Losses, REASSEMBLY_BOUND, REASSEMBLY_TIMEOUT, Reassembled, Reassembly,
};
