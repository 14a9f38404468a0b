//! Care for the kernel devices behind `netdev` and `tap` ports, over netlink: which may be a port, the
//! host's stack silent behind them, everything undone afterwards, and word of what happens to them.
//! DESIGN.md, "Ports". Moves no frame and opens no device.
//!
//! A `netdev` claim outlives the daemon: what was changed is in `STATE/devices/` before it is changed, and
//! the drop in front of the host's stack stays on the device until [`Devices::release`] or
//! [`Devices::undo_stale`] takes it off. A daemon that starts again claims again and finds it all done.

mod belongings;
mod claim;
mod gateway;
mod hold;
mod ipv6;
mod journal;
mod lro;
mod netlink;
mod room;
mod silence;
mod store;
mod stripping;
mod suitable;
mod told;
mod undo;
mod uplink;
mod watch;
mod way;

#[cfg(test)]
mod tests;

use std::{fmt, io, path::Path};

use rustix::io::Errno;
use tokio::sync::{Mutex, mpsc};
use weft_ports::link::{Links, Queues};
use weft_vlan::MacAddr;

pub(crate) use gateway::Gateways;
use hold::Holds;
use journal::{Journal, Purpose, Record};
use netlink::{Failure, Netlink};
pub(crate) use room::TWO_TAGS;
use stripping::Tags;
use told::Link;
pub(crate) use uplink::Carried;
use uplink::Register;
pub(crate) use watch::{Change, LinkEvent, LinkState};
pub(crate) use way::Way;

/// What a device is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A `netdev` port: an existing device that the host itself is to keep out of.
    Netdev,
    /// The same, where an XDP program takes the frames: tags must stay in them.
    Xdp,
    /// A `tap` port that the daemon has opened; the kernel side stays the host's.
    Tap {
        /// The MTU to give it; `None` for the kernel's own.
        mtu: Option<u32>,
    },
}

/// A claimed device as it is after the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// Its name.
    pub(crate) name: String,
    /// Its index.
    pub(crate) index: u32,
    /// Its MAC address.
    pub(crate) mac: Option<MacAddr>,
    /// Its MTU, without the room that was made on a `netdev` port's device for tags.
    pub(crate) mtu: u32,
    /// Its MTU as the kernel has it.
    pub(crate) kernel_mtu: u32,
    /// Whether it is administratively up.
    pub(crate) up: bool,
    /// Whether it has a carrier: something is at the other end.
    pub(crate) running: bool,
    /// In words, how the host has begun to use a `netdev` port's device itself.
    pub(crate) used: Option<String>,
}

impl Device {
    fn new(link: &Link, record: &Record) -> Self {
        let mtu = match record.purpose {
            Purpose::Netdev => record.mtu_without_room(link),
            Purpose::Tap => link.mtu,
        };
        Self {
            name: link.name.clone(),
            index: link.index,
            mac: link.mac,
            mtu,
            kernel_mtu: link.mtu,
            up: link.up,
            running: link.running,
            used: None,
        }
    }
}

/// Why a device is not a port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// There is none of that name.
    #[error("device {0} does not exist")]
    Missing(String),
    /// It is there and may not be used.
    #[error("device {device} {reason}")]
    Unsuitable {
        /// Its name.
        device: String,
        /// What is in the way, and what to do.
        reason: String,
    },
    /// The kernel or the state directory said no.
    #[error(transparent)]
    Io(#[from] Trouble),
}

/// A step that the kernel or the state directory refused.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub(crate) struct Trouble {
    step: String,
    cause: String,
}

impl Trouble {
    fn new(device: &str, step: &str, cause: &dyn fmt::Display) -> Self {
        Self { step: format!("device {device}: cannot {step}"), cause: cause.to_string() }
    }
}

/// Turns a netlink failure into a refusal that names the device and the step.
fn context<'a>(device: &'a str, step: &'a str) -> impl Fn(Failure) -> Refusal + 'a {
    move |failure| {
        if failure.is(Errno::NODEV) {
            return Refusal::Missing(device.into());
        }
        Refusal::Io(Trouble::new(device, step, &failure))
    }
}

fn state_dir<'a>(device: &'a str) -> impl Fn(io::Error) -> Refusal + 'a {
    move |error| Refusal::Io(Trouble::new(device, "keep its record in the state directory", &error))
}

/// The devices of one network namespace.
#[derive(Debug)]
pub(crate) struct Devices {
    netlink: Netlink,
    journal: Journal,
    uplinks: Register,
    holds: Holds,
    /// A claim reads, records and changes; two of them must not interleave.
    turn: Mutex<()>,
}

impl Devices {
    /// Opens netlink in the network namespace of the calling thread, and the records in the state directory.
    ///
    /// # Errors
    ///
    /// Netlink or the state directory cannot be opened.
    pub(crate) async fn new(state_dir: &Path) -> Result<Self, Trouble> {
        let netlink = Netlink::open().map_err(|error| Trouble {
            step: "cannot open netlink".into(),
            cause: error.to_string(),
        })?;
        let journal = Journal::open(state_dir).await.map_err(|error| Trouble {
            step: format!("cannot open the device records in {}", state_dir.display()),
            cause: error.to_string(),
        })?;
        let uplinks = Register::open(state_dir).await.map_err(|error| Trouble {
            step: format!("cannot open the records of uplinks in {}", state_dir.display()),
            cause: error.to_string(),
        })?;
        Ok(Self { netlink, journal, uplinks, holds: Holds::default(), turn: Mutex::new(()) })
    }

    /// Makes a device ready to be a port. A claim that a former daemon left goes on as it was.
    ///
    /// # Errors
    ///
    /// The device is missing, the host or another weftd uses it, or a step failed; then nothing stays changed,
    /// except that a claim of a former daemon stays closed.
    pub(crate) async fn claim(&self, device: &str, usage: Use) -> Result<Device, Refusal> {
        suitable::check_name(device)?;
        let _turn = self.turn.lock().await;
        let purpose = match usage {
            Use::Netdev | Use::Xdp => Purpose::Netdev,
            Use::Tap { .. } => Purpose::Tap,
        };
        let former = self.make_way(&self.find(device).await?, purpose).await?;
        let link = self.find(device).await?;
        let record = match usage {
            Use::Netdev | Use::Xdp => {
                self.holds.take(&link)?;
                let tags = if usage == Use::Xdp { Tags::InFrame } else { Tags::Anywhere };
                let claimed = self.claim_netdev(&link, former, tags).await;
                claimed.inspect_err(|_| self.holds.let_go(link.index))?
            }
            Use::Tap { mtu } => self.claim_tap(&link, mtu, former).await?,
        };
        Ok(Device::new(&self.find(device).await?, &record))
    }

    /// Undoes what a claim changed. A device that is gone, or another one of the same name, is let be.
    ///
    /// # Errors
    ///
    /// A step failed; the record stays, so that it can be tried again.
    pub(crate) async fn release(&self, device: &str) -> Result<(), Trouble> {
        if suitable::check_name(device).is_err() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let record = self.journal.load(device).await;
        match record.map_err(|error| Trouble::new(device, "read its record", &error))? {
            Some(record) => self.undo(&record).await,
            None => Ok(()),
        }
    }

    /// Undoes what a former daemon left on devices that are no longer ports, and returns what went wrong.
    pub(crate) async fn undo_stale(&self, in_use: &[&str]) -> Vec<Trouble> {
        let _turn = self.turn.lock().await;
        let (records, unreadable) = match self.journal.all().await {
            Ok(found) => found,
            Err(error) => {
                return vec![Trouble {
                    step: "cannot read the device records".into(),
                    cause: error.to_string(),
                }];
            }
        };
        let mut troubles: Vec<Trouble> = unreadable
            .iter()
            .map(|error| Trouble {
                step: "cannot read a device record".into(),
                cause: error.to_string(),
            })
            .collect();
        for record in records.iter().filter(|record| !in_use.contains(&record.device.as_str())) {
            if let Err(trouble) = self.undo(record).await {
                troubles.push(trouble);
            }
        }
        troubles
    }

    /// Tells of every device of the namespace: first those that exist, as [`Change::Added`], then what
    /// changes; of claimed ones also when the host may have begun to use them. Ends when the receiver is dropped.
    ///
    /// # Errors
    ///
    /// The netlink socket cannot be opened.
    pub(crate) async fn watch(&self) -> Result<mpsc::Receiver<LinkEvent>, Trouble> {
        watch::start(self.netlink.clone(), self.holds.clone()).map_err(|error| Trouble {
            step: "cannot watch the devices".into(),
            cause: error.to_string(),
        })
    }

    /// Returns the state of a device, where it can be seen.
    pub(crate) async fn state(&self, index: u32) -> Option<LinkState> {
        let link = self.netlink.link_by_index(index).await.ok()??;
        Some(LinkState { up: link.up, running: link.running, mtu: link.mtu })
    }

    /// Returns how many queues a device has, where it can be seen and its driver says so.
    pub(crate) async fn queues(&self, device: &str) -> Option<Queues> {
        lro::ask(device, Links::queues).await.ok()?
    }

    async fn find(&self, device: &str) -> Result<Link, Refusal> {
        let link =
            self.netlink.link_by_name(device).await.map_err(context(device, "look at it"))?;
        link.ok_or_else(|| Refusal::Missing(device.into()))
    }
}
