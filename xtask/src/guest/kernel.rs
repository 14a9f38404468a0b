//! The guests' kernel and its modules: Debian's own, unpacked and not installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use weft_bench::lab::run;

use crate::{containment::is_root, setup};

/// Debian's name for whatever kernel is current. The cloud kernels are smaller and lack emulated cards.
const CURRENT: &str = "linux-image-amd64";
const BUSYBOX: &str = "busybox-static";

/// A package with its version, as apt offers it.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// Finds out which kernel apt offers.
///
/// # Errors
/// When apt knows none, even with fresh lists.
pub(crate) fn current() -> Result<Package> {
    let show = || field_of(CURRENT, "Depends");
    let depends = match show() {
        Err(_) if is_root() => {
            setup::update_lists()?;
            show()
        }
        shown => shown,
    };
    let depends = depends.context(
        "apt offers no kernel for the guests; fetch its lists with: sudo apt-get update",
    )?;
    let name = depends.split([' ', ',']).next().unwrap_or_default().to_owned();
    let version = field_of(&name, "Version")?;
    Ok(Package { name, version })
}

/// Downloads kernel and busybox and unpacks them under `dir`.
///
/// # Errors
/// When apt or dpkg fails.
pub(crate) fn unpack(kernel: &Package, dir: &Path) -> Result<Unpacked> {
    let download = || {
        run(Command::new("apt-get").current_dir(dir).args([
            "-q",
            "download",
            &kernel.name,
            BUSYBOX,
        ]))
    };
    if let Err(error) = download() {
        // What old lists name may be gone from the server.
        if !is_root() {
            return Err(
                error.context("download failed; old lists are renewed with: sudo apt-get update")
            );
        }
        setup::update_lists()?;
        download()?;
    }
    let files = dir.join("files");
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(&files))?;
        }
    }
    let boot = find_in(&files.join("boot"), "vmlinuz-")?;
    // Newer packages have everything under /usr.
    let base =
        [files.join("usr"), files.clone()].into_iter().find(|dir| dir.join("lib/modules").exists());
    let base = base.context("the kernel's package has no modules")?;
    let release = find_in(&base.join("lib/modules"), "")?;
    let release = release.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let busybox = ["usr/bin/busybox", "bin/busybox"].map(|path| files.join(path));
    let busybox =
        busybox.into_iter().find(|path| path.exists()).context("no busybox in its package")?;
    Ok(Unpacked { image: boot, base, release, busybox })
}

/// A kernel's unpacked package, and busybox.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    /// The bootable image.
    pub(crate) image: PathBuf,
    base: PathBuf,
    release: String,
    /// The static busybox.
    pub(crate) busybox: PathBuf,
}

impl Unpacked {
    /// Copies the named modules, and those that they need, into a tree under `stage` that `modprobe` reads.
    /// Names that the kernel has built in are passed over.
    ///
    /// # Errors
    /// When a module exists neither as a file nor built in.
    pub(crate) fn stage_modules(&self, names: &[&str], stage: &Path) -> Result<()> {
        let depmod =
            |base: &Path| run(Command::new("depmod").arg("-b").arg(base).arg(&self.release));
        depmod(&self.base)?;
        let from = self.base.join("lib/modules").join(&self.release);
        let to = stage.join("lib/modules").join(&self.release);
        fs::create_dir_all(&to)?;
        let builtin = fs::read_to_string(from.join("modules.builtin"))?;
        for file in wanted(&fs::read_to_string(from.join("modules.dep"))?, &builtin, names)? {
            let (source, target) = (from.join(&file), to.join(file.trim_end_matches(".xz")));
            fs::create_dir_all(target.parent().unwrap_or(&to))?;
            if file.ends_with(".xz") {
                let plain = Command::new("xz").arg("-dc").arg(&source).output()?;
                ensure!(plain.status.success(), "xz could not unpack {}", source.display());
                fs::write(target, plain.stdout)?;
            } else {
                fs::copy(&source, &target)?;
            }
        }
        for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            fs::copy(from.join(list), to.join(list))?;
        }
        depmod(stage)?;
        Ok(())
    }
}

/// The files of these modules and of all that they need, from the text of `modules.dep`.
fn wanted(dependencies: &str, builtin: &str, names: &[&str]) -> Result<BTreeSet<String>> {
    let by_name: BTreeMap<_, _> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (module_name(file), (file, needs)))
        .collect();
    let builtin: BTreeSet<_> = builtin.lines().map(module_name).collect();
    let mut files = BTreeSet::new();
    for name in names {
        match by_name.get(*name) {
            // `modules.dep` lists what a module needs in full, not only the next step.
            Some((file, needs)) => {
                files.insert((*file).to_owned());
                files.extend(needs.split_whitespace().map(str::to_owned));
            }
            None => ensure!(builtin.contains(*name), "the guests' kernel has no module {name}"),
        }
    }
    Ok(files)
}

fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

fn field_of(package: &str, field: &str) -> Result<String> {
    let shown = run(Command::new("apt-cache").args(["show", "--no-all-versions", package]))?;
    let value = shown.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(": "));
    value.map(str::to_owned).with_context(|| format!("apt names no {field} of {package}"))
}

fn find_in(dir: &Path, prefix: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("{} holds no {prefix}…", dir.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/drivers/virtio/virtio.ko\n\
                       kernel/net/core/failover.ko:\n\
                       kernel/drivers/net/ethernet/intel/e1000/e1000.ko.xz:\n";

    #[test]
    fn module_comes_with_all_that_it_needs() {
        let files = wanted(DEP, "", &["virtio_net"]).unwrap();
        let files: Vec<_> = files.iter().map(|file| module_name(file)).collect();
        assert_eq!(files, ["virtio_net", "virtio", "failover"]);
    }

    #[test]
    fn built_in_module_needs_no_file() {
        assert_eq!(
            wanted(DEP, "kernel/net/packet/af-packet.ko\n", &["af_packet"]).unwrap().len(),
            0
        );
    }

    #[test]
    fn unknown_module_is_an_error_that_names_it() {
        let error = wanted(DEP, "", &["e1000", "wifi"]).unwrap_err();
        assert_eq!(error.to_string(), "the guests' kernel has no module wifi");
    }
}
