//! Files that are replaced as a whole: after a crash at any moment one holds the old bytes or the new ones, and
//! what was half written lies in the way of nothing.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// Puts bytes in a file's place, on disk when this returns. `prepare` gives the new file its mode and owner.
///
/// The new file has one name of its own, so that those of writers that were killed do not gather.
///
/// # Errors
/// When the directory refuses; then the file is what it was.
pub(crate) fn replace(
    path: &Path,
    contents: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
    name.push(".new");
    match fs::remove_file(directory.join(&name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempfile_in(directory)?;
    new.write_all(contents)?;
    prepare(new.as_file())?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_gone_with_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weft.toml");
        fs::write(directory.path().join(".weft.toml.new"), "half a te").unwrap();
        replace(&path, b"whole\n", |_| Ok(())).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weft.toml");
        fs::write(&path, "old\n").unwrap();
        replace(&path, b"new\n", |_| Err(io::ErrorKind::PermissionDenied.into())).unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
