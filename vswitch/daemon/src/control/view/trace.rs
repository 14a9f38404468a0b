//! What would happen to a frame.

use weft_config::api::{Trace, TraceEgress, TraceRequest, TraceStep, Verdict};
use weft_core::{DropReason, PortId};
use weft_vlan::{Head, MacAddr, Priority, Tci, Tpid, VlanId, WireTag};

use super::ViewError;
use crate::{clock, control::state::Control};

impl Control {
    /// Says what would happen to a frame.
    pub(crate) fn trace(&self, request: &TraceRequest) -> Result<Trace, ViewError> {
        let (ingress, switch) =
            self.port_named(&request.port).ok_or_else(|| self.no_port(&request.port))?;
        if self.ports.get(&request.port).is_some_and(|port| !port.config.enabled) {
            return Err(ViewError::Disabled(request.port.clone()));
        }
        let head = described_frame(request)?;
        let switch = &self.switches[switch].compiled;
        let traced = switch.trace(clock::now(), ingress, &head);
        let name = |id| self.name_of(id).unwrap_or("a port that is gone").to_owned();
        let mut steps: Vec<TraceStep> = traced
            .steps
            .into_iter()
            .map(|step| TraceStep { stage: step.stage.to_owned(), text: step.text })
            .collect();
        let mut egress = Vec::new();
        let mut refusal = None;
        for (id, outcome) in traced.egress {
            let text = match outcome {
                Ok(tags) => match self.exit(id, tags.vlan.map(|tag| tag.tci.vid())) {
                    Err((reason, why)) => {
                        refusal.get_or_insert(reason);
                        format!("does not leave port {}: {why}: {reason}", name(id))
                    }
                    Ok(form) => {
                        let vid = tags.vlan.map(|tag| tag.tci.vid());
                        egress.push(TraceEgress { port: name(id), tagged: vid.is_some(), vid });
                        format!("leaves port {} {form}", name(id))
                    }
                },
                Err(reason) => {
                    refusal.get_or_insert(reason);
                    format!("does not leave port {}: {reason}", name(id))
                }
            };
            steps.push(TraceStep { stage: "egress".to_owned(), text });
        }
        let reason = traced.reason.or(refusal.filter(|_| egress.is_empty()));
        let verdict = match (reason, traced.is_flood) {
            (Some(_), _) => Verdict::Drop,
            (None, true) => Verdict::Flood,
            (None, false) => Verdict::Forward,
        };
        Ok(Trace {
            verdict,
            reason: reason.map(|reason| reason.as_str().to_owned()),
            vlan: traced.vlan.map(VlanId::get),
            egress,
            steps,
        })
    }

    /// Says in which form a frame leaves a port that lets it out, or why it does not at the moment.
    fn exit(&self, id: PortId, vid: Option<u16>) -> Result<String, (DropReason, String)> {
        if let Some((peer, tunnel, port)) =
            self.tunnels.ports_of_peers().find(|(_, _, port)| port.id == id)
        {
            if tunnel.peer.way().is_none() {
                let why = format!("there is no session with peer {peer}");
                return Err((DropReason::NoSession, why));
            }
            let of_vlan = |(_, vlan): &&(_, VlanId)| Some(vlan.get()) == vid;
            let segment = port.segments.iter().find(of_vlan).map(|(segment, _)| segment.get());
            let segment = segment.map(|id| format!(" in segment {id}")).unwrap_or_default();
            return Ok(format!("to peer {peer}{segment}"));
        }
        if let Some((adapter, _)) = self.adapters.running().find(|(_, site)| site.id == id) {
            return Ok(format!("untagged to WireGuard adapter {adapter}, which routes it"));
        }
        if let Some(why) = self.why_closed(id) {
            return Err((DropReason::PortDown, why));
        }
        Ok(vid.map_or("untagged".to_owned(), |vid| format!("with VLAN tag {vid}")))
    }

    /// Says in words why a port takes no frames, where it takes none.
    fn why_closed(&self, id: PortId) -> Option<String> {
        let Some(port) = self.ports.values().find(|port| port.id == id) else {
            return Some("it is not open".to_owned());
        };
        match port.takes_frames() {
            Some(_) => None,
            None => port.state().1,
        }
    }
}

/// Makes the head of the frame that a request describes.
fn described_frame(request: &TraceRequest) -> Result<Head, ViewError> {
    if let Some(hex) = &request.frame {
        let bytes = from_hex(hex)?;
        return Ok(Head::read(&bytes[..bytes.len().min(Head::PREFIX)], bytes.len(), None));
    }
    let address = |text: &Option<String>, which: &str| {
        let text = text
            .as_ref()
            .ok_or_else(|| ViewError::BadFrame(format!("the frame has no {which} address")))?;
        text.parse::<MacAddr>().map_err(|error| ViewError::BadFrame(error.to_string()))
    };
    let length = request.length.unwrap_or(60).clamp(14, 65_550) as usize;
    let mut bytes = vec![0; length.min(Head::PREFIX)];
    bytes[..6].copy_from_slice(&address(&request.destination, "destination")?.octets());
    bytes[6..12].copy_from_slice(&address(&request.source, "source")?.octets());
    bytes[12..14].copy_from_slice(&request.ethertype.unwrap_or(0x0800).to_be_bytes());
    let tag = match request.tag {
        Some(vid) if vid <= 4095 => {
            let priority = Priority::new(request.pcp.unwrap_or(0), 0);
            Some(WireTag::new(Tpid::Dot1Q, Tci::from_bits(u16::from(priority.pcp()) << 13 | vid)))
        }
        Some(vid) => return Err(ViewError::BadFrame(format!("{vid} is not a VID: 0 to 4095"))),
        None => None,
    };
    Ok(Head::read(&bytes, length, tag))
}

fn from_hex(text: &str) -> Result<Vec<u8>, ViewError> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace() && *byte != b':')
        .map(|byte| (byte as char).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()
        .ok_or_else(|| ViewError::BadFrame("the frame is not hexadecimal".to_owned()))?;
    if digits.len() % 2 == 1 {
        return Err(ViewError::BadFrame(
            "the frame has an odd number of hexadecimal digits".to_owned(),
        ));
    }
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
