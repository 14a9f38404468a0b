//! Uplinks: NICs of the host's that are ports. Their addresses and routes live on the device of a `tap` port, their heir,
//! for as long as both ports are open, and go back whenever one of them is not.
//!
//! Whoever has a NIC adopted by a command is kept from locking himself out: the configuration stands as one that waits
//! for its confirmation until the gateways have answered by the heir, or is taken back.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use weft_config::{
    Config, Edit,
    api::{AdoptUplink, Changed, Uplink},
};

use super::{
    change::{ChangeError, edited},
    ports::{device_of, refused},
    state::{Control, Link, Open, Port, Shared},
};
use crate::{
    clock,
    device::{Carried, Gateways},
};

/// How long gateways have to answer before a NIC is adopted, and after it.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(5);
/// How long the candidate stands: longer than gateways have, and than a daemon takes to be started again.
const CANDIDATE_PATIENCE: Duration = Duration::from_secs(30);
/// How long what has come to a NIC stays there: a DHCP client gives it an address, and routes by that one later.
const SETTLING: Duration = Duration::from_secs(2);

/// How long a NIC that could not be adopted is left alone.
const RETRY: Duration = Duration::from_secs(30);

/// The uplinks whose heirs have what is theirs.
#[derive(Default)]
pub(super) struct Uplinks {
    adopted: BTreeMap<String, Carried>,
    /// NICs to be looked after, with the time: something has changed on them or on their heirs, or they could not be
    /// adopted.
    due: BTreeMap<String, Duration>,
}

/// Why a NIC is not adopted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UplinkError {
    /// Its device cannot be looked at.
    #[error("{0}")]
    Unusable(String),
    /// Nothing would tell whether the host is still reached.
    #[error("no gateway of {device} answers now: {}", listed(.silent))]
    SilentBefore {
        /// The NIC.
        device: String,
        /// Its gateways.
        silent: Vec<IpAddr>,
    },
    /// It was adopted, and given back.
    #[error("{} did not answer by port {port} within {} s; {device} has its addresses back, and nothing is changed", listed(.silent), GATEWAY_PATIENCE.as_secs())]
    SilentAfter {
        /// The NIC.
        device: String,
        /// The port of its heir.
        port: String,
        /// The gateways that answered before.
        silent: Vec<IpAddr>,
    },
    /// The port did not open.
    #[error("{device} was not adopted: {reason}; nothing is changed")]
    NotAdopted {
        /// The NIC.
        device: String,
        /// What its port says.
        reason: String,
    },
    /// Somebody else took the candidate back, or confirmed it.
    #[error(
        "somebody else has ended the waiting for the gateways meanwhile: `weftctl uplink list` shows what is so"
    )]
    Ended,
}

impl UplinkError {
    /// Returns the stable word for programs, as in [`weft_config::api::ErrorBody::code`].
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unusable(_) | Self::NotAdopted { .. } => "not-adopted",
            Self::SilentBefore { .. } | Self::SilentAfter { .. } => "gateway-silent",
            Self::Ended => "nothing-pending",
        }
    }

    /// Returns what to do next.
    pub(crate) fn help(&self) -> Option<&'static str> {
        match self {
            Self::Unusable(_) | Self::NotAdopted { .. } | Self::Ended => None,
            Self::SilentBefore { .. } => Some(
                "nothing would tell whether the host is still reached; `--unchecked` adopts the device all the same",
            ),
            Self::SilentAfter { .. } => Some(
                "are both ports in the VLAN of the gateway? `weftctl port list` shows it; `--unchecked` asks no gateway",
            ),
        }
    }
}

fn listed(ips: &[IpAddr]) -> String {
    ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

/// Adopts a NIC at a user's request, and takes that back unless the gateways that answered before do so after it.
pub(crate) async fn adopt(
    control: Shared,
    adopt: AdoptUplink,
    uid: u32,
    expected: Option<String>,
) -> Result<Changed, ChangeError> {
    let AdoptUplink { device, port, unchecked, .. } = adopt.clone();
    let edit = Edit::AdoptUplink(adopt);
    let mut gateways = {
        let mut control = control.lock().await;
        control.check_revision(expected.as_deref())?;
        let (text, _) = edited(&edit, &control.running)?;
        if unchecked || text == control.running {
            return control.edit(&edit, super::Permanence::Written, uid).await;
        }
        control.gateways(&device).await?
    };
    let nothing_to_ask = gateways.is_empty();
    let silent = gateways.keep_answering(&device, GATEWAY_PATIENCE).await;
    let answered = gateways.families();
    if gateways.is_empty() && !nothing_to_ask {
        return Err(UplinkError::SilentBefore { device, silent }.into());
    }
    let (heir, candidate) = {
        let mut control = control.lock().await;
        control.check_revision(expected.as_deref())?;
        let (text, config) = edited(&edit, &control.running)?;
        let file = control.edited_file(&edit)?;
        control.stand(text.clone(), file, config, CANDIDATE_PATIENCE, uid).await?;
        match control.heir_device(&device) {
            Ok(heir) => (heir, text),
            Err(reason) => {
                control.take_back(Some(uid)).await?;
                return Err(UplinkError::NotAdopted { device, reason }.into());
            }
        }
    };
    let silent = gateways.keep_answering(&heir, GATEWAY_PATIENCE).await;
    let mut control = control.lock().await;
    let is_ours = control.candidate.as_ref().is_some_and(|own| own.text == candidate);
    if !is_ours || !control.uplinks.adopted.contains_key(&device) {
        return Err(UplinkError::Ended.into());
    }
    // IPv4 and IPv6 are two networks: each that was reached has to be.
    if gateways.families() != answered {
        control.take_back(Some(uid)).await?;
        return Err(UplinkError::SilentAfter { device, port, silent }.into());
    }
    let confirmed = control.confirm(uid);
    if confirmed.is_err() {
        control.take_back(Some(uid)).await?;
    }
    let mut changed = confirmed?;
    for gateway in silent {
        changed
            .notes
            .push(format!("gateway {gateway} has not answered by {heir}, another one has"));
    }
    if nothing_to_ask {
        changed.notes.push(format!(
            "{device} has no route by a gateway: nothing was asked whether the host is still reached"
        ));
    }
    changed.notes.push(format!(
        "the host is reached by {heir} now: firewall rules, policy routes and network managers that name {device} are to \
         name {heir}"
    ));
    Ok(changed)
}

impl Control {
    /// Has a NIC's heir take over what is on it, if it is an uplink. The NIC can be opened as a port then.
    pub(super) async fn adopt(&mut self, device: &str) -> Result<(), Link> {
        let Some(uplink) = self.config.uplinks.get(device) else { return Ok(()) };
        let Some(heir) = self.heir_at(&uplink.port).map(str::to_owned) else {
            let reason = format!("port {} is to have its addresses, and is not up", uplink.port);
            return Err(Link::Waiting(reason));
        };
        let mtu = self.ports.get(&uplink.port).and_then(|port| port.config.mtu);
        let carried = self.devices.adopt(device, &heir, mtu).await.map_err(refused)?;
        let (addresses, routes) = (carried.addresses.len(), carried.routes.len());
        if self.uplinks.adopted.insert(device.to_owned(), carried).is_none() {
            tracing::info!(
                device,
                heir,
                addresses,
                routes,
                "the uplink's addresses are carried over"
            );
        }
        Ok(())
    }

    /// Gives a NIC back what its heir has of it, if it is an adopted uplink.
    pub(super) async fn give_back(&mut self, device: &str) {
        if self.uplinks.adopted.remove(device).is_none() {
            return;
        }
        self.uplinks.due.remove(device);
        match self.devices.give_back(device).await {
            Ok(()) => tracing::info!(device, "the uplink has its addresses back"),
            Err(error) => tracing::error!(device, %error, "the uplink lacks some of what it had"),
        }
    }

    /// Takes an uplink out of operation that cannot be what it is to be: the host goes on by the NIC, and it is tried
    /// again later.
    async fn fall_back(&mut self, device: &str, reason: String) {
        tracing::warn!(device, reason, "the uplink is given back");
        if let Some((port, _)) = self.config.port_on(device) {
            let port = port.to_owned();
            self.close_port(&port, reason).await;
        }
        self.give_back(device).await;
        self.retry_later(device);
    }

    /// Has it tried again to adopt an uplink, some time later.
    pub(super) fn retry_later(&mut self, device: &str) {
        if self.config.uplinks.contains_key(device) {
            self.uplinks.due.insert(device.to_owned(), clock::elapsed() + RETRY);
        }
    }

    /// Gives back what cannot stay with its heir when a configuration is put in force, and ports close. The NICs' ports
    /// close with it.
    pub(super) async fn give_back_leaving(&mut self, config: &Config, leaving: &mut Vec<String>) {
        let stays = |device: &String| {
            let nic = config.port_on(device).map(|(name, _)| name.to_owned());
            let heir = config.uplinks.get(device).map(|uplink| uplink.port.clone());
            heir == self.config.uplinks.get(device).map(|uplink| uplink.port.clone())
                && [nic, heir]
                    .iter()
                    .all(|port| port.as_ref().is_some_and(|port| !leaving.contains(port)))
        };
        let going: Vec<String> =
            self.uplinks.adopted.keys().filter(|device| !stays(device)).cloned().collect();
        for device in going {
            self.give_back(&device).await;
            if let Some((port, _)) = self.config.port_on(&device) {
                leaving.push(port.to_owned());
            }
        }
        leaving.sort();
        leaving.dedup();
    }

    /// Gives back what an earlier daemon had adopted and this configuration does not.
    pub(super) async fn give_back_unless_wanted(&self, config: &Config) {
        let is_on = |name: &str| config.ports.get(name).is_some_and(|port| port.enabled);
        let wanted = config.uplinks.iter().filter(|(device, uplink)| {
            is_on(&uplink.port) && config.port_on(device).is_some_and(|(name, _)| is_on(name))
        });
        let wanted: Vec<&str> = wanted.map(|(device, _)| device.as_str()).collect();
        self.give_back_all_but(&wanted).await;
    }

    /// Gives back what an earlier daemon had adopted and this one could not.
    pub(super) async fn give_back_what_has_no_heir(&self) {
        let adopted: Vec<&str> = self.uplinks.adopted.keys().map(String::as_str).collect();
        self.give_back_all_but(&adopted).await;
    }

    async fn give_back_all_but(&self, kept: &[&str]) {
        for error in self.devices.give_back_all(kept).await {
            tracing::error!(%error, "an uplink did not get its addresses back");
        }
    }

    /// Gives the device of a port that was opened anew what belongs to it.
    pub(super) async fn fill_heir(&mut self, port: &str) {
        let is_its = |(device, uplink): &(&String, &weft_config::UplinkConfig)| {
            uplink.port == port && self.uplinks.adopted.contains_key(*device)
        };
        let Some((device, _)) = self.config.uplinks.iter().find(is_its) else { return };
        let device = device.clone();
        if let Err(Link::Failed(reason) | Link::Waiting(reason)) = self.adopt(&device).await {
            self.fall_back(&device, reason).await;
        }
    }

    /// Tells whether news of a device's addresses and routes are of a NIC or an heir: they are looked after once they
    /// have settled.
    pub(super) fn is_of_an_uplink(&mut self, index: u32) -> bool {
        let adopted = self.uplinks.adopted.keys().find(|device| {
            let nic = self.config.port_on(device).map(|(name, _)| name);
            let heir = self.config.uplinks.get(*device).map(|uplink| uplink.port.as_str());
            [nic, heir]
                .into_iter()
                .flatten()
                .any(|name| self.ports.get(name).and_then(Port::device_index) == Some(index))
        });
        let Some(device) = adopted.cloned() else { return false };
        // What goes on and on does not put it off.
        self.uplinks.due.entry(device).or_insert_with(|| clock::elapsed() + SETTLING);
        true
    }

    /// Carries over what has come to NICs since, and gives back what has lost its heir.
    pub(super) async fn settle_uplinks(&mut self) {
        let now = clock::elapsed();
        let due: Vec<String> = self
            .uplinks
            .due
            .iter()
            .filter(|(_, when)| **when <= now)
            .map(|(device, _)| device.clone())
            .collect();
        for device in due {
            self.uplinks.due.remove(&device);
            if !self.uplinks.adopted.contains_key(&device) {
                self.open_ports_on(&device).await;
            } else if let Err(Link::Failed(reason) | Link::Waiting(reason)) =
                self.adopt(&device).await
            {
                self.fall_back(&device, reason).await;
            }
        }
        let adopted: Vec<String> = self.uplinks.adopted.keys().cloned().collect();
        for device in adopted {
            let nic = self.config.port_on(&device).and_then(|(name, _)| self.ports.get(name));
            let reason = match self.heir_device(&device) {
                Err(reason) => reason,
                Ok(_) if nic.is_none_or(|nic| !matches!(nic.link, Link::Open(_))) => {
                    nic.and_then(|port| port.state().1).unwrap_or_default()
                }
                Ok(_) => continue,
            };
            self.fall_back(&device, reason).await;
        }
    }

    /// Returns the device of a NIC's heir, or in words why it has none.
    fn heir_device(&self, device: &str) -> Result<String, String> {
        let Some(uplink) = self.config.uplinks.get(device) else {
            return Err("it is no uplink any more".to_owned());
        };
        let heir = self.heir_at(&uplink.port);
        let heir = heir.ok_or_else(|| format!("port {} is not up", uplink.port))?;
        if !self.uplinks.adopted.contains_key(device) {
            let nic = self.config.port_on(device).and_then(|(name, _)| self.ports.get(name));
            return Err(nic.and_then(|port| port.state().1).unwrap_or_default());
        }
        Ok(heir.to_owned())
    }

    /// Returns the device of an open `tap` port that is seen from here.
    fn heir_at(&self, port: &str) -> Option<&str> {
        match self.ports.get(port) {
            Some(Port { link: Link::Open(Open { device: Some(_), .. }), config, .. }) => {
                device_of(config)
            }
            _ => None,
        }
    }

    /// Returns the port that has, or is to have, the addresses of a port's device.
    pub(super) fn heir_of(&self, port: &Port) -> Option<&Port> {
        let uplink = self.config.uplinks.get(device_of(&port.config)?)?;
        self.ports.get(&uplink.port)
    }

    async fn gateways(&self, device: &str) -> Result<Gateways, UplinkError> {
        self.devices
            .gateways(device)
            .await
            .map_err(|refusal| UplinkError::Unusable(refusal.to_string()))
    }

    /// Returns the uplinks.
    pub(crate) fn view_uplinks(&self) -> Vec<Uplink> {
        let uplinks = self.config.uplinks.iter().map(|(device, uplink)| {
            let carried = self.uplinks.adopted.get(device);
            let heir = self.ports.get(&uplink.port).and_then(|port| device_of(&port.config));
            Uplink {
                device: device.clone(),
                port: uplink.port.clone(),
                heir: heir.unwrap_or_default().to_owned(),
                adopted: carried.is_some(),
                addresses: carried.map(|carried| carried.addresses.clone()).unwrap_or_default(),
                routes: carried.map(|carried| carried.routes.clone()).unwrap_or_default(),
                reason: self.heir_device(device).err(),
            }
        });
        uplinks.collect()
    }
}
