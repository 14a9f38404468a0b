//! What a WireGuard engine does for one peer, and what it does at the door before any peer is known. WireGuard paper §5, §6.
//! Sockets, addresses, allowed IPs and waiting packets are not its business.

use std::{net::SocketAddr, time::Duration};

use weft_vpn::PublicKey;

use crate::Refusal;

/// Bytes that a record is longer than its packet: header and tag, WireGuard paper §5.4.6.
pub const RECORD_OVERHEAD: usize = 32;
/// Bytes of the longest message that an engine makes of its own accord: an initiation, WireGuard paper §5.4.2.
pub const LONGEST_MESSAGE: usize = 148;

/// The state of WireGuard with one peer. Rooms that are too small are refused, whatever they are for.
pub trait Engine: Send {
    /// Tells whether there is a session that packets can be sealed with.
    fn is_ready(&self) -> bool;

    /// Seals a packet, or nothing, which is a keepalive; returns the bytes of the record. The room is [`RECORD_OVERHEAD`]
    /// longer than the packet at least.
    ///
    /// # Errors
    /// [`Refusal::NoSession`] when there is no session.
    fn seal(&mut self, packet: &[u8], room: &mut [u8]) -> Result<usize, Refusal>;

    /// Opens a record into a room that is as long at least.
    ///
    /// # Errors
    /// Why it is not believed.
    fn open(&mut self, record: &[u8], room: &mut [u8]) -> Result<Opened, Refusal>;

    /// Takes a message of a handshake that the gate has let in; returns the bytes of what is to be sent back, 0 for nothing.
    /// The room is [`LONGEST_MESSAGE`] long at least.
    ///
    /// # Errors
    /// Why it is not believed.
    fn handshake(&mut self, message: &[u8], room: &mut [u8]) -> Result<usize, Refusal>;

    /// Begins a handshake; returns the bytes of the initiation, 0 when one is on its way already.
    ///
    /// # Errors
    /// When it cannot be made.
    fn initiate(&mut self, room: &mut [u8]) -> Result<usize, Refusal>;

    /// Does what is due. To be called a few times each second.
    ///
    /// # Errors
    /// When it cannot be done.
    fn tick(&mut self, room: &mut [u8]) -> Result<Ticked, Refusal>;

    /// Returns how long ago the session that is used was made.
    fn handshake_age(&self) -> Option<Duration>;
}

/// What a record had in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing but its sender's life.
    Keepalive,
    /// An IP packet of so many bytes.
    Packet(usize),
}

/// What was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticked {
    /// Nothing.
    Idle,
    /// A message of so many bytes is to be sent.
    Send(usize),
    /// Nobody has answered for so long that all was forgotten.
    GivenUp,
}

/// What looks at messages of handshakes before any secret of a peer is touched.
pub trait Gate: Send {
    /// Judges a message of a handshake. The room is [`LONGEST_MESSAGE`] long at least.
    ///
    /// # Errors
    /// Why it is not let in.
    fn judge(
        &mut self,
        now: Duration,
        from: SocketAddr,
        message: &[u8],
        room: &mut [u8],
    ) -> Result<Admitted, Refusal>;

    /// Notes that time has passed. To be called each second at least.
    fn tick(&mut self);
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// It is an initiation by whoever has this key.
    Initiation(PublicKey),
    /// It answers something with this index.
    Answer(u32),
    /// Its sender is to prove its address first: a cookie of so many bytes is to be sent.
    Cookie(usize),
}
