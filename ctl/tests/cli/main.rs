//! The binary from outside: against a daemon of the test's own, against what is none, and alone.

mod capture;
mod failures;
mod fake;
mod keys;
mod local;
mod requests;
mod tunnel;
mod wireguard;
