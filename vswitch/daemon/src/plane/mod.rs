//! The data plane: worker threads that move frames by an immutable plan. The control plane swaps the plan
//! and hands queues over; the workers report queues that ended.

mod moderation;
mod plan;
mod pool;
mod worker;

#[cfg(test)]
mod tests;

pub(crate) use plan::{Egress, Plan, PlannedPort, PortCounters};
pub(crate) use pool::{Injector, Pool, QueueEnded};
