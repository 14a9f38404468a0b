//! `cargo xtask demo`: real machines on VLANs of real switches, and one VLAN across two hosts.
//!
//! ```text
//!   web1 (QEMU, virtio) ── tap0 ──┐                               ┌── tap0 ── web2 (QEMU, virtio)
//!   dev1 (QEMU, e1000) ─ socket ──┤                               │
//!   db1 (QEMU, virtio) ─ memory ──┤ weftd ══ encrypted ══ weftd ──┤
//!   desk (namespace) ──── desk0 ──┘ north      wire       south   └── till0 ─ till (namespace)
//!
//!   the segment "office": VLAN 10 on north with web1, db1, desk; VLAN 110 on south with web2
//!   VLAN 20 "lab" on north: dev1, until it is moved        VLAN 10 "shop" on south: till, until it is moved
//! ```

mod config;
mod console;
mod kept;
mod machine;
mod recording;
mod stage;
mod tunnel;
mod views;
mod vlans;
mod weft;

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use weft_bench::{
    ear,
    lab::{Lab, Lifetime, run as run_to_end},
};

use self::{
    kept::{Kept, keep},
    stage::{NAMESPACES, Stage},
};
use crate::{
    containment, guest, layout, say,
    setup::{self, Need},
    step::{cargo, show},
};

/// What to do with the demo.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Leave everything up at the end and say how to look around.
    #[arg(long)]
    keep: bool,
    /// Type in the shell of a machine of a kept demo.
    #[arg(long, value_name = "MACHINE", conflicts_with = "keep")]
    shell: Option<String>,
    /// End a kept demo.
    #[arg(long, conflicts_with_all = ["keep", "shell"])]
    end: bool,
    /// The second half: everything is built.
    #[arg(long, hide = true)]
    built: bool,
}

/// Runs, looks into or ends the demo.
///
/// # Errors
/// When something cannot be set up, or anything turns out otherwise than it must.
pub(crate) fn run(options: &Options) -> Result<()> {
    let kept = Kept::load()?;
    if let Some(machine) = &options.shell {
        let kept = kept.context("no demo is kept; start one with: cargo xtask demo --keep")?;
        say::note("no prompt, no echo from the machine: type a command and Enter; Ctrl-C leaves");
        return console::attach(kept.console(machine)?);
    }
    if options.end {
        return kept.context("no demo is kept; there is nothing to end")?.end();
    }
    if let Some(kept) = kept {
        say::note("a demo was kept: ending it first");
        kept.end()?;
    }
    if !options.built {
        setup::ensure_for(&[Need::Guests])?;
        say::heading("Build weftd and weftctl");
        show(&mut cargo(&["build", "--release", "--locked", "-p", "weftd", "-p", "weftctl"]))?;
        guest::ensure_image()?;
        if !containment::is_root() {
            say::note("not root: the demo runs in a user namespace");
            return containment::enter(&["--built"]);
        }
    }
    perform(options)
}

fn perform(options: &Options) -> Result<()> {
    let begin = say::now();
    let image = layout::guest();
    let lifetime = if options.keep { Lifetime::Kept } else { Lifetime::Run };
    let dir = tempfile::Builder::new().prefix("weft-demo-").tempdir()?.keep();
    clear_namespaces()?;
    let lab = Lab::new(&dir, lifetime)?;
    lab.end_on_signal()?;

    let mut stage = Stage::set(&lab, &image)?;
    stage.same_vlan_talks()?;
    stage.other_host_answers()?;
    stage.other_vlan_is_apart()?;
    stage.tag_does_not_help()?;
    stage.wire_does_not_tell()?;
    stage.moves_live()?;
    stage.other_host_moves_live()?;
    stage.speed()?;
    stage.look()?;

    let Stage { north, south, machines, wrong, .. } = stage;
    say::heading("The end");
    if wrong > 0 {
        bail!("{wrong} of the checks went wrong; see the lines with ✗");
    }
    say::good(&format!("everything was as it must be, in {}", say::duration(begin.elapsed())));
    if options.keep {
        keep(lab, [&north, &south], &machines)?;
    } else {
        lab.end();
        say::good("cleaned up: processes, namespaces and files are gone");
    }
    Ok(())
}

/// Tells of each frame that arrives at a device from a sender, until killed.
///
/// # Errors
/// When the address is none, or the device cannot be opened.
pub(crate) fn hear(device: &str, sender: &str) -> Result<()> {
    let bytes: Option<Vec<_>> =
        sender.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let Some(Ok(sender)) = bytes.map(TryInto::try_into) else {
        bail!("{sender} is no MAC address")
    };
    ear::listen(device, sender)
}

/// Deletes the namespaces of a demo that was killed.
fn clear_namespaces() -> Result<()> {
    let known = run_to_end(Command::new("ip").args(["netns", "list"]))?;
    for name in NAMESPACES {
        if known.lines().any(|line| line.split_whitespace().next() == Some(*name)) {
            run_to_end(Command::new("ip").args(["netns", "del", *name]))?;
        }
    }
    Ok(())
}
