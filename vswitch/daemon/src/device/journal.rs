//! What was changed on devices, written down before it is changed: one small JSON file a device in
//! `STATE/devices/`. Old file or new, never half. Says what to undo; undoes nothing itself.

use std::{
    fs::{self, File},
    io,
    net::Ipv6Addr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use weft_ports::link::Strippable;
use weft_vlan::MacAddr;

use super::told::Link;
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

/// The claim of one device: which one it is, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Record {
    /// The name under which it was claimed.
    pub(super) device: String,
    pub(super) index: u32,
    /// Its MAC address when it was claimed.
    pub(super) mac: Option<MacAddr>,
    pub(super) place: Place,
    pub(super) purpose: Purpose,
    pub(super) changes: Changes,
}

/// What sort of port a device was claimed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Purpose {
    Netdev,
    Tap,
}

impl Record {
    pub(super) fn new(link: &Link, place: &Place, purpose: Purpose) -> Self {
        Self {
            device: link.name.clone(),
            index: link.index,
            mac: link.mac,
            place: place.clone(),
            purpose,
            changes: Changes::default(),
        }
    }
}

/// What has been changed, or is about to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct Changes {
    /// The handle of the drop on the way into the host's stack.
    pub(super) drop_handle: Option<u32>,
    /// Whether the clsact qdisc around it is ours.
    pub(super) made_clsact: bool,
    /// How the kernel made IPv6 addresses before it was told not to.
    pub(super) address_generation: Option<u8>,
    /// The kernel's link-local addresses that were taken off.
    pub(super) link_locals: Vec<LinkLocal>,
    /// Whether its large receive offload was switched off.
    pub(super) lro_off: bool,
    /// Whether it was kept from stripping VLAN tags.
    pub(super) stripping_off: bool,
    /// Whether it was kept from stripping the tags of 802.1ad.
    pub(super) service_stripping_off: bool,
    /// Whether it was set up.
    pub(super) set_up: bool,
    /// The MTU before and the MTU that was set.
    pub(super) mtu: Option<MtuChange>,
}

impl Changes {
    /// Tells whether the device was kept from stripping these tags.
    pub(super) fn has_stripping_off(&self, tags: Strippable) -> bool {
        match tags {
            Strippable::Customer => self.stripping_off,
            Strippable::Service => self.service_stripping_off,
        }
    }

    /// What [`Changes::has_stripping_off`] tells, to be changed.
    pub(super) fn stripping_off_mut(&mut self, tags: Strippable) -> &mut bool {
        match tags {
            Strippable::Customer => &mut self.stripping_off,
            Strippable::Service => &mut self.service_stripping_off,
        }
    }
}

/// A link-local address and its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LinkLocal {
    pub(super) address: Ipv6Addr,
    pub(super) prefix: u8,
}

/// An MTU that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct MtuChange {
    pub(super) before: u32,
    pub(super) set: u32,
}

/// The records of one state directory.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    directory: Arc<Path>,
    place: Place,
}

impl Journal {
    /// Opens the records of a state directory, in the network namespace of the calling thread.
    pub(super) async fn open(state_dir: &Path) -> io::Result<Self> {
        let directory: Arc<Path> = state_dir.join("devices").into();
        let place = Place::here()?;
        let made = Arc::clone(&directory);
        blocking(move || fs::create_dir_all(made)).await?;
        Ok(Self { directory, place })
    }

    /// Where this daemon's devices live.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Reads all records. A file that is no record is an error of its own, and no reason to lose the others.
    pub(super) async fn all(&self) -> io::Result<(Vec<Record>, Vec<io::Error>)> {
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
            records.sort_by(|a: &Record, b: &Record| a.device.cmp(&b.device));
            Ok((records, unreadable))
        })
        .await
    }

    /// Reads the record of a device.
    pub(super) async fn load(&self, device: &str) -> io::Result<Option<Record>> {
        let path = self.path(device);
        blocking(move || read(&path)).await
    }

    /// Writes a record, in place of an older one for the same name; on disk when this returns.
    pub(super) async fn save(&self, record: &Record) -> io::Result<()> {
        let path = self.path(&record.device);
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

fn read(path: &Path) -> io::Result<Option<Record>> {
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
