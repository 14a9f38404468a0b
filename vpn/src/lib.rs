//! The Noise tunnel: handshake, session, replay window, timers, fragments. Sans-I/O: time and randomness are
//! arguments, bytes go in and out. Never sees a VLAN or a frame.

mod keys;
mod random;
#[cfg(test)]
mod test;
mod x25519;

pub use keys::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use random::Random;
