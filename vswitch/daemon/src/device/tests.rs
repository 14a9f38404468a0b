//! Device care against the kernel: every test runs in a network namespace of its own.

mod lab;
mod refused;
mod silent;
mod undone;
mod watched;
