//! What a host is while its process comes and goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use weft_vpn::{Load, PrivateKey};

use crate::{
    dice::Dice,
    node::{Disk, Node, Setup},
};

pub(super) struct Machine {
    /// `None` while it is down.
    pub(super) node: Option<Node>,
    /// How often it was killed: what was under way inside it ended with it.
    pub(super) starts: u32,
    pub(super) keys: (PrivateKey, Option<PrivateKey>),
    pub(super) setups: BTreeMap<usize, Setup>,
    /// Which version of the preshared key it has for whom.
    pub(super) psks: BTreeMap<usize, u32>,
    pub(super) removed: BTreeSet<usize>,
    pub(super) disk: Disk,
    pub(super) load: Load,
    /// Its wall clock beside the right one, in seconds.
    pub(super) off: i64,
    /// How far its handshake thread lags behind.
    pub(super) lag: Duration,
    pub(super) next_tick: Option<Duration>,
}

impl Machine {
    pub(super) fn roll(dice: &mut Dice) -> Self {
        Self {
            node: None,
            starts: 0,
            keys: (PrivateKey::generate(dice), None),
            setups: BTreeMap::new(),
            psks: BTreeMap::new(),
            removed: BTreeSet::new(),
            disk: Disk::default(),
            load: Load::Calm,
            off: 0,
            lag: Duration::from_millis([0, 0, 1, 20][dice.index(4)]),
            next_tick: None,
        }
    }
}
