//! What all machines that are booted here have in common.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use clap::Args;

use crate::lab::Namespace;

/// What guests boot.
#[derive(Clone, Debug, Args)]
pub struct Image {
    /// The guests' kernel; without it no guest is measured.
    #[arg(long, requires = "initrd")]
    kernel: Option<PathBuf>,
    /// The guests' initramfs, whose script is the bench's.
    #[arg(long, requires = "kernel")]
    initrd: Option<PathBuf>,
}

impl Image {
    /// Returns kernel and initramfs, where there are any.
    pub(crate) fn paths(&self) -> Option<(&Path, &Path)> {
        self.kernel.as_deref().zip(self.initrd.as_deref())
    }
}

/// Prepares a machine of one core without cards, of so many MB, with these words on its kernel's command line.
pub(crate) fn machine(
    namespace: &Namespace,
    (kernel, initrd): (&Path, &Path),
    memory: &str,
    words: &str,
) -> Command {
    let mut qemu = namespace.command("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-M", "q35", "-cpu", "max", "-smp", "1", "-m", memory]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd);
    qemu.args(["-append", &format!("console=ttyS0 quiet panic=-1 {words}")]);
    qemu
}
