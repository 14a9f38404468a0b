//! WireGuard adapters, their ports and their clients.

use std::collections::BTreeMap;

use weft_config::{
    WireguardConfig, WireguardPeerConfig,
    api::{
        Direction, Port as PortView, PortState, Wireguard as WireguardView,
        WireguardPeer as PeerView,
    },
    vlan_json,
};
use weft_vlan::PortVlan;

use super::{ViewError, port::sum};
use crate::control::{
    state::Control,
    unknown::Unknown,
    wireguard::{Site, port_name},
};

impl Control {
    /// Returns every adapter, by name.
    pub(crate) fn view_wireguard(&self) -> Vec<WireguardView> {
        self.config.wireguard.iter().map(|(name, config)| self.adapter(name, config)).collect()
    }

    /// Returns one adapter.
    pub(crate) fn view_adapter(&self, name: &str) -> Result<WireguardView, ViewError> {
        let config = self.config.wireguard.get(name);
        let names = || self.config.wireguard.keys().map(String::as_str);
        let config = config.ok_or_else(|| Unknown::new("wireguard", name, names()))?;
        Ok(self.adapter(name, config))
    }

    /// Returns the ports of the adapters, by name.
    pub(super) fn view_adapter_ports(&self) -> impl Iterator<Item = PortView> {
        self.config.wireguard.iter().map(|(name, config)| {
            let (state, reason) = self.adapter_state(name);
            let (rx, tx) = self.adapter_counts(name);
            PortView {
                name: port_name(name),
                switch: config.switch.clone(),
                kind: "wireguard".to_owned(),
                device: None,
                socket: None,
                vm: None,
                vlan: vlan_json(&PortVlan::Access(config.vlan)),
                mtu: Some(config.mtu.into()),
                state,
                reason,
                rx,
                tx,
            }
        })
    }

    /// Says what is wrong with adapters.
    pub(super) fn adapter_problems(&self) -> Vec<String> {
        let names = self.config.wireguard.keys();
        let unreachable = names.filter_map(|name| Some((name, self.uapi.trouble(name)?)));
        let troubles = self.adapters.troubles().chain(unreachable);
        troubles.map(|(name, trouble)| format!("wireguard {name}: {trouble}")).collect()
    }

    fn adapter(&self, name: &str, config: &WireguardConfig) -> WireguardView {
        let (state, reason) = self.adapter_state(name);
        let (rx, tx) = self.adapter_counts(name);
        let site = self.adapters.get(name);
        let peers = config.peers.iter().map(|(name, config)| peer(site, name, config));
        let gateways = [
            config.gateway_v4.map(|it| it.to_string()),
            config.gateway_v6.map(|it| it.to_string()),
        ];
        let overlaps = config.overlaps.iter().map(ToString::to_string);
        WireguardView {
            name: name.to_owned(),
            switch: config.switch.clone(),
            vlan: config.vlan.get(),
            address: config.addresses.iter().map(ToString::to_string).collect(),
            gateway: gateways.into_iter().flatten().collect(),
            listen: config.listen.to_string(),
            mtu: config.mtu.into(),
            public_key: self.adapters.public_key(name).map(|key| key.to_string()),
            mac: site.map(|site| site.mac.to_string()),
            state,
            reason,
            rx,
            tx,
            refused: site.map(|site| named(site.keeper.site().counts.all())).unwrap_or_default(),
            peers: peers.collect(),
            problems: overlaps.chain(self.uapi.trouble(name).cloned()).collect(),
        }
    }

    fn adapter_state(&self, name: &str) -> (PortState, Option<String>) {
        match (self.adapters.get(name), self.adapters.trouble(name)) {
            (_, Some(trouble)) => (PortState::Failed, Some(trouble.clone())),
            (Some(_), None) => (PortState::Up, None),
            (None, None) => (PortState::Waiting, Some("it is being opened".to_owned())),
        }
    }

    fn adapter_counts(&self, name: &str) -> (Direction, Direction) {
        let blocks = || self.adapters.get(name).into_iter().flat_map(|site| site.counters.blocks());
        (sum(blocks().map(|block| &block.rx)), sum(blocks().map(|block| &block.tx)))
    }
}

fn peer(site: Option<&Site>, name: &str, config: &WireguardPeerConfig) -> PeerView {
    let mut view = PeerView {
        name: name.to_owned(),
        public_key: config.public_key.to_string(),
        preshared_key: config.preshared_key_file.is_some(),
        endpoint: config.endpoint.as_ref().map(ToString::to_string),
        allowed_ips: config.allowed_ips.iter().map(ToString::to_string).collect(),
        handshake_age_seconds: None,
        persistent_keepalive: config.persistent_keepalive.map(std::num::NonZeroU16::get),
        rx_bytes: 0,
        tx_bytes: 0,
        drops: BTreeMap::new(),
    };
    let Some((site, client)) = site.and_then(|site| Some((site, site.clients.get(name)?))) else {
        return view;
    };
    let status = client.peer.status();
    if let Some(endpoint) = status.endpoint {
        view.endpoint = Some(endpoint.to_string());
    }
    view.handshake_age_seconds = status.handshake_age.map(|age| age.as_secs());
    (view.rx_bytes, view.tx_bytes) = (status.received, status.sent);
    view.drops = named(site.keeper.site().counts_of(client.peer.id()));
    view
}

fn named(counts: BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect()
}
