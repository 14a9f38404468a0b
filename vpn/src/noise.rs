//! Noise_IKpsk2 by snow, with a resolver of ours for what is drawn and agreed on. Noise rev. 34 §7 and §9.
//!
//! ```text
//! ← s
//! …
//! → e, es, s, ss     {TAI64N}
//! ← e, ee, se, psk   {index, or index and TAI64N}
//! ```

use std::sync::OnceLock;

use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random as SnowRandom};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::message::TIMESTAMP;
use crate::session::Keys;
use crate::x25519;
use crate::{PresharedKey, PrivateKey, PublicKey, Random, Suite, Tai64n};

/// Without a preshared key both ends mix in zeros, as in WireGuard.
const NO_PSK: [u8; 32] = [0; 32];

/// The longest message and the longest payload that a handshake here has.
const LONGEST: usize = 128;

/// Why a handshake does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoiseError {
    /// A point of low order came.
    LowOrder,
    /// What came does not open: keys differ, or it was changed.
    Undecipherable,
}

/// The randomness of one handshake's ephemeral key.
pub(crate) struct Ephemeral(Zeroizing<[u8; 32]>);

impl Ephemeral {
    pub(crate) fn draw(random: &mut impl Random) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        random.fill(&mut *secret);
        Self(secret)
    }
}

/// A handshake that this host began.
pub(crate) struct Initiator(HandshakeState);

impl Initiator {
    /// Begins a handshake; also returns Noise message 1.
    pub(crate) fn begin(
        suite: Suite,
        prologue: &[u8],
        ephemeral: Ephemeral,
        local: &PrivateKey,
        remote: &PublicKey,
        psk: Option<&PresharedKey>,
        timestamp: Tai64n,
    ) -> Result<(Self, Vec<u8>), NoiseError> {
        let builder = builder(suite, prologue, ephemeral, local)?;
        let psk = psk.map_or(&NO_PSK, PresharedKey::as_bytes);
        let mut state =
            builder.remote_public_key(remote.as_bytes())?.psk(2, psk)?.build_initiator()?;
        let message = write(&mut state, &timestamp.to_bytes())?;
        Ok((Self(state), message))
    }

    /// Reads Noise message 2; returns its payload. After an error the handshake goes on as before.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        read(&mut self.0, message)
    }

    /// The keys, once message 2 has been read.
    pub(crate) fn keys(mut self) -> Keys {
        let (seal, open) = split(&mut self.0);
        Keys { seal, open }
    }
}

/// A handshake that another host began, whose first message has been read.
pub(crate) struct Responder(HandshakeState);

/// What Noise message 1 says.
pub(crate) struct Begun {
    pub(crate) responder: Responder,
    pub(crate) remote: PublicKey,
    pub(crate) timestamp: Tai64n,
}

impl Responder {
    /// Reads Noise message 1.
    pub(crate) fn read(
        suite: Suite,
        prologue: &[u8],
        ephemeral: Ephemeral,
        local: &PrivateKey,
        message: &[u8],
    ) -> Result<Begun, NoiseError> {
        let mut state = builder(suite, prologue, ephemeral, local)?.build_responder()?;
        let payload = read(&mut state, message)?;
        let timestamp: [u8; TIMESTAMP] =
            payload.try_into().map_err(|_| NoiseError::Undecipherable)?;
        let remote = state.get_remote_static().and_then(|key| key.try_into().ok());
        let remote = PublicKey::new(remote.ok_or(NoiseError::Undecipherable)?);
        // Of low order it would have failed before.
        let remote = remote.map_err(|_| NoiseError::LowOrder)?;
        Ok(Begun { responder: Self(state), remote, timestamp: Tai64n::from_bytes(timestamp) })
    }

    /// Writes Noise message 2 with `payload`; also returns the keys.
    pub(crate) fn answer(
        mut self,
        psk: Option<&PresharedKey>,
        payload: &[u8],
    ) -> Result<(Vec<u8>, Keys), NoiseError> {
        let psk = psk.map_or(&NO_PSK, PresharedKey::as_bytes);
        self.0.set_psk(2, psk)?;
        let message = write(&mut self.0, payload)?;
        let (open, seal) = split(&mut self.0);
        Ok((message, Keys { seal, open }))
    }
}

fn builder<'a>(
    suite: Suite,
    prologue: &'a [u8],
    ephemeral: Ephemeral,
    local: &'a PrivateKey,
) -> Result<Builder<'a>, NoiseError> {
    let builder = Builder::with_resolver(params(suite), Box::new(Resolver(ephemeral)));
    Ok(builder.prologue(prologue)?.local_private_key(local.as_bytes())?)
}

fn params(suite: Suite) -> NoiseParams {
    static PARAMS: OnceLock<[NoiseParams; 2]> = OnceLock::new();
    let all = PARAMS.get_or_init(|| {
        Suite::ALL.map(|suite| suite.noise().parse().expect("a name that snow knows"))
    });
    all[usize::from(suite.byte())].clone()
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
    let mut message = vec![0; payload.len() + LONGEST];
    let len = state.write_message(payload, &mut message)?;
    message.truncate(len);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
    let mut payload = vec![0; message.len()];
    let len = state.read_message(message, &mut payload)?;
    payload.truncate(len);
    Ok(payload)
}

/// The initiator's sealing key and the responder's.
fn split(state: &mut HandshakeState) -> (Zeroizing<[u8; 32]>, Zeroizing<[u8; 32]>) {
    let (initiators, responders) = state.dangerously_get_raw_split();
    (Zeroizing::new(initiators), Zeroizing::new(responders))
}

impl From<snow::Error> for NoiseError {
    fn from(error: snow::Error) -> Self {
        match error {
            snow::Error::Dh => Self::LowOrder,
            _ => Self::Undecipherable,
        }
    }
}

/// Ephemeral keys from the caller's randomness, X25519 that refuses zeros, the rest as snow has it.
struct Resolver(Ephemeral);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn SnowRandom>> {
        Some(Box::new(Once(Some(self.0.0.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::Curve25519 => Some(Box::<KeyPair>::default()),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Gives its bytes away once: a second ephemeral key of one handshake would be the first again.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl SnowRandom for Once {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        let bytes =
            self.0.take().filter(|bytes| bytes.len() == out.len()).ok_or(snow::Error::Rng)?;
        out.copy_from_slice(&*bytes);
        Ok(())
    }
}

#[derive(Default)]
struct KeyPair {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl Dh for KeyPair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret.copy_from_slice(secret);
        self.public = x25519::public(&self.secret);
    }

    fn generate(&mut self, random: &mut dyn SnowRandom) -> Result<(), snow::Error> {
        random.try_fill_bytes(&mut *self.secret)?;
        self.public = x25519::public(&self.secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.secret
    }

    fn dh(&self, point: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let point = point.first_chunk().ok_or(snow::Error::Dh)?;
        let shared = x25519::agree(&self.secret, point).map_err(|_| snow::Error::Dh)?;
        out[..32].copy_from_slice(&*shared);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
