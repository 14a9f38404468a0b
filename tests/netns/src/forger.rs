//! A WireGuard client that the test plays: it has a client's key, gets its session by boringtun's engine, and then sends
//! whatever the test wants, in its session and outside. WireGuard paper §5.4.

use std::{
    io::IoSlice,
    net::UdpSocket,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use blake2::{
    Blake2s256, Blake2sMac, Digest,
    digest::{FixedOutput, KeyInit, Update, consts::U16},
};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg, setsockopt, sockopt};
use weft_vpn::{PrivateKey, PublicKey};

use crate::{ClientKey, PATIENCE, Site};

const INITIATION: u8 = 1;
const RESPONSE: u8 = 2;
/// Bytes of a record that brings nothing.
const KEEPALIVE: usize = 32;
/// What may wait to be read; a system without further limits of its own allows as much.
const BUFFER: usize = 212_992;
/// How long an answer may take before it is asked for again.
const LOOK: Duration = Duration::from_millis(500);

/// The client.
pub struct Forger {
    socket: UdpSocket,
    tunn: Tunn,
    /// The indices of the sessions that were wanted.
    begun: Vec<[u8; 4]>,
    server: PublicKey,
}

impl Forger {
    /// Makes a client on a site, with this key, of another site's adapter. It has no session yet.
    #[track_caller]
    pub fn at(place: &Site, key: &ClientKey, of: &Site) -> Self {
        let text = std::fs::read_to_string(key.file()).expect("the client has a key");
        let private = PrivateKey::from_base64(text.trim()).expect("it is one");
        let server: PublicKey = of.public_key().parse().expect("the site has a key");
        let socket = place.space().enter(|| UdpSocket::bind((place.address(), 0)));
        let socket = socket.expect("a site has its address");
        place.space().enter(|| socket.connect(of.endpoint())).expect("the sites have a link");
        socket.set_read_timeout(Some(LOOK)).expect("a read can have an end");
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER).expect("a socket has a buffer");
        let private = x25519::StaticSecret::from(*private.as_bytes());
        let public = x25519::PublicKey::from(*server.as_bytes());
        let tunn = Tunn::new(private, public, None, None, 1, None);
        Self { socket, tunn, begun: Vec::new(), server }
    }

    /// Sends a datagram as it stands.
    #[track_caller]
    pub fn send(&self, datagram: &[u8]) {
        self.socket.send(datagram).expect("the underlay takes it");
    }

    /// Sends datagrams of one length as one message, which the kernel cuts where it has to.
    #[track_caller]
    pub fn send_together(&self, datagrams: &[Vec<u8>]) {
        send_together(&self.socket, datagrams);
    }

    /// Makes an initiation, newer than all before.
    #[track_caller]
    pub fn initiation(&mut self) -> Vec<u8> {
        let mut room = [0; 256];
        match self.tunn.format_handshake_initiation(&mut room, true) {
            TunnResult::WriteToNetwork(initiation) => initiation.to_vec(),
            other => panic!("no initiation: {other:?}"),
        }
    }

    /// Gets a session. Nothing but answers to initiations that were sent by such calls may come, or what the adapter says of
    /// its own accord.
    ///
    /// # Panics
    /// When something else comes, or no answer does.
    #[track_caller]
    pub fn connect(&mut self) {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < PATIENCE, "no answer to an initiation");
            let initiation = self.initiation();
            self.begun.extend(initiation[4..].first_chunk());
            // So many from one source are not computed with at once.
            self.send(&initiation);
            while let Some(response) = self.next() {
                assert!(self.is_awaited(&response), "instead of an answer: {response:?}");
                let mut room = [0; 256];
                if let TunnResult::WriteToNetwork(confirmation) =
                    self.tunn.decapsulate(None, &response, &mut room)
                {
                    self.socket.send(confirmation).expect("the underlay takes it");
                    return;
                }
            }
        }
    }

    /// Seals anything in its session.
    #[track_caller]
    pub fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut room = vec![0; packet.len() + 256];
        match self.tunn.encapsulate(packet, &mut room) {
            TunnResult::WriteToNetwork(record) => record.to_vec(),
            other => panic!("no record: {other:?}"),
        }
    }

    /// Returns the next packet that comes in the session; `None` when none comes for a while.
    ///
    /// # Panics
    /// When something else comes that was not asked for.
    #[track_caller]
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        // A second initiation may have been on its way when the first was answered.
        let record = loop {
            let datagram = self.next()?;
            if !self.is_awaited(&datagram) {
                break datagram;
            }
        };
        let mut room = vec![0; record.len() + 256];
        match self.tunn.decapsulate(None, &record, &mut room) {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                Some(packet.to_vec())
            }
            other => panic!("not a packet: {other:?}"),
        }
    }

    /// Returns the next datagram that answers something; `None` when none comes for a while.
    fn next(&mut self) -> Option<Vec<u8>> {
        let mut room = vec![0; 65_536];
        loop {
            match self.socket.recv(&mut room) {
                Ok(len) if len == KEEPALIVE || room[0] == INITIATION => {}
                Ok(len) => return Some(room[..len].to_vec()),
                Err(_) => return None,
            }
        }
    }

    /// Tells whether a datagram answers an initiation by which a session was wanted.
    fn is_awaited(&self, datagram: &[u8]) -> bool {
        datagram[0] == RESPONSE && self.begun.iter().any(|index| *index == datagram[8..12])
    }

    /// Makes the first MAC of a handshake message right, as anybody can who knows the adapter's public key. The message has
    /// room for both at its end. WireGuard paper §5.4.4.
    pub fn with_mac1(&self, mut message: Vec<u8>) -> Vec<u8> {
        let label = Blake2s256::new().chain(b"mac1----").chain(self.server.as_bytes()).finalize();
        let mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&label).expect("32 bytes");
        let end = message.len() - 32;
        let (covered, macs) = message.split_at_mut(end);
        macs[..16].copy_from_slice(&mac.chain(covered).finalize_fixed());
        message
    }
}

/// Sends datagrams of one length to whom a socket is connected to, as one message, which the kernel cuts where it has to.
///
/// # Panics
/// When the kernel does not take it.
#[track_caller]
pub fn send_together(socket: &UdpSocket, datagrams: &[Vec<u8>]) {
    let len = u16::try_from(datagrams[0].len()).expect("a datagram's length");
    let all = datagrams.concat();
    let cut = [ControlMessage::UdpGsoSegments(&len)];
    let message = [IoSlice::new(&all)];
    let sent = sendmsg::<()>(socket.as_raw_fd(), &message, &cut, MsgFlags::empty(), None);
    assert_eq!(sent, Ok(all.len()), "the kernel takes it");
}

impl std::fmt::Debug for Forger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forger").field("socket", &self.socket).finish_non_exhaustive()
    }
}
