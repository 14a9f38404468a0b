//! What the gateways of a tunnel stand on: two namespaces and a veth of MTU 1500.
//!
//! ```text
//!  near gateway (u0 10.99.0.1, vpn0 10.77.0.1) ════ far gateway (u0 10.99.0.2, vpn0 10.77.0.2)
//! ```

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::{
    clock::wait_until,
    lab::{Lab, Namespace, Process, run},
    site::{PATIENCE, Site, namespace_name},
};

/// The tunnel's device on both gateways.
pub(crate) const DEVICE: &str = "vpn0";

/// How much the veth leaves to segmentation offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Underlay {
    /// As it comes: UDP super-packets cross whole.
    Veth,
    /// Every datagram is on the wire by itself.
    Segmented,
    /// The same, and the receiver puts them together again.
    SegmentedGro,
}

impl Underlay {
    /// Returns the words above its table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Veth => "Underlay: veth as it is",
            Self::Segmented => "Underlay: `tx-udp-segmentation off` on both ends",
            Self::SegmentedGro => "Underlay: `tso off gro on tx-udp-segmentation off` on both ends",
        }
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Veth => &[],
            Self::Segmented => &["tx-udp-segmentation", "off"],
            Self::SegmentedGro => &["tso", "off", "gro", "on", "tx-udp-segmentation", "off"],
        }
    }
}

impl fmt::Display for Underlay {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// A gateway.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) namespace: Namespace,
    /// What it is called in the lab.
    pub(crate) name: &'static str,
    /// Its address on the underlay.
    pub(crate) outer: &'static str,
    /// Its address in the tunnel.
    pub(crate) inner: &'static str,
}

impl End {
    /// Waits for the tunnel's device, and gives it its address and an MTU, if it is to have another than it
    /// has.
    ///
    /// # Errors
    /// When no device comes, one of the tunnel's processes ends, or `ip` refuses.
    pub(crate) fn bring_up(&self, lab: &Lab, tunnel: &[Process], mtu: Option<u16>) -> Result<()> {
        let Self { namespace, inner, .. } = self;
        wait_until("the tunnel's device", PATIENCE, || {
            for process in tunnel {
                lab.ensure_running(process)?;
            }
            Ok(namespace.ip(&format!("link show {DEVICE}")).is_ok())
        })?;
        namespace.ip(&format!("addr replace {inner}/24 dev {DEVICE}"))?;
        if let Some(mtu) = mtu {
            namespace.ip(&format!("link set {DEVICE} mtu {mtu}"))?;
        }
        namespace.ip(&format!("link set {DEVICE} up"))?;
        Ok(())
    }
}

/// Both gateways.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) near: End,
    pub(crate) far: End,
}

impl Ends {
    /// Makes both namespaces and the veth between them.
    ///
    /// # Errors
    /// When the kernel, `ip` or `ethtool` refuses.
    pub(crate) fn lay(lab: &Lab, underlay: Underlay) -> Result<Self> {
        let near = End {
            namespace: lab.namespace(&namespace_name("near"))?,
            name: "near",
            outer: "10.99.0.1",
            inner: "10.77.0.1",
        };
        let far = End {
            namespace: lab.namespace(&namespace_name("far"))?,
            name: "far",
            outer: "10.99.0.2",
            inner: "10.77.0.2",
        };
        let peer = far.namespace.name();
        near.namespace.ip(&format!("link add u0 type veth peer name u0 netns {peer}"))?;
        for End { namespace, outer, .. } in [&near, &far] {
            namespace.ip(&format!("addr add {outer}/24 dev u0"))?;
            namespace.ip("link set u0 mtu 1500 up")?;
            if !underlay.features().is_empty() {
                let mut ethtool = namespace.command("ethtool");
                run(ethtool.args(["-K", "u0"]).args(underlay.features()))?;
            }
        }
        Ok(Self { near, far })
    }

    /// Returns the site that they are with those processes between them; the far one answers in the tunnel.
    pub(crate) fn site(&self, processes: Vec<Process>) -> Site {
        let (near, far) = (self.near.namespace.clone(), self.far.namespace.clone());
        Site { near, far, address: self.far.inner, processes }
    }

    /// Returns each gateway with the other one.
    pub(crate) fn both(&self) -> [(&End, &End); 2] {
        [(&self.near, &self.far), (&self.far, &self.near)]
    }
}
