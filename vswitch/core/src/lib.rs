//! The switching decision: which ports a frame goes to, and with which tags. IEEE 802.1Q-2022 clause 8.
//! Owns no file descriptor, clock or thread; sees heads of frames, never their payload.

mod counters;
mod drop;
mod fdb;
mod guard;
mod port;
mod spec;
mod switch;
mod sync;

pub use counters::{Counters, DirectionCounters};
pub use drop::{DropReason, ParseDropReasonError};
pub use fdb::{Bulletin, Change, Entry, EntryKind, Fdb, Limits, Moves, News, Scope};
pub use port::{PortId, Timestamp};
pub use spec::{Guards, Isolation, PortKind, PortSpec, Rate, StaticEntry, SwitchSpec};
pub use switch::{Egress, Forwarding, Step, Switch, Trace};
