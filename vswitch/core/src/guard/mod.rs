//! What a port may send: addresses that are its own, and floods within its limit.

mod flood;
mod nd;
mod source;

pub(crate) use flood::FloodLimiter;
pub(crate) use source::Guard;
