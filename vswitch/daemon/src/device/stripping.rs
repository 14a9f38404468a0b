//! VLAN tags that the hardware takes off received frames and hands over beside them, where an XDP program does not see
//! them. Off while such a program takes the frames. ethtool(8), `-K DEV rxvlan`.

use std::io;

use rustix::io::Errno;
use weft_ports::link::{Links, Stripping};

use super::{
    Devices, Refusal,
    journal::Record,
    lro::{ask, refused},
    state_dir,
    told::Link,
};

/// Where the tags of received frames may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// In the frame or beside it.
    Anywhere,
    /// In the frame only.
    InFrame,
}

impl Devices {
    /// Sees to it that tags are where they may be, and that a device which may strip them does so again where an
    /// earlier claim kept it from that.
    pub(super) async fn see_to_tags(
        &self,
        link: &Link,
        tags: Tags,
        record: &mut Record,
    ) -> Result<(), Refusal> {
        let name = &link.name;
        let failed = state_dir(name);
        match tags {
            Tags::InFrame if get(name).await? == Stripping::On => {
                record.changes.stripping_off = true;
                self.journal.save(record).await.map_err(failed)?;
                set(name, Stripping::Off).await
            }
            Tags::Anywhere if record.changes.stripping_off => {
                set(name, Stripping::On).await?;
                record.changes.stripping_off = false;
                self.journal.save(record).await.map_err(failed)
            }
            _ => Ok(()),
        }
    }
}

/// Tells whether a device strips tags; most of those that are no hardware cannot.
pub(super) async fn get(device: &str) -> Result<Stripping, Refusal> {
    match ask(device, Links::stripping).await {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => Ok(Stripping::Off),
        asked => {
            asked.map_err(|error: io::Error| refused(device, "ask for its VLAN offload", &error))
        }
    }
}

/// Makes a device strip tags, or not.
pub(super) async fn set(device: &str, wanted: Stripping) -> Result<(), Refusal> {
    let step = match wanted {
        Stripping::On => "let it strip VLAN tags again",
        Stripping::Off => "keep it from stripping VLAN tags",
    };
    let done = ask(device, move |links, device| links.set_stripping(device, wanted)).await;
    done.map_err(|error| refused(device, step, &error))
}
