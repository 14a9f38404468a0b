//! Switches and their VLANs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use weft_config::api::{Switch as SwitchView, Vlan as VlanView};
use weft_vlan::{Native, PortVlan, VlanId};

use crate::control::state::Control;

impl Control {
    /// Returns every switch, by name.
    pub(crate) fn view_switches(&self) -> Vec<SwitchView> {
        let view = |(name, config): (&String, &weft_config::SwitchConfig)| SwitchView {
            name: name.clone(),
            mac_ageing_seconds: config.mac_ageing.as_secs(),
            mac_limit: config.mac_limit,
            macs: self.switches.get(name).map_or(0, |switch| switch.fdb.len()),
            ports: self.modes(name).into_iter().map(|(port, _)| port.clone()).collect(),
        };
        self.config.switches.iter().map(view).collect()
    }

    /// Returns the VLANs of every switch: those that are named, native or on an access or dot1q-tunnel port,
    /// and those that a trunk names one by one or that hold an address.
    pub(crate) fn view_vlans(&self) -> Vec<VlanView> {
        let names: BTreeMap<VlanId, &String> =
            self.config.vlans.iter().map(|(name, &vlan)| (vlan, name)).collect();
        let mut views = Vec::new();
        for switch in self.config.switches.keys() {
            let ports = self.modes(switch);
            let mut macs: BTreeMap<VlanId, usize> = BTreeMap::new();
            for entry in self.entries(switch) {
                *macs.entry(entry.vlan).or_default() += 1;
            }
            let mut vlans: BTreeSet<VlanId> = names.keys().chain(macs.keys()).copied().collect();
            for (_, mode) in &ports {
                match &**mode {
                    PortVlan::Access(vlan) | PortVlan::Dot1qTunnel { vlan, .. } => {
                        vlans.insert(*vlan);
                    }
                    PortVlan::Trunk { members, native, .. } => {
                        vlans.extend(native.map(Native::vlan));
                        // A range says what may be there, not what is.
                        vlans.extend(
                            members
                                .ranges()
                                .into_iter()
                                .filter(|(first, last)| first == last)
                                .map(|(vlan, _)| vlan),
                        );
                    }
                }
            }
            for vlan in vlans {
                let of = |tagged: bool| {
                    let leaves = |mode: &PortVlan| {
                        mode.is_member(vlan) && leaves_tagged(mode, vlan) == tagged
                    };
                    ports
                        .iter()
                        .filter(|(_, mode)| leaves(mode))
                        .map(|(name, _)| (*name).clone())
                        .collect()
                };
                views.push(VlanView {
                    switch: switch.clone(),
                    vlan: vlan.get(),
                    name: names.get(&vlan).map(|&name| name.clone()),
                    untagged: of(false),
                    tagged: of(true),
                    macs: macs.get(&vlan).copied().unwrap_or(0),
                });
            }
        }
        views
    }

    /// Returns the ports of a switch by name, then those of tunnels and of WireGuard adapters, with their VLAN modes.
    fn modes(&self, switch: &str) -> Vec<(&String, Cow<'_, PortVlan>)> {
        let ports = self.ports.iter().filter(|(_, port)| port.config.switch == switch);
        let ports = ports.map(|(name, port)| (name, Cow::Borrowed(&port.config.vlan)));
        let tunnels = self.tunnels.ports().filter(|port| port.switch == switch);
        let tunnels = tunnels.map(|port| (&port.name, Cow::Owned(port.vlan())));
        let adapters = self.adapters.running().filter(|(_, site)| site.switch() == switch);
        let adapters = adapters.map(|(_, site)| (&site.port, Cow::Owned(site.vlan())));
        ports.chain(tunnels).chain(adapters).collect()
    }
}

fn leaves_tagged(mode: &PortVlan, vlan: VlanId) -> bool {
    match mode {
        PortVlan::Access(_) | PortVlan::Dot1qTunnel { .. } => false,
        PortVlan::Trunk { native, .. } => *native != Some(Native::Untagged(vlan)),
    }
}
