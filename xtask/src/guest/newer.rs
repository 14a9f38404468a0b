//! A newer QEMU than the installed one, for the tests: what Debian backports for this release, unpacked and not
//! installed. Users have either.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use weft_bench::lab::run;

use crate::{layout, say};

/// Packages with what a machine of the tests needs.
const PACKAGES: &[&str] = &["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
const PROGRAM: &str = "qemu-system-x86_64";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Makes sure that it is there, and returns the path of its program; `None`, and says why, where it cannot be had.
pub(crate) fn ensure_newer_qemu() -> Option<PathBuf> {
    let program = layout::newer_qemu().join(PROGRAM);
    if program.exists() {
        return Some(program);
    }
    match fetch(&layout::newer_qemu(), &program) {
        Ok(()) => Some(program),
        Err(error) => {
            say::note(&format!("there is no newer QEMU: {error:#}"));
            None
        }
    }
}

fn fetch(dir: &Path, program: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    let files = dir.join("files");
    download(&dir.join("apt"), &files)?;
    let shares = ["usr/share/qemu", "usr/share/seabios"].map(|share| files.join(share));
    let [qemu, seabios] = shares.each_ref().map(|share| share.display());
    let unpacked = files.join("usr/bin").join(PROGRAM);
    let script =
        format!("#!/bin/sh\nexec '{}' -L '{qemu}' -L '{seabios}' \"$@\"\n", unpacked.display());
    let version = run(Command::new(&unpacked).arg("--version"))?;
    let installed = run(Command::new(PROGRAM).arg("--version"))?;
    ensure!(version != installed, "what apt offers is the installed one");
    say::note(version.lines().next().unwrap_or_default());
    // It comes last: half of it is never taken for the whole.
    let draft = dir.join("draft");
    fs::write(&draft, script)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
    Ok(fs::rename(draft, program)?)
}

/// Downloads the packages and unpacks them, by lists of their own in `work`: what apt installs stays as it is.
fn download(work: &Path, files: &Path) -> Result<()> {
    for part in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(work.join(part))?;
    }
    let source = work.join("backports.sources");
    fs::write(&source, backports()?)?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.current_dir(work).args(["-q", "-o", "Dir::Etc::SourceParts=/dev/null"]);
        for (key, path) in [
            ("Etc::SourceList", source.clone()),
            ("State::Lists", work.join("lists")),
            ("Cache", work.join("cache")),
        ] {
            command.arg("-o").arg(format!("Dir::{key}={}", path.display()));
        }
        run(command.args(arguments))
    };
    apt(&["update"])?;
    apt(&[&["download"], PACKAGES].concat())?;
    for entry in fs::read_dir(work)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(&path).arg(files))?;
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Returns the source of backports for the release that apt is set up for, from where it has everything else.
fn backports() -> Result<String> {
    let format = ["--format", "$(ORIGIN) $(REPO_URI) $(CODENAME)", "Identifier: Packages"];
    let known = run(Command::new("apt-get").arg("indextargets").args(format))?;
    let (uri, codename) =
        release(&known).context("apt is not set up for a release of Debian, or has no lists")?;
    Ok(format!(
        "Types: deb\nURIs: {uri}\nSuites: {codename}-backports\nComponents: main\nSigned-By: {KEYS}\n"
    ))
}

/// Finds Debian's own release among what apt is set up for: its address and name.
fn release(known: &str) -> Option<(&str, &str)> {
    known.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (origin, uri, codename) = (words.next()?, words.next()?, words.next()?);
        // A name in two parts is that of updates, of security, of backports.
        (origin == "Debian" && !codename.contains('-')).then_some((uri, codename))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_told_from_what_stands_beside_it() {
        let known = "Somebody mirror://a/ bookworm\nDebian mirror://b/ bookworm-updates\n\
                     Debian mirror://c/ bookworm\nDebian mirror://d/ bookworm-security\n";
        assert_eq!(release(known), Some(("mirror://c/", "bookworm")));
        assert_eq!(release("Debian mirror://b/ bookworm-updates\n"), None);
    }
}
