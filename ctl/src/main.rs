//! `weftctl`: asks weftd for its state and its changes over the control socket, and prints the answers
//! for people or, with `--json`, for programs. Reads the user's own files; decides nothing about frames.

mod bugreport;
mod capture;
mod changes;
mod check;
mod cli;
mod client;
mod config;
mod doctor;
mod drops;
mod events;
mod failure;
mod fdb;
mod key;
mod keyfile;
mod output;
mod peer;
mod port;
mod render;
mod rollback;
mod segment;
mod session;
mod shell;
mod status;
mod switch;
mod top;
mod trace;
mod uplink;
mod vlan;
mod wireguard;

use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(usage) => return usage.report(),
    };
    let output = invocation.output();
    match invocation.run(output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(output),
    }
}
