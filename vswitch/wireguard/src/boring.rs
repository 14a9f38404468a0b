//! The engine that is built in: `Tunn` and `RateLimiter` of boringtun, held to what they promise. What makes them panic or
//! believe too much is refused before: rooms that are too small, counters at the end of their range, ephemeral keys of low
//! order. They read a clock of their own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use boringtun::{
    noise::{
        Packet, Tunn, TunnResult, errors::WireGuardError, handshake::parse_handshake_anon,
        rate_limiter::RateLimiter,
    },
    x25519,
};
use weft_vpn::{KeyError, PresharedKey, PrivateKey, PublicKey, Random, SourceLimit};

use crate::{
    Admitted, Engine, Gate, LONGEST_MESSAGE, Opened, PeerId, RECORD_OVERHEAD, Refusal, Ticked,
};

/// Handshake messages in a second from which on senders have to prove their addresses.
const LOAD: u64 = 100;
/// The first counter that no record has: WireGuard paper §6.1, Reject-After-Messages.
const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
const TAG: usize = 16;

/// The gate of one private key.
pub struct BoringGate {
    private: x25519::StaticSecret,
    public: x25519::PublicKey,
    limiter: RateLimiter,
    sources: SourceLimit,
    /// A second, and the handshake messages for this key in it.
    lately: (u64, u64),
}

impl BoringGate {
    /// Makes the gate of a key.
    pub fn new(key: &PrivateKey, random: &mut impl Random) -> Self {
        let private = x25519::StaticSecret::from(*key.as_bytes());
        let public = x25519::PublicKey::from(&private);
        let limiter = RateLimiter::new(&public, LOAD);
        Self { private, public, limiter, sources: SourceLimit::new(random), lately: (0, 0) }
    }

    /// Counts a handshake message; tells whether there are so many that senders have to prove their addresses.
    fn is_under_load(&mut self, now: Duration) -> bool {
        let (second, count) = &mut self.lately;
        if now.as_secs() != std::mem::replace(second, now.as_secs()) {
            *count = 0;
        }
        *count += 1;
        *count > LOAD
    }
}

impl Gate for BoringGate {
    fn judge(
        &mut self,
        now: Duration,
        from: SocketAddr,
        message: &[u8],
        room: &mut [u8],
    ) -> Result<Admitted, Refusal> {
        let mut cookie = [0; LONGEST_MESSAGE];
        let from_ip = from.ip().to_canonical();
        let packet = match self.limiter.verify_packet(Some(from_ip), message, &mut cookie) {
            Ok(packet) => packet,
            Err(TunnResult::WriteToNetwork(cookie)) => {
                room.get_mut(..cookie.len()).ok_or(Refusal::Malformed)?.copy_from_slice(cookie);
                return Ok(Admitted::Cookie(cookie.len()));
            }
            Err(TunnResult::Err(error)) => return Err(refusal(&error)),
            Err(_) => return Err(Refusal::Malformed),
        };
        // Whoever gets here under load has a cookie and so has proven one address, from which it may still send as much as
        // it likes. Without load nobody has proven anything: what a stranger sends in another's name must not count.
        let is_handshake =
            matches!(packet, Packet::HandshakeInit(_) | Packet::HandshakeResponse(_));
        if is_handshake && self.is_under_load(now) && !self.sources.admits(now, from) {
            return Err(Refusal::UnderLoad);
        }
        match packet {
            Packet::HandshakeInit(initiation) => {
                check_ephemeral(&message[8..])?;
                let half = parse_handshake_anon(&self.private, &self.public, &initiation)
                    .map_err(|error| refusal(&error))?;
                let key = PublicKey::new(half.peer_static_public);
                key.map(Admitted::Initiation).map_err(|_| Refusal::UnknownPeer)
            }
            Packet::HandshakeResponse(response) => {
                check_ephemeral(&message[12..])?;
                Ok(Admitted::Answer(response.receiver_idx))
            }
            Packet::PacketCookieReply(reply) => Ok(Admitted::Answer(reply.receiver_idx)),
            Packet::PacketData(_) => Err(Refusal::Malformed),
        }
    }

    fn tick(&mut self) {
        self.limiter.reset_count();
    }
}

/// Refuses ephemeral keys with which no secret would be shared. boringtun takes what X25519 gives.
fn check_ephemeral(behind: &[u8]) -> Result<(), Refusal> {
    let key = behind.first_chunk::<32>().ok_or(Refusal::Malformed)?;
    match PublicKey::new(*key) {
        Err(KeyError::LowOrder | KeyError::AllZero) => Err(Refusal::LowOrder),
        _ => Ok(()),
    }
}

/// WireGuard with one peer.
pub struct Boring {
    tunn: Tunn,
}

impl Boring {
    /// Makes the state for a peer, of which nothing has been heard.
    pub fn new(
        key: &PrivateKey,
        peer: PublicKey,
        preshared: Option<&PresharedKey>,
        id: PeerId,
    ) -> Self {
        let private = x25519::StaticSecret::from(*key.as_bytes());
        let public = x25519::PublicKey::from(&private);
        // The gate has limited what comes; what it let in is only verified again.
        let limiter = Arc::new(RateLimiter::new(&public, u64::MAX));
        let peer = x25519::PublicKey::from(*peer.as_bytes());
        let preshared = preshared.map(|key| *key.as_bytes());
        // Its own keepalive could not be changed without a new state.
        let tunn = Tunn::new(private, peer, preshared, None, id.number(), Some(limiter));
        Self { tunn }
    }
}

impl Engine for Boring {
    fn is_ready(&self) -> bool {
        self.tunn.time_since_last_handshake().is_some()
    }

    fn seal(&mut self, packet: &[u8], room: &mut [u8]) -> Result<usize, Refusal> {
        if room.len() < (packet.len() + RECORD_OVERHEAD).max(LONGEST_MESSAGE) {
            return Err(Refusal::TooBig);
        }
        // Without a session it would keep the packet itself.
        if !self.is_ready() {
            return Err(Refusal::NoSession);
        }
        match self.tunn.encapsulate(packet, room) {
            TunnResult::WriteToNetwork(record) => Ok(record.len()),
            TunnResult::Err(error) => Err(refusal(&error)),
            _ => Err(Refusal::NoSession),
        }
    }

    fn open(&mut self, record: &[u8], room: &mut [u8]) -> Result<Opened, Refusal> {
        if room.len() + TAG < record.len() {
            return Err(Refusal::TooBig);
        }
        let Some(counter) = record.get(8..).and_then(|rest| rest.first_chunk()) else {
            return Err(Refusal::Malformed);
        };
        // Beyond it the arithmetic of the window ends.
        if u64::from_le_bytes(*counter) >= REJECT_AFTER_MESSAGES {
            return Err(Refusal::Replayed);
        }
        match self.tunn.decapsulate(None, record, room) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Ok(Opened::Packet(packet.len()))
            }
            TunnResult::Done => Ok(Opened::Keepalive),
            TunnResult::Err(error) => Err(refusal(&error)),
            TunnResult::WriteToNetwork(_) => Err(Refusal::Malformed),
        }
    }

    fn handshake(&mut self, message: &[u8], room: &mut [u8]) -> Result<usize, Refusal> {
        if room.len() < LONGEST_MESSAGE || message.is_empty() {
            return Err(Refusal::Malformed);
        }
        match self.tunn.decapsulate(None, message, room) {
            TunnResult::WriteToNetwork(reply) => Ok(reply.len()),
            TunnResult::Err(error) => Err(refusal(&error)),
            _ => Ok(0),
        }
    }

    fn initiate(&mut self, room: &mut [u8]) -> Result<usize, Refusal> {
        match self.tunn.format_handshake_initiation(room, false) {
            TunnResult::WriteToNetwork(initiation) => Ok(initiation.len()),
            TunnResult::Err(error) => Err(refusal(&error)),
            _ => Ok(0),
        }
    }

    fn tick(&mut self, room: &mut [u8]) -> Result<Ticked, Refusal> {
        if room.len() < LONGEST_MESSAGE {
            return Err(Refusal::TooBig);
        }
        match self.tunn.update_timers(room) {
            TunnResult::WriteToNetwork(message) => Ok(Ticked::Send(message.len())),
            TunnResult::Err(WireGuardError::ConnectionExpired) => Ok(Ticked::GivenUp),
            TunnResult::Err(error) => Err(refusal(&error)),
            _ => Ok(Ticked::Idle),
        }
    }

    fn handshake_age(&self) -> Option<Duration> {
        self.tunn.time_since_last_handshake()
    }
}

fn refusal(error: &WireGuardError) -> Refusal {
    match error {
        WireGuardError::InvalidMac | WireGuardError::InvalidAeadTag => Refusal::Forged,
        WireGuardError::UnderLoad => Refusal::UnderLoad,
        WireGuardError::WrongKey => Refusal::UnknownPeer,
        WireGuardError::WrongTai64nTimestamp | WireGuardError::InvalidTai64nTimestamp => {
            Refusal::OldTimestamp
        }
        WireGuardError::InvalidCounter | WireGuardError::DuplicateCounter => Refusal::Replayed,
        WireGuardError::WrongIndex
        | WireGuardError::NoCurrentSession
        | WireGuardError::UnexpectedPacket
        | WireGuardError::ConnectionExpired => Refusal::NoSession,
        WireGuardError::DestinationBufferTooSmall => Refusal::TooBig,
        _ => Refusal::Malformed,
    }
}
