//! The tunnels that are measured, and how each is put between two gateways.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::{
    others,
    weft::{self, Cipher},
};
use crate::{
    gateways::{Ends, Underlay},
    lab::{Lab, Process},
    report::Rival,
    site::{Site, Tools},
    userspace::{self, Key, Other, Program},
};

/// The MTU in the tunnel of all who leave it to their users; weft's guests keep theirs.
const INNER_MTU: u16 = 1400;

/// What may lie between the two gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// The underlay alone, no tunnel.
    Underlay,
    /// The kernel's VXLAN, unencrypted.
    Vxlan,
    /// wireguard-go.
    WireguardGo,
    /// boringtun.
    Boringtun,
    /// GotaTun.
    Gotatun,
    /// VpnCloud, as a switch.
    Vpncloud,
    /// fastd.
    Fastd,
    /// OpenVPN with a TAP.
    Openvpn,
    /// weft, AES-256-GCM.
    WeftAes,
    /// weft, ChaCha20-Poly1305.
    WeftChacha,
}

/// Those of [`Peer`] that encrypt and are not weft.
pub(super) const ENCRYPTED: &[Peer] = &[
    Peer::WireguardGo,
    Peer::Boringtun,
    Peer::Gotatun,
    Peer::Vpncloud,
    Peer::Fastd,
    Peer::Openvpn,
];

impl Peer {
    /// Tells whether this is weft.
    pub fn is_weft(self) -> bool {
        matches!(self, Self::WeftAes | Self::WeftChacha)
    }

    /// Returns the crate that has its program, where no package has.
    pub fn crate_name(self) -> Option<&'static str> {
        match self {
            Self::Vpncloud => Some("vpncloud"),
            _ => self.wireguard()?.crate_name(),
        }
    }

    /// Returns its program, as a path or a name for the search path.
    pub(super) fn program(self, tools: &Tools) -> Option<PathBuf> {
        let name = self.program_name()?;
        Some(match self {
            Self::WeftAes | Self::WeftChacha => tools.weftd.clone(),
            _ if self.crate_name().is_some() => tools.rivals.join(name),
            _ => name.into(),
        })
    }

    /// Returns the program that it is, where it is WireGuard in userspace.
    fn wireguard(self) -> Option<Program> {
        match self {
            Self::WireguardGo => Some(Program::WireguardGo),
            Self::Boringtun => Some(Program::Boringtun),
            Self::Gotatun => Some(Program::Gotatun),
            _ => None,
        }
    }

    /// Returns what its program is called; `None` where the kernel does it all.
    pub fn program_name(self) -> Option<&'static str> {
        match self {
            Self::WireguardGo | Self::Boringtun | Self::Gotatun => {
                self.wireguard().map(Program::name)
            }
            Self::Underlay | Self::Vxlan => None,
            Self::Vpncloud => Some("vpncloud"),
            Self::Fastd => Some("fastd"),
            Self::Openvpn => Some("openvpn"),
            Self::WeftAes | Self::WeftChacha => Some("weftd"),
        }
    }
}

impl Rival for Peer {
    fn title(self) -> &'static str {
        match self {
            Self::Underlay => "underlay, no tunnel",
            Self::Vxlan => "kernel VXLAN, unencrypted",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun-cli, 1 thread",
            Self::Gotatun => "gotatun",
            Self::Vpncloud => "vpncloud, TAP",
            Self::Fastd => "fastd, TAP, aes128-ctr+umac",
            Self::Openvpn => "OpenVPN, TAP, AES-256-GCM",
            Self::WeftAes => "**weft, AES-256-GCM**",
            Self::WeftChacha => "**weft, ChaCha20-Poly1305**",
        }
    }
}

impl fmt::Display for Peer {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// Returns the version that a program says it has.
pub(super) fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let number = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
    said.split_whitespace().map(|word| word.trim_start_matches('v')).find(number).map(str::to_owned)
}

/// Sets gateways and tunnel up and waits until the one reaches the other through it.
///
/// # Errors
/// When something of it does not come up.
pub(super) fn build(lab: &Lab, tools: &Tools, underlay: Underlay, peer: Peer) -> Result<Site> {
    let ends = Ends::lay(lab, underlay)?;
    let program = peer.program(tools).unwrap_or_default();
    let processes = match peer {
        Peer::Underlay => {
            let site = Site { address: ends.far.outer, ..ends.site(Vec::new()) };
            site.wait_for_answer(lab)?;
            return Ok(site);
        }
        Peer::Vxlan => others::vxlan(&ends)?,
        Peer::WireguardGo => join(lab, tools, &ends, Program::WireguardGo)?,
        Peer::Boringtun => join(lab, tools, &ends, Program::Boringtun)?,
        Peer::Gotatun => join(lab, tools, &ends, Program::Gotatun)?,
        Peer::Vpncloud => others::vpncloud(lab, &ends, &program)?,
        Peer::Fastd => others::fastd(lab, &ends, &program, INNER_MTU)?,
        Peer::Openvpn => others::openvpn(lab, &ends, &program, INNER_MTU)?,
        Peer::WeftAes => weft::join(lab, tools, &ends, Cipher::Aes256Gcm)?.processes(),
        Peer::WeftChacha => weft::join(lab, tools, &ends, Cipher::ChaCha20Poly1305)?.processes(),
    };
    let site = ends.site(processes);
    for end in [&ends.near, &ends.far] {
        end.bring_up(lab, &site.processes, (!peer.is_weft()).then_some(INNER_MTU))?;
    }
    site.wait_for_answer(lab)?;
    Ok(site)
}

/// Starts WireGuard on both gateways and makes them peers.
fn join(lab: &Lab, tools: &Tools, ends: &Ends, program: Program) -> Result<Vec<Process>> {
    let keys = [Key::generate(lab, ends.near.name)?, Key::generate(lab, ends.far.name)?];
    let [near, far] = &keys;
    let mut processes = Vec::new();
    for ((end, other), (own, public)) in
        ends.both().into_iter().zip([(near, &far.public), (far, &near.public)])
    {
        let process = program.start(lab, tools, end)?;
        let endpoint = format!("{}:{}", other.outer, userspace::PORT);
        let allowed = format!("{}/32", other.inner);
        let other = Other { public_key: public, allowed: &allowed, endpoint: Some(&endpoint) };
        userspace::introduce(&process, &own.file, other)?;
        processes.push(process);
    }
    Ok(processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encrypted_rival_is_compared_with() {
        let unencrypted = [Peer::Underlay, Peer::Vxlan];
        for peer in Peer::value_variants() {
            let is_rival = !peer.is_weft() && !unencrypted.contains(peer);
            assert_eq!(ENCRYPTED.contains(peer), is_rival, "{peer}");
        }
    }
}
