//! What is asked of peers: how they are, a ping, a reset. The keeper answers, and the control plane's lock is free
//! meanwhile.

use std::time::Duration;

use weft_config::api::{PeerReset, Ping, PingRequest};
use weft_vpn::{Control as Word, LARGEST_UDP_PAYLOAD, PeerId, record_len};

use super::{
    state::{Control, Shared},
    view::{ViewError, milliseconds},
};
use crate::tunnel::{Command, Report};

/// Bytes of the payload of the least datagram that asks for an answer.
const LEAST: usize = record_len(Word::ROOM);
/// How long an answer is waited for unless told otherwise, in milliseconds.
const PATIENCE: u32 = 1000;
/// How long it is waited for at most.
const PATIENCE_MAX: u32 = 10_000;

/// Asks how the tunnels are; `None` where none runs.
pub(crate) async fn report(control: &Shared) -> Option<Report> {
    let asked = control.lock().await.tunnels.ask(Command::Report)?;
    asked.await.ok()
}

/// Asks a peer for an answer.
pub(crate) async fn ping(
    control: &Shared,
    name: &str,
    request: &PingRequest,
) -> Result<Ping, ViewError> {
    let size = request.size.map(size).transpose()?;
    let patience = request.timeout_ms.unwrap_or(PATIENCE);
    if !(1..=PATIENCE_MAX).contains(&patience) {
        return Err(ViewError::BadPing(format!(
            "an answer is waited for 1 to {PATIENCE_MAX} ms, not {patience}"
        )));
    }
    let failed = |reason: String| Ping { reason: Some(reason), ..Ping::default() };
    let asked = {
        let control = control.lock().await;
        let Some(peer) = control.running_peer(name)? else {
            return Ok(failed(control.why_no_tunnels()));
        };
        control.tunnels.ask(|answer| Command::Ping(peer, size, answer))
    };
    let asked = match asked {
        Some(asked) => asked.await,
        None => return Ok(failed(GONE.to_owned())),
    };
    let asked = match asked {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) => return Ok(failed(error.to_string())),
        Err(_) => return Ok(failed(GONE.to_owned())),
    };
    let sent = Ping {
        endpoint: Some(asked.to.to_string()),
        size: u32::try_from(asked.size).ok(),
        ..Ping::default()
    };
    let patience = Duration::from_millis(patience.into());
    Ok(match tokio::time::timeout(patience, asked.answer).await {
        Ok(Ok(took)) => Ping { rtt_ms: Some(milliseconds(took)), ..sent },
        Ok(Err(_)) => Ping { reason: Some(GONE.to_owned()), ..sent },
        Err(_) => {
            let reason = format!("no answer within {} ms", patience.as_millis());
            Ping { reason: Some(reason), ..sent }
        }
    })
}

const GONE: &str = "it was removed meanwhile";

fn size(size: u32) -> Result<usize, ViewError> {
    let largest = usize::from(LARGEST_UDP_PAYLOAD);
    let asked = usize::try_from(size).unwrap_or(usize::MAX);
    if !(LEAST..=largest).contains(&asked) {
        return Err(ViewError::BadPing(format!(
            "a datagram that asks for an answer has {LEAST} to {largest} bytes, not {size}"
        )));
    }
    Ok(asked)
}

/// Has a peer begin anew.
pub(crate) async fn reset(control: &Shared, name: &str) -> Result<PeerReset, ViewError> {
    let asked = {
        let control = control.lock().await;
        match control.running_peer(name)? {
            Some(peer) => control.tunnels.ask(|answer| Command::Reset(peer, answer)),
            None => None,
        }
    };
    let nothing = PeerReset { sessions: 0, timestamp: false };
    let Some(asked) = asked else { return Ok(nothing) };
    Ok(asked.await.map_or(nothing, |reset| PeerReset {
        sessions: reset.sessions,
        timestamp: reset.timestamp,
    }))
}

impl Control {
    /// Returns the number of a configured peer; `None` where the tunnels do not run.
    fn running_peer(&self, name: &str) -> Result<Option<PeerId>, ViewError> {
        let configured = self.config.vpn.as_ref().is_some_and(|vpn| vpn.peers.contains_key(name));
        if !configured {
            return Err(self.no_peer(name).into());
        }
        Ok(self.tunnels.peer(name).map(|tunnel| tunnel.peer.id()))
    }

    /// Says why no tunnel runs although one is configured.
    pub(super) fn why_no_tunnels(&self) -> String {
        self.tunnels.trouble.clone().unwrap_or_else(|| "the tunnels have not begun".to_owned())
    }
}
