//! Who captures, and follows what is dropped: bounded, named anew when ports change, taken from the workers at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use tokio::sync::mpsc;
use weft_capture::{Filter, FilterError, Way};
use weft_config::api::{Capture, CaptureDirection, CaptureRequest};
use weft_core::{PortId, Timestamp};
use weft_vlan::{VlanId, VlanSet};

use super::{
    state::{Control, Shared},
    unknown::Unknown,
};
use crate::{
    capture::{self, Begun, Names, Plot, Stop},
    clock,
};

/// Captures at a time.
const CAPTURES: usize = 4;
/// Clients that follow what is dropped, at a time.
const FOLLOWERS: usize = 8;
/// Bytes of the largest frame, and what is kept of each when nobody says.
const SNAPLEN_MAX: u32 = 262_144;

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// The user.
    pub(crate) uid: u32,
    /// The process.
    pub(crate) pid: i32,
}

/// Why nothing is captured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// Nothing has this name.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The filter cannot be read.
    #[error(transparent)]
    Filter(FilterError),
    /// The request makes no sense.
    #[error("{0}")]
    Senseless(&'static str),
    /// Others do it already.
    #[error("{0} do so already: {1}")]
    TooMany(usize, String),
    /// The system refuses.
    #[error("no thread can be started: {0}")]
    Thread(std::io::Error),
}

/// Those who capture or follow.
#[derive(Default)]
pub(super) struct Captures {
    running: BTreeMap<u64, Running>,
    last: u64,
}

struct Running {
    asker: Asker,
    since: Timestamp,
    /// `None` follows what is dropped.
    wanted: Option<CaptureRequest>,
    ports: Option<BTreeSet<String>>,
    names: Arc<ArcSwap<Names>>,
    stop: Stop,
}

/// A stream that has begun.
pub(crate) struct Stream {
    /// Its number.
    pub(crate) id: u64,
    /// What is sent.
    pub(crate) output: mpsc::Receiver<Bytes>,
}

/// Begins to capture for a client.
///
/// # Errors
/// Why it is not done.
pub(crate) async fn capture(
    control: &Shared,
    request: CaptureRequest,
    asker: Asker,
) -> Result<Stream, CaptureError> {
    let mut locked = control.lock().await;
    let plot = locked.plot(&request)?;
    let ports = (!request.ports.is_empty()).then(|| request.ports.iter().cloned().collect());
    let text = serde_json::to_string(&request).unwrap_or_default();
    tracing::info!(uid = asker.uid, pid = asker.pid, wanted = text, "capture begins");
    let limit = Some(request);
    let (id, begun) =
        locked.begin_stream(limit, ports, asker, CAPTURES, |id, workers, names| {
            capture::capture(id, workers, names, plot)
        })?;
    Ok(tend(control, id, begun))
}

/// Begins to tell a client what is dropped, in so many lines a second at most.
///
/// # Errors
/// Why it is not done.
pub(crate) async fn follow(
    control: &Shared,
    lines: usize,
    asker: Asker,
) -> Result<Stream, CaptureError> {
    let mut locked = control.lock().await;
    let (id, begun) = locked.begin_stream(None, None, asker, FOLLOWERS, |id, workers, names| {
        capture::follow(id, workers, names, lines)
    })?;
    locked.pool.pass().await;
    Ok(tend(control, id, begun))
}

/// Sees to it that the workers are told when a client's thread has ended.
fn tend(control: &Shared, id: u64, begun: Begun) -> Stream {
    let Begun { output, ended, .. } = begun;
    let control = control.clone();
    tokio::spawn(async move {
        let outcome = ended.await.unwrap_or_default();
        let mut control = control.lock().await;
        control.pool.untap(id);
        if let Some(Running { asker, wanted: Some(_), .. }) = control.captures.running.remove(&id) {
            let (frames, lost) = (outcome.frames, outcome.lost);
            tracing::info!(uid = asker.uid, pid = asker.pid, frames, lost, "capture ended");
        }
    });
    Stream { id, output }
}

impl Control {
    /// Returns the captures that run.
    pub(crate) fn view_captures(&self) -> Vec<Capture> {
        let now = clock::now();
        let captures = self.captures.running.iter().filter_map(|(&id, running)| {
            let age = now.as_micros().saturating_sub(running.since.as_micros());
            Some(Capture {
                id,
                uid: running.asker.uid,
                pid: running.asker.pid,
                age_seconds: Duration::from_micros(age).as_secs(),
                wanted: running.wanted.clone()?,
            })
        });
        captures.collect()
    }

    /// Ends a capture; `false` when there is none of this number.
    pub(crate) fn stop_capture(&self, id: u64) -> bool {
        let running = self.captures.running.get(&id).filter(|running| running.wanted.is_some());
        running.inspect(|running| running.stop.stop()).is_some()
    }

    /// Ends all of them.
    pub(super) fn stop_captures(&self) {
        self.captures.running.values().for_each(|running| running.stop.stop());
    }

    /// Tells those who capture what ports are called.
    pub(super) fn name_captured(&self) {
        for running in self.captures.running.values() {
            running.names.store(Arc::new(self.captured_names(running.ports.as_ref())));
        }
    }

    fn captured_names(&self, chosen: Option<&BTreeSet<String>>) -> Names {
        Names::new(self.named_ports(), chosen)
    }

    fn begin_stream(
        &mut self,
        wanted: Option<CaptureRequest>,
        ports: Option<BTreeSet<String>>,
        asker: Asker,
        limit: usize,
        begin: impl FnOnce(u64, usize, &Arc<ArcSwap<Names>>) -> std::io::Result<Begun>,
    ) -> Result<(u64, Begun), CaptureError> {
        let like = self
            .captures
            .running
            .values()
            .filter(|running| running.wanted.is_some() == wanted.is_some());
        let askers: Vec<String> =
            like.map(|it| format!("uid {} pid {}", it.asker.uid, it.asker.pid)).collect();
        if askers.len() >= limit {
            return Err(CaptureError::TooMany(askers.len(), askers.join(", ")));
        }
        let names = Arc::new(ArcSwap::from_pointee(self.captured_names(ports.as_ref())));
        let id = self.captures.last + 1;
        let mut begun = begin(id, self.pool.workers(), &names).map_err(CaptureError::Thread)?;
        self.captures.last = id;
        self.pool.tap(std::mem::take(&mut begun.taps));
        let (since, stop) = (clock::now(), begun.stop.clone());
        self.captures.running.insert(id, Running { asker, since, wanted, ports, names, stop });
        Ok((id, begun))
    }

    /// Makes sense of a request.
    fn plot(&self, request: &CaptureRequest) -> Result<Plot, CaptureError> {
        for port in &request.ports {
            if self.port_named(port).is_none() {
                return Err(self.no_port(port).into());
            }
        }
        if request.snaplen == Some(0) {
            return Err(CaptureError::Senseless("a snaplen of 0 keeps nothing"));
        }
        if request.count == Some(0) {
            return Err(CaptureError::Senseless("a count of 0 captures nothing"));
        }
        let text = request.filter.clone().unwrap_or_default();
        let filter = Filter::parse(&text).map_err(CaptureError::Filter)?;
        let vlans = match request.vlans.is_empty() {
            true => None,
            false => Some(self.vlans(&request.vlans)?),
        };
        Ok(Plot {
            vlans,
            way: request.direction.map(|direction| match direction {
                CaptureDirection::In => Way::In,
                CaptureDirection::Out => Way::Out,
            }),
            drops: request.drops,
            filter: (filter, text),
            snaplen: request.snaplen.unwrap_or(SNAPLEN_MAX).min(SNAPLEN_MAX),
            count: request.count,
            duration: request.duration_seconds.map(Duration::from_secs),
        })
    }

    fn vlans(&self, texts: &[String]) -> Result<VlanSet, CaptureError> {
        let mut set = VlanSet::new();
        for text in texts {
            let vlan = match text.parse() {
                Ok(number) => VlanId::new(number),
                Err(_) => self.vlan_named(text),
            };
            set.insert(vlan.ok_or_else(|| Unknown::new("VLAN", text, self.vlan_names()))?);
        }
        Ok(set)
    }

    /// Returns every port, with its name.
    pub(super) fn named_ports(&self) -> Vec<(PortId, &str)> {
        let ports = self.ports.iter().map(|(name, port)| (port.id, name.as_str()));
        let tunnels = self.tunnels.ports().map(|port| (port.id, port.name.as_str()));
        let adapters = self.adapters.running().map(|(_, site)| (site.id, site.port.as_str()));
        ports.chain(tunnels).chain(adapters).collect()
    }
}
