//! One weftd a device: whoever makes a `netdev` port of a device holds a Unix socket whose abstract name has the
//! device's index in it. unix(7). Such a name, like an index, means something inside one network namespace only, and
//! the kernel lets go of it with its process. A TAP that the daemon opens needs none: its queues are one process's.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
    process::geteuid,
};
use weft_ports::peer;

use super::{Refusal, Trouble, told::Link};

/// The devices that this daemon holds, by index.
#[derive(Clone, Debug, Default)]
pub(super) struct Holds(Arc<Mutex<BTreeMap<u32, Option<UnixListener>>>>);

impl Holds {
    /// Holds a device, unless another weftd does.
    pub(super) fn take(&self, link: &Link) -> Result<(), Refusal> {
        let mut held = self.held();
        if held.contains_key(&link.index) {
            return Ok(());
        }
        let name = name(link.index);
        let bound = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixListener::bind_addr(&address));
        let hold = match bound {
            Ok(listener) => Some(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                give_way(link, &name)?;
                None
            }
            Err(error) => return Err(Trouble::new(&link.name, "hold it", &error).into()),
        };
        held.insert(link.index, hold);
        Ok(())
    }

    /// Lets others have a device.
    pub(super) fn let_go(&self, index: u32) {
        self.held().remove(&index);
    }

    /// Tells whether this daemon holds a device.
    pub(super) fn has(&self, index: u32) -> bool {
        self.held().contains_key(&index)
    }

    /// Returns the devices that this daemon holds.
    pub(super) fn all(&self) -> BTreeSet<u32> {
        self.held().keys().copied().collect()
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<u32, Option<UnixListener>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(index: u32) -> Vec<u8> {
    format!("weft/device/{index}").into_bytes()
}

/// Refuses a device that somebody holds. Anyone can bind a name: a user who could be no weftd keeps nobody out.
fn give_way(link: &Link, name: &[u8]) -> Result<(), Refusal> {
    let holder = match holder(name) {
        Ok(Some(holder)) if holder.uid != 0 && holder.uid != geteuid().as_raw() => {
            tracing::warn!(
                device = link.name,
                uid = holder.uid,
                pid = holder.pid,
                "a stranger holds the device's name; another weftd would not be noticed"
            );
            return Ok(());
        }
        Ok(Some(holder)) => format!("another weftd, process {},", holder.pid),
        Ok(None) => "another weftd".to_owned(),
        Err(error) => return Err(Trouble::new(&link.name, "ask who holds it", &error).into()),
    };
    let reason = format!("is a port of {holder} in this network namespace; remove it there first");
    Err(Refusal::Unsuitable { device: link.name.clone(), reason })
}

/// Returns who listens under a name; `None` where nobody could tell, because he is overrun or just going.
fn holder(name: &[u8]) -> io::Result<Option<peer::Credentials>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&probe, &SocketAddrUnix::new_abstract_name(name)?) {
        Ok(()) => peer::credentials(&probe).map(Some),
        Err(Errno::AGAIN | Errno::CONNREFUSED) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
