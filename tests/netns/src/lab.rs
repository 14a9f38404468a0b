//! What a test stands on: a directory, and the namespace that the switch runs in.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

use tempfile::TempDir;

use crate::{Daemon, Namespace};

/// A directory and a namespace of the test's own, gone with it.
#[derive(Debug)]
pub struct Lab {
    directory: TempDir,
    switch: Namespace,
    workers: usize,
}

impl Lab {
    /// Makes a lab whose daemons have `WEFT_WORKERS` workers, else one or two by the test's name.
    pub fn new() -> Self {
        let workers = match env::var("WEFT_WORKERS") {
            Ok(text) => text.parse().expect("WEFT_WORKERS is a number"),
            Err(_) => {
                let mut hasher = DefaultHasher::new();
                thread::current().name().hash(&mut hasher);
                1 + (hasher.finish() % 2) as usize
            }
        };
        Self::with_workers(workers)
    }

    /// Makes a lab whose daemons have this many workers.
    pub fn with_workers(workers: usize) -> Self {
        Self::in_namespace(workers, Namespace::new())
    }

    /// Makes a lab whose switch runs in this namespace.
    pub fn in_namespace(workers: usize, switch: Namespace) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("weft-")
            .tempdir()
            .expect("a temporary directory can be made");
        // Others than root take part in the tests of who may do what.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))
            .expect("the directory is our own");
        Self { directory, switch, workers }
    }

    /// Returns the namespace that the switch runs in.
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the path of a file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns how many workers the daemons have.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Writes a file into the directory and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file can be written into the lab's directory");
        path
    }

    /// Starts a daemon with this configuration in the switch's namespace.
    #[track_caller]
    pub fn daemon(&self, config: &str) -> Daemon {
        Daemon::start(self, "weftd", config)
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}
