//! Records about devices, one small JSON file each, in a directory of the state directory. Old file or new, never half.

use std::{
    fs::{self, File},
    io,
    marker::PhantomData,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::replace::replace;

/// Where a device lives: an index means something only inside one network namespace of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Place {
    boot_id: String,
    /// The inode of the network namespace.
    namespace: u64,
}

impl Place {
    fn here() -> io::Result<Self> {
        Ok(Self {
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            namespace: fs::metadata("/proc/thread-self/ns/net")?.ino(),
        })
    }
}

/// What can be kept about a device.
pub(super) trait Kept: Serialize + DeserializeOwned + Send + 'static {
    /// Where in the state directory.
    const DIRECTORY: &str;

    /// The name of the device.
    fn device(&self) -> &str;
}

/// The records of one sort in a state directory.
#[derive(Clone, Debug)]
pub(super) struct Store<T> {
    directory: Arc<Path>,
    place: Place,
    records: PhantomData<T>,
}

impl<T: Kept> Store<T> {
    /// Opens the records of a state directory, in the network namespace of the calling thread.
    pub(super) async fn open(state_dir: &Path) -> io::Result<Self> {
        let directory: Arc<Path> = state_dir.join(T::DIRECTORY).into();
        let place = Place::here()?;
        let made = Arc::clone(&directory);
        blocking(move || fs::create_dir_all(made)).await?;
        Ok(Self { directory, place, records: PhantomData })
    }

    /// Where this daemon's devices live.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Reads all records. A file that is no record is an error of its own, and no reason to lose the others.
    pub(super) async fn all(&self) -> io::Result<(Vec<T>, Vec<io::Error>)> {
        let directory = Arc::clone(&self.directory);
        blocking(move || {
            let mut records = Vec::new();
            let mut unreadable = Vec::new();
            for entry in fs::read_dir(directory)? {
                let path = entry?.path();
                if path.extension().is_none_or(|extension| extension != "json") {
                    continue;
                }
                match read(&path) {
                    Ok(Some(record)) => records.push(record),
                    Ok(None) => {}
                    Err(error) => unreadable.push(error),
                }
            }
            records.sort_by(|a: &T, b: &T| a.device().cmp(b.device()));
            Ok((records, unreadable))
        })
        .await
    }

    /// Reads the record of a device.
    pub(super) async fn load(&self, device: &str) -> io::Result<Option<T>> {
        let path = self.path(device);
        blocking(move || read(&path)).await
    }

    /// Writes a record, in place of an older one for the same name; on disk when this returns.
    pub(super) async fn save(&self, record: &T) -> io::Result<()> {
        let path = self.path(record.device());
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        blocking(move || replace(&path, &text, |_| Ok(()))).await
    }

    /// Forgets a device.
    pub(super) async fn remove(&self, device: &str) -> io::Result<()> {
        let directory = Arc::clone(&self.directory);
        let path = self.path(device);
        blocking(move || {
            match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            }
            File::open(&directory)?.sync_all()
        })
        .await
    }

    fn path(&self, device: &str) -> PathBuf {
        self.directory.join(format!("{device}.json"))
    }
}

fn read<T: Kept>(path: &Path) -> io::Result<Option<T>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let record = serde_json::from_slice(&text).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    })?;
    Ok(Some(record))
}

/// Runs file work where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
