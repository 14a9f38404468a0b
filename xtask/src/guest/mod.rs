//! The guests' image: one kernel and one initramfs for every machine that is booted here. What a guest does is
//! a script `/vm.sh` in a second archive, appended to the first; its init runs it and then ends the machine.

mod cpio;
mod kernel;
mod newer;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FlockOperation, flock};
use weft_bench::lab::run;

use crate::{
    layout::{self, find_program},
    say,
    setup::{self, Need},
};
use cpio::Archive;
pub(crate) use newer::ensure_newer_qemu;

const INIT: &str = include_str!("init.sh");
/// Programs copied from this machine, with their libraries. Everything else is busybox.
const PROGRAMS: &[&str] = &["dash", "ip", "ping", "iperf3", "ethtool", "tcpdump", "wg"];
/// busybox's own shell runs its applets before it looks for programs: these two are taken elsewhere.
const NOT_FROM_BUSYBOX: &[&str] = &["busybox", "sh"];
const MODULES: &[&str] =
    &["virtio_pci", "virtio_mmio", "virtio_net", "e1000", "e1000e", "8021q", "wireguard"];

/// Makes sure that the image is there and up to date, and returns its directory.
///
/// # Errors
/// When something that it is made of cannot be had.
pub(crate) fn ensure_image() -> Result<PathBuf> {
    ensure!(cfg!(target_arch = "x86_64"), "guests are x86-64 machines; this one is not");
    setup::ensure_for(&[Need::GuestImage])?;
    let dir = layout::guest();
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let lock = fs::File::create(dir.join(".lock")).context("the lock of the guests' image")?;
    // Two that ask at once: the second waits, and finds it done.
    flock(&lock, FlockOperation::LockExclusive).context("lock the guests' image")?;

    let stamp = dir.join("stamp");
    let built = fs::read_to_string(&stamp).unwrap_or_default();
    let complete = dir.join("vmlinuz").exists() && dir.join("initrd.cpio").exists();
    let ours = recipe()?;
    let kernel = match kernel::current() {
        Ok(kernel) => kernel,
        // Without apt's lists there is nothing newer to be had than what is there.
        Err(_) if complete && built.starts_with(&ours) => return Ok(dir),
        Err(error) => return Err(error),
    };
    let wanted = format!("{ours}kernel {} {}\n", kernel.name, kernel.version);
    if complete && built == wanted {
        return Ok(dir);
    }

    say::note(&format!("building the guests' image from {} {}", kernel.name, kernel.version));
    let work = dir.join("work");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(&work)?;
    let unpacked = kernel::unpack(&kernel, &work)?;
    let initrd = initramfs(&unpacked, &work)?;
    // The stamp goes first and comes last: half an image is never taken for a whole one.
    if stamp.exists() {
        fs::remove_file(&stamp)?;
    }
    fs::copy(&unpacked.image, dir.join("vmlinuz"))?;
    fs::write(dir.join("initrd.cpio"), initrd)?;
    fs::write(&stamp, wanted)?;
    fs::remove_dir_all(&work)?;
    Ok(dir)
}

/// Writes an initramfs whose guest runs `script`.
///
/// # Errors
/// When a file cannot be read or written.
pub(crate) fn with_script(image: &Path, script: &str, to: &Path) -> Result<()> {
    let mut bytes = fs::read(image.join("initrd.cpio")).context("read the guests' image")?;
    let mut archive = Archive::default();
    archive.file(Path::new("vm.sh"), 0o755, script.as_bytes())?;
    bytes.extend(archive.finish()?);
    fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
}

/// What the image is made of, as text: another text, another image.
fn recipe() -> Result<String> {
    let mut text = format!("{INIT}modules {}\n", MODULES.join(" "));
    for program in PROGRAMS {
        let path = path_of(program)?;
        let about = fs::metadata(&path)?;
        let _ = writeln!(text, "{} {} {}", path.display(), about.size(), about.mtime());
    }
    Ok(text)
}

fn initramfs(kernel: &kernel::Unpacked, work: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "sys", "run", "tmp", "etc", "root", "sbin"] {
        archive.directory(Path::new(dir))?;
    }
    archive.character_device(Path::new("dev/console"), (5, 1))?;
    archive.file(Path::new("init"), 0o755, INIT.as_bytes())?;

    archive.file(Path::new("bin/busybox"), 0o755, &fs::read(&kernel.busybox)?)?;
    let applets = run(Command::new(&kernel.busybox).arg("--list"))?;
    let applets =
        applets.lines().filter(|name| !PROGRAMS.contains(name) && !NOT_FROM_BUSYBOX.contains(name));
    for applet in applets {
        archive.symlink(&Path::new("bin").join(applet), "busybox")?;
    }
    archive.symlink(Path::new("bin/sh"), "dash")?;
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let path = path_of(program)?;
        archive.file(&Path::new("bin").join(program), 0o755, &fs::read(&path)?)?;
        libraries.extend(libraries_of(&path)?);
    }
    for library in libraries {
        archive.file(library.strip_prefix("/")?, 0o755, &fs::read(&library)?)?;
    }

    let stage = work.join("stage");
    kernel.stage_modules(MODULES, &stage)?;
    add_tree(&mut archive, &stage, Path::new(""))?;
    archive.finish()
}

fn add_tree(archive: &mut Archive, from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            add_tree(archive, &path, &name)?;
        } else {
            archive.file(&name, 0o644, &fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let text = run(Command::new("ldd").arg(program))?;
    let absolute =
        |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(absolute).collect())
}

fn path_of(program: &str) -> Result<PathBuf> {
    find_program(program).with_context(|| format!("{program} is missing"))
}
