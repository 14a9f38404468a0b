//! The overlay's place in the daemon: one task that tells peers which addresses are here, puts into the forwarding
//! databases which are there, looks for loops and answers ARP and ND for guests elsewhere. What it decides is
//! `weft-overlay`'s; sessions, databases and ports are brought to it.

mod office;
mod scene;
mod snoop;

pub(crate) use office::{Office, Order, Sources};
pub(crate) use scene::{Probed, Scene, ScenePeer, ScenePort, SceneSegment};
pub(crate) use snoop::{SNOOPED_MAX, Snoop, Snooped};
