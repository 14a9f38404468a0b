//! What deciding on a frame does besides: to a live frame everything, to a traced one nothing but tell.

use weft_vlan::{MacAddr, Tags, VlanId};

use super::Egress;
use crate::{
    DropReason, Fdb, PortId, Timestamp,
    fdb::{Learning, Limits},
    guard::FloodLimiter,
};

/// The side of a decision that is not its outcome.
pub(super) trait Effects {
    /// Hears that a source is on a port.
    fn learn(&mut self, heard: &Heard<'_>, vlan: VlanId, mac: MacAddr, port: PortId);

    /// Asks where a destination is.
    fn look_up(&mut self, heard: &Heard<'_>, vlan: VlanId, mac: MacAddr) -> Option<PortId>;

    /// Takes a token for a frame that is to be flooded; `false` when there is none.
    fn take(&self, limiter: &FloodLimiter, now: Timestamp) -> bool;

    /// Hears of a step, in words that are only made when somebody listens.
    fn step(&mut self, stage: &'static str, text: impl FnOnce() -> String);
}

/// The forwarding database, and the moment and the rules by which it is asked.
pub(super) struct Heard<'a> {
    pub(super) fdb: &'a Fdb,
    pub(super) now: Timestamp,
    pub(super) limits: &'a Limits,
}

/// Frames that travel: those of one burst, which came by one port at one moment. What one of them has asked is not asked
/// again for the next one.
#[derive(Default)]
pub(super) struct Live {
    /// The last source, which has been learned if it can be.
    heard: Option<(VlanId, MacAddr)>,
    /// The last destination and what was known of it, as long as nothing was learned since.
    found: Option<((VlanId, MacAddr), Option<PortId>)>,
}

impl Effects for Live {
    #[inline(always)]
    fn learn(&mut self, heard: &Heard<'_>, vlan: VlanId, mac: MacAddr, port: PortId) {
        let source = Some((vlan, mac));
        if self.heard != source {
            heard.fdb.learn(heard.now, heard.limits, vlan, mac, port);
            *self = Self { heard: source, found: None };
        }
    }

    #[inline(always)]
    fn look_up(&mut self, heard: &Heard<'_>, vlan: VlanId, mac: MacAddr) -> Option<PortId> {
        let destination = (vlan, mac);
        if let Some((found, port)) = self.found
            && found == destination
        {
            return port;
        }
        let port = heard.fdb.lookup(heard.now, heard.limits, vlan, mac);
        self.found = Some((destination, port));
        port
    }

    #[inline(always)]
    fn take(&self, limiter: &FloodLimiter, now: Timestamp) -> bool {
        limiter.take(now)
    }

    #[inline(always)]
    fn step(&mut self, _: &'static str, _: impl FnOnce() -> String) {}
}

/// A frame that is only asked about.
#[derive(Default)]
pub(super) struct Told {
    steps: Vec<Step>,
    /// What the forwarding database would have forgotten by now.
    forgotten: Vec<(VlanId, MacAddr)>,
    /// What it would have learned.
    learned: Option<((VlanId, MacAddr), PortId)>,
}

impl Effects for Told {
    fn learn(&mut self, heard: &Heard<'_>, vlan: VlanId, mac: MacAddr, port: PortId) {
        let learning = heard.fdb.would_learn(heard.now, heard.limits, vlan, mac, port);
        self.step("learn", || match &learning {
            Learning::Known => format!("{mac} is known here in VLAN {vlan}"),
            Learning::Moves(forgotten) => {
                let price = price(forgotten);
                format!("{mac} moves here in VLAN {vlan} from another port{price}")
            }
            Learning::New(forgotten) => {
                format!("{mac} is new in VLAN {vlan} and is learned here{}", price(forgotten))
            }
            Learning::Refused => {
                format!("{mac} is not learned in VLAN {vlan}: there is no room for it")
            }
            Learning::Disabled => "frames from a tunnel teach nothing".to_owned(),
            Learning::Frozen => format!(
                "{mac} is not learned in VLAN {vlan}: it moved too often and is frozen where it was"
            ),
        });
        let is_learned =
            matches!(learning, Learning::Known | Learning::Moves(_) | Learning::New(_));
        self.learned = is_learned.then_some(((vlan, mac), port));
        if let Learning::New(forgotten) | Learning::Moves(forgotten) = learning {
            self.forgotten = forgotten;
        }
    }

    fn look_up(&mut self, heard: &Heard<'_>, vlan: VlanId, mac: MacAddr) -> Option<PortId> {
        match self.learned {
            Some((learned, port)) if learned == (vlan, mac) => Some(port),
            _ if self.forgotten.contains(&(vlan, mac)) => None,
            _ => heard.fdb.lookup(heard.now, heard.limits, vlan, mac),
        }
    }

    fn take(&self, limiter: &FloodLimiter, now: Timestamp) -> bool {
        limiter.would_allow(now)
    }

    fn step(&mut self, stage: &'static str, text: impl FnOnce() -> String) {
        self.steps.push(Step { stage, text: text() });
    }
}

fn price(forgotten: &[(VlanId, MacAddr)]) -> String {
    let macs: Vec<String> = forgotten.iter().map(|(_, mac)| mac.to_string()).collect();
    match macs.len() {
        0 => String::new(),
        _ => format!("; a limit is reached, so that {} is forgotten", macs.join(" and ")),
    }
}

/// One step of a traced decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where in the pipeline: `ingress`, `guard`, `vlan`, `size`, `learn`, `lookup`, `flood` or `verdict`.
    pub stage: &'static str,
    /// What was found there.
    pub text: String,
}

/// What would happen to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Why it is dropped on arrival.
    pub reason: Option<DropReason>,
    /// Whether it goes to every other member of its VLAN.
    pub is_flood: bool,
    /// The VLAN that it belongs to, when it is not dropped.
    pub vlan: Option<VlanId>,
    /// The ports that it leaves by with the tags put on it, or why it does not.
    pub egress: Vec<(PortId, Result<Tags, DropReason>)>,
    /// How that came about.
    pub steps: Vec<Step>,
}

impl Told {
    pub(super) fn into_trace(mut self, outcome: Result<Egress<'_>, DropReason>) -> Trace {
        match outcome {
            Ok(egress) => Trace {
                reason: None,
                is_flood: egress.is_flood(),
                vlan: Some(egress.vlan()),
                egress: egress.copies().collect(),
                steps: self.steps,
            },
            Err(reason) => {
                self.step("verdict", || format!("dropped: {reason}"));
                Trace {
                    reason: Some(reason),
                    is_flood: false,
                    vlan: None,
                    egress: Vec::new(),
                    steps: self.steps,
                }
            }
        }
    }
}
