//! What deciding on a frame does besides: to a live frame everything, to a traced one nothing but tell.

use weft_vlan::{Tags, VlanId};

use super::Egress;
use crate::{DropReason, PortId};

/// The side of a decision that is not its outcome.
pub(super) trait Effects {
    /// Whether addresses are learned and allowances used up.
    const LIVE: bool;

    /// Hears of a step, in words that are only made when somebody listens.
    fn step(&mut self, stage: &'static str, text: impl FnOnce() -> String);
}

/// A frame that travels.
pub(super) struct Live;

impl Effects for Live {
    const LIVE: bool = true;

    #[inline(always)]
    fn step(&mut self, _: &'static str, _: impl FnOnce() -> String) {}
}

/// A frame that is only asked about.
#[derive(Default)]
pub(super) struct Told(Vec<Step>);

impl Effects for Told {
    const LIVE: bool = false;

    fn step(&mut self, stage: &'static str, text: impl FnOnce() -> String) {
        self.0.push(Step { stage, text: text() });
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
                steps: self.0,
            },
            Err(reason) => {
                self.step("verdict", || format!("dropped: {reason}"));
                Trace {
                    reason: Some(reason),
                    is_flood: false,
                    vlan: None,
                    egress: Vec::new(),
                    steps: self.0,
                }
            }
        }
    }
}
