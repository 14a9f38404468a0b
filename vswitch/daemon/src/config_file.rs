//! The configuration file: read once, written atomically, never written over somebody else's edit.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use crate::replace::replace;

/// The configuration file and the text that the daemon knows of it.
pub(crate) struct ConfigFile {
    path: PathBuf,
    known: Option<String>,
}

/// Why the file was left alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// Somebody else wrote it.
    #[error("{} is not what weftd loaded: it was edited meanwhile", .0.display())]
    Changed(PathBuf),
    /// It was there and is gone.
    #[error("{} is gone; an empty one would take every port away", .0.display())]
    Gone(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}: {}", .0.display(), .1)]
    Read(PathBuf, io::Error),
    /// It cannot be written.
    #[error("cannot write {}: {}", .0.display(), .1)]
    Write(PathBuf, io::Error),
}

impl ConfigFile {
    /// Loads the file; one that does not exist counts as empty.
    pub(crate) fn load(path: &Path) -> Result<Self, FileError> {
        let mut file = Self { path: path.to_owned(), known: None };
        file.known = file.read()?;
        Ok(file)
    }

    /// Returns the path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the file was there when it was last read or written.
    pub(crate) fn exists(&self) -> bool {
        self.known.is_some()
    }

    /// Returns the text as it was last read or written.
    pub(crate) fn text(&self) -> &str {
        self.known.as_deref().unwrap_or_default()
    }

    /// Reads what is in the file, without taking it for known.
    pub(crate) fn read(&self) -> Result<Option<String>, FileError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(FileError::Read(self.path.clone(), error)),
        }
    }

    /// Reads what is in the file to put it in force. A file that is gone is not an empty one: editors take it away
    /// for a moment, and nobody means to lose every port.
    pub(crate) fn read_again(&self) -> Result<Option<String>, FileError> {
        let text = self.read()?;
        if text.is_none() && self.exists() {
            return Err(FileError::Gone(self.path.clone()));
        }
        Ok(text)
    }

    /// Takes a text that was read for known.
    pub(crate) fn know(&mut self, text: Option<String>) {
        self.known = text;
    }

    /// Fails when the file is not what the daemon knows of it.
    pub(crate) fn check_unchanged(&self) -> Result<(), FileError> {
        if self.read()? == self.known { Ok(()) } else { Err(FileError::Changed(self.path.clone())) }
    }

    /// Replaces the file as a whole: after a crash at any moment it holds the old text or the new one. Tells
    /// whether it had to: a file that holds the text already, whoever wrote it, is only taken for known.
    pub(crate) fn write(&mut self, text: &str) -> Result<bool, FileError> {
        if self.read()?.as_deref() == Some(text) {
            self.known = Some(text.to_owned());
            return Ok(false);
        }
        self.check_unchanged()?;
        put(&self.path, text).map_err(|error| FileError::Write(self.path.clone(), error))?;
        self.known = Some(text.to_owned());
        Ok(true)
    }
}

/// Writes a text in place of the file's, with the file's mode and owner.
fn put(path: &Path, text: &str) -> io::Result<()> {
    // A link stays a link: what it points to is replaced.
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    replace(&target, text.as_bytes(), |new| match fs::metadata(&target) {
        Ok(old) => {
            new.set_permissions(old.permissions())?;
            fchown(new, Some(old.uid()), Some(old.gid()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            new.set_permissions(fs::Permissions::from_mode(0o644))
        }
        Err(error) => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_keeps_the_mode_and_follows_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real.toml"), directory.path().join("link.toml"));
        fs::write(&real, "a = 1\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut file = ConfigFile::load(&link).unwrap();
        file.write("a = 2\n").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "a = 2\n");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_edit_by_somebody_else_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weft.toml");
        fs::write(&path, "a = 1\n").unwrap();
        let mut file = ConfigFile::load(&path).unwrap();
        fs::write(&path, "a = 3\n").unwrap();
        assert!(matches!(file.write("a = 2\n"), Err(FileError::Changed(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a = 3\n");
        assert!(
            matches!(file.write("a = 3\n"), Ok(false)),
            "what the editor meant is what is there"
        );
        fs::write(&path, "a = 4\n").unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.write("a = 2\n"), Err(FileError::Changed(_))));
        assert!(!path.exists());
    }
}
