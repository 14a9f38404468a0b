//! Writes the archive that Linux unpacks as its first file system. Format "newc", kernel documentation
//! `driver-api/early-userspace/buffer-format`. Reads none.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
/// Archives may follow one another at multiples of four bytes; the kernel's documentation pads to 512.
const BLOCK: usize = 512;

/// An archive in the making. Everything belongs to root; directories come by themselves.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a directory and those above it.
    pub(crate) fn directory(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || !self.directories.insert(path.to_owned()) {
            return Ok(());
        }
        self.parents(path)?;
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file with these permissions.
    pub(crate) fn file(&mut self, path: &Path, permissions: u32, content: &[u8]) -> Result<()> {
        self.parents(path)?;
        self.entry(path, REGULAR | permissions, (0, 0), content)
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &Path, to: &str) -> Result<()> {
        self.parents(path)?;
        self.entry(path, SYMLINK | 0o777, (0, 0), to.as_bytes())
    }

    /// Adds a character device by its major and minor number.
    pub(crate) fn character_device(&mut self, path: &Path, number: (u32, u32)) -> Result<()> {
        self.parents(path)?;
        self.entry(path, CHARACTER_DEVICE | 0o600, number, &[])
    }

    /// Ends the archive and returns it. Another may be appended as it is.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry(Path::new("TRAILER!!!"), 0, (0, 0), &[])?;
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), |parent| self.directory(parent))
    }

    fn entry(&mut self, path: &Path, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        let name = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        let size = u32::try_from(content.len()).with_context(|| format!("{name} is too large"))?;
        let name_size = u32::try_from(name.len() + 1).context("a name is too long")?;
        self.entries += 1;
        let (major, minor) = device;
        // inode, mode, uid, gid, links, mtime, size, device, device of a node, name, checksum (none).
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_brings_its_directories_and_every_part_is_padded_to_four() {
        let mut archive = Archive::default();
        archive.file(Path::new("etc/name"), 0o644, b"vm\n").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8_lossy(&bytes);

        let header = |inode: u32, mode: u32, size: u32, name: u32| {
            format!(
                "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{0:08x}{0:08x}{name:08x}{0:08x}",
                0, 1
            )
        };
        let directory = format!("{}etc\0\0\0", header(1, 0o040_755, 0, 4));
        let file = format!("{}etc/name\0\0vm\n\0", header(2, 0o100_644, 3, 9));
        let trailer = format!("{}TRAILER!!!\0", header(3, 0, 0, 11));
        assert!(text.starts_with(&format!("{directory}{file}{trailer}")), "{text}");
        assert_eq!(bytes.len() % BLOCK, 0);
    }
}
