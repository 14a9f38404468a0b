//! Hosts with tunnels on a virtual clock: real code of `weft-vpn` at every end, and between them a network that
//! loses, doubles, reorders and replays, from one seed. What is delivered is compared with a lossless reference.
//! Opens no socket and reads no clock; a run is the same wherever it runs.

mod dice;
mod ledger;
mod net;
mod node;
mod script;
mod world;

pub use dice::Dice;
pub use net::Behind;
pub use script::{PATIENCE, run};
pub use world::{Act, Memory, Must, Report, Summary, Tell, World};
