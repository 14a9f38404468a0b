//! Answers: the state of the control plane in the words of the API.

mod fdb;
mod port;
mod switch;
mod trace;
mod tunnel;
mod wireguard;

use std::collections::BTreeMap;

use weft_config::{
    PortType,
    api::{ConfigDocument, PortState, Status},
};
use weft_core::Timestamp;
use weft_vlan::VlanId;

pub(crate) use self::fdb::FdbFilter;
pub(super) use self::tunnel::milliseconds;
use super::{candidate::Candidate, state::Control, unknown::Unknown};
use crate::{clock, tunnel::Report};

/// Addresses of a port that `status` shows.
const MACS_PER_PORT: usize = 16;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// Nothing has this name.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The port is not in operation.
    #[error("port `{0}` is disabled: no frame enters it")]
    Disabled(String),
    /// The request describes no frame.
    #[error("{0}")]
    BadFrame(String),
    /// The request describes no ping.
    #[error("{0}")]
    BadPing(String),
}

impl Control {
    /// Returns one screen's worth of everything.
    pub(crate) fn view_status(&self, report: Option<&Report>) -> Result<Status, ViewError> {
        let mut macs = self.view_fdb(&FdbFilter::default())?;
        macs.sort_by(|a, b| (&a.port, a.age_seconds).cmp(&(&b.port, b.age_seconds)));
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        macs.retain(|entry| {
            let count = shown.entry(entry.port.clone()).or_default();
            *count += 1;
            *count <= MACS_PER_PORT
        });
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: seconds_between(self.started, clock::now()),
            workers: self.pool.workers(),
            config: self.file.exists().then(|| self.file.path().display().to_string()),
            revision: self.revision(),
            candidate: self.candidate.as_ref().map(Candidate::view),
            switches: self.view_switches(),
            vlans: self.view_vlans(),
            ports: self.view_ports(),
            segments: self.view_segments(),
            peers: self.view_peers(report),
            vpn: self.view_vpn(report),
            wireguard: self.view_wireguard(),
            macs,
            problems: self.problems(),
        })
    }

    /// Says what is wrong, with a hint.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, port) in &self.ports {
            let (state, reason) = port.state();
            let is_wrong = match state {
                PortState::Up => false,
                PortState::Down => port.config.enabled,
                // A guest that is switched off is no trouble; a device that does not come may be misspelt.
                PortState::Waiting => {
                    !matches!(port.config.kind, PortType::Stream(_) | PortType::VhostUser { .. })
                }
                PortState::Failed => true,
            };
            if is_wrong && let Some(reason) = reason {
                problems.push(format!("port {name}: {reason}"));
            }
            problems.extend(port.used().map(|used| {
                format!("port {name}: the host uses its device, too, and weftd could not open it again: {used}")
            }));
            problems.extend(port.wrong_mtu(name).map(|wrong| format!("port {name}: {wrong}")));
        }
        let wanted = self.config.daemon.workers.get();
        if wanted != self.pool.workers() {
            problems.push(format!("the file asks for {wanted} workers: restart weftd to get them"));
        }
        problems.extend(self.tunnel_problems());
        problems.extend(self.adapter_problems());
        problems.extend(self.config.notes());
        if self.file.text() != self.running {
            problems.push(
                "transient changes are running that are not in the file: `weftctl diff` shows them"
                    .to_owned(),
            );
        }
        problems
    }

    /// Returns the running configuration and what is in the file now.
    pub(crate) fn view_config(&self) -> ConfigDocument {
        let file = self.file.read().ok().flatten().unwrap_or_else(|| self.file.text().to_owned());
        ConfigDocument {
            running: self.running.clone(),
            file,
            path: Some(self.file.path().display().to_string()),
            revision: self.revision(),
            candidate: self.candidate.as_ref().map(Candidate::view),
        }
    }

    /// Returns the VLAN that has a name.
    pub(crate) fn vlan_named(&self, name: &str) -> Option<VlanId> {
        self.config.vlans.get(name).copied()
    }

    /// Returns the names of VLANs.
    pub(crate) fn vlan_names(&self) -> Vec<&str> {
        self.config.vlans.keys().map(String::as_str).collect()
    }

    fn ageing(&self, switch: &str) -> std::time::Duration {
        self.config.switches.get(switch).map(|config| config.mac_ageing).unwrap_or_default()
    }

    fn entries(&self, switch: &str) -> Vec<weft_core::Entry> {
        self.switches
            .get(switch)
            .map(|running| running.fdb.entries(clock::now(), self.ageing(switch)))
            .unwrap_or_default()
    }
}

fn seconds_between(from: Timestamp, to: Timestamp) -> u64 {
    to.as_micros().saturating_sub(from.as_micros()) / 1_000_000
}
