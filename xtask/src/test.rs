//! `cargo xtask test`: everything that must hold, cheapest first.

use std::{path::Path, time::Duration};

use anyhow::Result;
use clap::Args;

use crate::{
    containment, fuzz, guest, layout, say,
    setup::{self, Need},
    step::{Steps, cargo, show},
};

/// How thorough the tests are.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// More seeds for the property tests and the simulation, guests that move between two switches, and a round of fuzzing
    /// for each target.
    #[arg(long)]
    long: bool,
}

const SEEDS_OF_A_LONG_RUN: &str = "20000";
const SIMULATIONS_OF_A_LONG_RUN: &str = "200000";
const FUZZ_ROUND: Duration = Duration::from_secs(60);

/// A binary of tests that some runs leave out.
struct LeftOut {
    binary: &'static str,
    why: &'static str,
    without: Without,
}

/// What a run is without that leaves tests out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    Root,
    Long,
    NewerQemu,
}

const LEFT_OUT: &[LeftOut] = &[
    LeftOut {
        binary: "control_rights",
        why: "who may do what at the control socket, which takes other users than one",
        without: Without::Root,
    },
    LeftOut {
        binary: "guest_examples",
        why: "libvirt and what packaging/examples holds, which take other users than one",
        without: Without::Root,
    },
    LeftOut {
        binary: "guest_newer_qemu",
        why: "guests of a newer QEMU than the installed one",
        without: Without::NewerQemu,
    },
    LeftOut {
        binary: "guest_migration",
        why: "guests that move between two switches, which take minutes and a machine with little else to do: `--long`",
        without: Without::Long,
    },
];

impl LeftOut {
    fn applies(&self, options: Options, newer_qemu: Option<&Path>) -> bool {
        match self.without {
            Without::Root => !containment::is_root(),
            Without::Long => !options.long,
            Without::NewerQemu => newer_qemu.is_none(),
        }
    }
}

/// Runs all steps.
///
/// # Errors
/// The first step that fails.
pub(crate) fn run(options: Options) -> Result<()> {
    let mut steps = Steps::begin();
    let needs = [Need::GuestImage, Need::Guests, Need::Hypervisors, Need::Checks];
    steps.step("Set-up", || setup::ensure_for(&needs))?;
    steps.step("Formatting", || show(&mut cargo(&["fmt", "--all", "--check"])))?;
    steps.step("Clippy", || {
        let args = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        show(&mut cargo(&args))
    })?;
    steps.step("Dependencies: bans, licences, sources", || {
        show(&mut cargo(&["deny", "check", "bans", "licenses", "sources"]))
    })?;
    steps.step("Build weftd and weftctl", || {
        show(&mut cargo(&["build", "--locked", "-p", "weftd", "-p", "weftctl"]))
    })?;
    steps.step("A WireGuard program of others", || {
        setup::ensure_rival("boringtun-cli", "boringtun-cli")
    })?;
    steps.step("Guests' image", || guest::ensure_image().map(|_| ()))?;
    let mut newer_qemu = None;
    steps.step("A newer QEMU", || {
        newer_qemu = guest::ensure_newer_qemu();
        Ok(())
    })?;
    steps.step("Unit, property, namespace and guest tests", || {
        // Built first: inside a user namespace there is no way to a registry.
        let nextest = ["nextest", "run", "--workspace", "--locked"];
        show(cargo(&nextest).arg("--no-run"))?;
        if !containment::is_root() {
            containment::ensure_possible()?;
            say::note("not root: the tests run in a user namespace");
        }
        let left_out: Vec<_> =
            LEFT_OUT.iter().filter(|part| part.applies(options, newer_qemu.as_deref())).collect();
        for part in &left_out {
            say::note(&format!("left out: {}", part.why));
        }
        let mut command = containment::command("cargo");
        command.args(nextest).current_dir(layout::root());
        if !left_out.is_empty() {
            let binaries: Vec<_> =
                left_out.iter().map(|part| format!("binary({})", part.binary)).collect();
            command.args([
                "-E",
                &format!("not (package(weft-netns) and ({}))", binaries.join(" or ")),
            ]);
        }
        if options.long {
            command
                .env("PROPTEST_CASES", SEEDS_OF_A_LONG_RUN)
                .env("WEFT_SIM_SEEDS", SIMULATIONS_OF_A_LONG_RUN);
        }
        if let Some(qemu) = &newer_qemu {
            command.env("WEFT_NEWER_QEMU", qemu);
        }
        show(command.env("WEFT_GUEST_DIR", layout::guest()))
    })?;
    steps.step("Examples in the documentation", || {
        show(&mut cargo(&["test", "--workspace", "--doc", "--locked", "--quiet"]))
    })?;
    steps.step("Interleavings of the forwarding database (loom)", || {
        let mut command =
            cargo(&["nextest", "run", "--locked", "-p", "weft-core", "--lib", "loom"]);
        // Flags of its own need a directory of their own, or everything else is built anew.
        command
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", layout::target().join("loom"));
        show(&mut command)
    })?;
    if options.long {
        setup::ensure_for(&[Need::Fuzz])?;
        for target in fuzz::targets()? {
            steps.step(&format!("Fuzzing: {target}"), || fuzz::one(&target, FUZZ_ROUND))?;
        }
    }
    steps.finish();
    Ok(())
}
