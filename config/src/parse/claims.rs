//! What a host has only once: UDP ports that are listened on, private keys, addresses in a VLAN.

use std::{collections::HashMap, net::IpAddr, net::SocketAddr, ops::Range};

use weft_vlan::VlanId;

use super::report::Report;

/// Who has what already.
#[derive(Default)]
pub(super) struct Claims {
    listens: HashMap<u16, Vec<(IpAddr, Claim)>>,
    key_files: HashMap<String, Claim>,
    addresses: HashMap<(String, VlanId, IpAddr), Claim>,
}

/// A section that has something, and where it says so.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// `wireguard road`.
    pub(super) place: String,
    /// Where it is written.
    pub(super) span: Range<usize>,
}

impl Claims {
    /// Takes a UDP port; of two addresses, one for all addresses takes it from every other.
    pub(super) fn listen(&mut self, address: SocketAddr, claim: Claim, report: &mut Report) {
        let ip = address.ip().to_canonical();
        let same_port = self.listens.entry(address.port()).or_default();
        let meets = |other: &IpAddr| *other == ip || other.is_unspecified() || ip.is_unspecified();
        if let Some((_, first)) = same_port.iter().find(|(other, _)| meets(other)) {
            let Claim { place, span } = &claim;
            report
                .add(
                    span.clone(),
                    format!("{place}: {} listens on port {} already", first.place, address.port()),
                )
                .note("the same port")
                .also(first.span.clone(), format!("{} listens here", first.place))
                .help("write another port in `listen`");
            return;
        }
        same_port.push((ip, claim));
    }

    /// Takes a private key's file.
    pub(super) fn key_file(&mut self, path: &str, claim: Claim, report: &mut Report) {
        if let Some(first) = self.key_files.get(path) {
            let message = format!("{}: {} has this private key already", claim.place, first.place);
            report
                .add(claim.span, message)
                .note("the same file")
                .also(first.span.clone(), format!("{} has it", first.place))
                .help("each needs a key of its own: `weftctl key generate --out FILE`");
            return;
        }
        self.key_files.insert(path.to_owned(), claim);
    }

    /// Takes an address in a VLAN.
    pub(super) fn address(
        &mut self,
        (switch, vlan): (&str, VlanId),
        address: IpAddr,
        claim: Claim,
        report: &mut Report,
    ) {
        let key = (switch.to_owned(), vlan, address);
        if let Some(first) = self.addresses.get(&key) {
            let message = format!(
                "{}: {address} is an address of {} in VLAN {vlan} already",
                claim.place, first.place
            );
            report
                .add(claim.span, message)
                .note("again here")
                .also(first.span.clone(), format!("{} has it", first.place))
                .help("an address is in one place; write another one");
            return;
        }
        self.addresses.insert(key, claim);
    }
}
