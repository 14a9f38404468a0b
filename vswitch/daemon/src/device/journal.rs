//! What was changed on devices, written down before it is changed: one small JSON file a device in
//! `STATE/devices/`. Says what to undo; undoes nothing itself.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use weft_ports::link::Strippable;
use weft_vlan::MacAddr;

use super::{
    store::{Kept, Place, Store},
    told::Link,
};

/// The records of claims.
pub(super) type Journal = Store<Record>;

/// The claim of one device: which one it is, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Record {
    /// The name under which it was claimed.
    pub(super) device: String,
    pub(super) index: u32,
    /// Its MAC address when it was claimed.
    pub(super) mac: Option<MacAddr>,
    pub(super) place: Place,
    pub(super) purpose: Purpose,
    pub(super) changes: Changes,
}

/// What sort of port a device was claimed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Purpose {
    Netdev,
    Tap,
}

impl Kept for Record {
    const DIRECTORY: &str = "devices";

    fn device(&self) -> &str {
        &self.device
    }
}

impl Record {
    pub(super) fn new(link: &Link, place: &Place, purpose: Purpose) -> Self {
        Self {
            device: link.name.clone(),
            index: link.index,
            mac: link.mac,
            place: place.clone(),
            purpose,
            changes: Changes::default(),
        }
    }
}

/// What has been changed, or is about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct Changes {
    /// The handle of the drop on the way into the host's stack.
    pub(super) drop_handle: Option<u32>,
    /// Whether the clsact qdisc around it is ours.
    pub(super) made_clsact: bool,
    /// How the kernel made IPv6 addresses before it was told not to.
    pub(super) address_generation: Option<u8>,
    /// The kernel's link-local addresses that were taken off.
    pub(super) link_locals: Vec<LinkLocal>,
    /// Whether its large receive offload was switched off.
    pub(super) lro_off: bool,
    /// Whether it was kept from stripping VLAN tags.
    pub(super) stripping_off: bool,
    /// Whether it was kept from stripping the tags of 802.1ad.
    pub(super) service_stripping_off: bool,
    /// Whether it was set up.
    pub(super) set_up: bool,
    /// The MTU before and the MTU that was set.
    pub(super) mtu: Option<MtuChange>,
}

impl Changes {
    /// Tells whether the device was kept from stripping these tags.
    pub(super) fn has_stripping_off(&self, tags: Strippable) -> bool {
        match tags {
            Strippable::Customer => self.stripping_off,
            Strippable::Service => self.service_stripping_off,
        }
    }

    /// What [`Changes::has_stripping_off`] tells, to be changed.
    pub(super) fn stripping_off_mut(&mut self, tags: Strippable) -> &mut bool {
        match tags {
            Strippable::Customer => &mut self.stripping_off,
            Strippable::Service => &mut self.service_stripping_off,
        }
    }
}

/// A link-local address and its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LinkLocal {
    pub(super) address: Ipv6Addr,
    pub(super) prefix: u8,
}

/// An MTU that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MtuChange {
    pub(super) before: u32,
    pub(super) set: u32,
}
