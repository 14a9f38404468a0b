//! Where things lie: the workspace, what is built, the guests' image.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Returns the directory that cargo builds into.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Returns the directory of the guests' kernel and initramfs: `vmlinuz` and `initrd.cpio`.
pub(crate) fn guest() -> PathBuf {
    env::var_os("WEFT_GUEST_DIR").map_or_else(|| target().join("guest"), |dir| root().join(dir))
}

/// Returns the directory of the QEMU that is newer than the installed one.
pub(crate) fn newer_qemu() -> PathBuf {
    target().join("qemu")
}

/// Returns the directory of the rivals that cargo installs for the benches, with `bin` inside.
pub(crate) fn rivals() -> PathBuf {
    target().join("rivals")
}

/// Returns where a program is, of those that the shell would find.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}
