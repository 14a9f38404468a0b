//! Many WireGuard clients in one process, each with an address of its own: they shake hands and then only
//! show that they are there.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use boringtun::{
    noise::{Tunn, TunnResult},
    x25519::{PublicKey, StaticSecret},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{clock, storm};

/// What the crowd says when all of it is connected.
pub const CONNECTED: &str = "all are connected";
/// How often each says that it is there, as clients behind NAT are told to.
pub(super) const KEEPALIVE: Duration = Duration::from_secs(25);

/// Between two handshakes; a server that gets more than a hundred a second may ask for cookies.
const PACE: Duration = Duration::from_millis(12);
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
const DATAGRAM: usize = 2048;

struct Client {
    tunn: Tunn,
    socket: UdpSocket,
}

/// Connects a client for each line of `keys`, a private key each, and keeps them there for `length`.
///
/// # Errors
/// When a key is none, an address is not to be had, or the server does not answer one of them.
pub fn crowd(to: SocketAddr, server: &str, keys: &Path, length: Duration) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let server = PublicKey::from(decode(server)?);
    let keys = fs::read_to_string(keys)?;
    let mut clients = Vec::new();
    for (number, key) in (1..).zip(keys.lines()) {
        let tunn = Tunn::new(decode(key)?.into(), server, None, None, number, None);
        let address = Ipv4Addr::from_bits(storm::SENDERS.to_bits() + number);
        let socket = UdpSocket::bind((IpAddr::from(address), 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut client = Client { tunn, socket };
        client.connect().with_context(|| format!("client {number}"))?;
        clients.push(client);
        thread::sleep(PACE);
    }
    println!("{CONNECTED}");
    let count = u32::try_from(clients.len())?;
    ensure!(count > 0, "nobody in the crowd");
    let begin = clock::now();
    while begin.elapsed() < length {
        for client in &mut clients {
            client.say_nothing()?;
            thread::sleep(KEEPALIVE / count);
        }
    }
    Ok(())
}

/// Makes `count` pairs of keys: private ones, a line each, to the file; the public ones are returned.
///
/// # Errors
/// When there is no randomness, or the file cannot be written.
pub(super) fn make_keys(file: &Path, count: u16) -> Result<Vec<String>> {
    let (mut lines, mut public_keys) = (String::new(), Vec::new());
    let mut random = fs::File::open("/dev/urandom")?;
    for _ in 0..count {
        let mut bytes = [0; 32];
        std::io::Read::read_exact(&mut random, &mut bytes)?;
        let secret = StaticSecret::from(bytes);
        lines += &format!("{}\n", STANDARD.encode(secret.as_bytes()));
        public_keys.push(STANDARD.encode(PublicKey::from(&secret)));
    }
    fs::write(file, lines)?;
    Ok(public_keys)
}

fn decode(key: &str) -> Result<[u8; 32]> {
    let bytes = STANDARD.decode(key.trim()).ok().context("a key in base64")?;
    bytes.try_into().ok().context("a key of 32 bytes")
}

impl Client {
    /// Shakes hands, and confirms the session with an empty record.
    fn connect(&mut self) -> Result<()> {
        let mut out = [0; DATAGRAM];
        match self.tunn.format_handshake_initiation(&mut out, false) {
            TunnResult::WriteToNetwork(initiation) => self.socket.send(initiation)?,
            other => anyhow::bail!("no initiation: {other:?}"),
        };
        let mut answer = [0; DATAGRAM];
        let len = self.socket.recv(&mut answer).context("the server's answer")?;
        match self.tunn.decapsulate(None, &answer[..len], &mut out) {
            TunnResult::WriteToNetwork(confirmation) => self.socket.send(confirmation)?,
            other => anyhow::bail!("the server's answer: {other:?}"),
        };
        Ok(())
    }

    /// Sends an empty record.
    fn say_nothing(&mut self) -> Result<()> {
        let mut out = [0; DATAGRAM];
        if let TunnResult::WriteToNetwork(record) = self.tunn.encapsulate(&[], &mut out) {
            self.socket.send(record)?;
        }
        Ok(())
    }
}
