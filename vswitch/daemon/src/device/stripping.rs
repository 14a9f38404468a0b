//! VLAN tags that the hardware takes off received frames and hands over beside them, where an XDP program does not see
//! them. Off while such a program takes the frames. ethtool(8), `-K DEV rxvlan` and `rx-vlan-stag-hw-parse`.

use std::io;

use rustix::io::Errno;
use weft_ports::link::{Strippable, Stripping};

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

/// Checks that the tags of a device's frames can be kept in them. Software devices hand tags over beside the frame
/// whatever is asked of them, but for TAPs, which have them in it, and veths, whose driver tells an XDP program of them.
pub(super) fn check_kind(link: &Link, tags: Tags) -> Result<(), Refusal> {
    let Some(kind) = link.kind.as_deref().filter(|kind| !["tun", "veth"].contains(kind)) else {
        return Ok(());
    };
    match tags {
        Tags::Anywhere => Ok(()),
        Tags::InFrame => Err(Refusal::Unsuitable {
            device: link.name.clone(),
            reason: format!(
                "is a {kind} device, and the kernel does not tell XDP programs the VLAN tags of its frames; \
                 use io = \"packet\""
            ),
        }),
    }
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
        for strippable in STRIPPABLE {
            self.see_to(&link.name, strippable, tags, record).await?;
        }
        Ok(())
    }

    async fn see_to(
        &self,
        name: &str,
        strippable: Strippable,
        tags: Tags,
        record: &mut Record,
    ) -> Result<(), Refusal> {
        let failed = state_dir(name);
        match tags {
            Tags::InFrame if get(name, strippable).await? == Stripping::On => {
                *record.changes.stripping_off_mut(strippable) = true;
                self.journal.save(record).await.map_err(failed)?;
                set(name, strippable, Stripping::Off).await
            }
            Tags::Anywhere if *record.changes.stripping_off_mut(strippable) => {
                set(name, strippable, Stripping::On).await?;
                *record.changes.stripping_off_mut(strippable) = false;
                self.journal.save(record).await.map_err(failed)
            }
            _ => Ok(()),
        }
    }
}

/// In the order in which they are switched off, and on again.
pub(super) const STRIPPABLE: [Strippable; 2] = [Strippable::Customer, Strippable::Service];

/// Tells whether a device strips tags; most of those that are no hardware cannot.
pub(super) async fn get(device: &str, tags: Strippable) -> Result<Stripping, Refusal> {
    match ask(device, move |links, device| links.stripping(device, tags)).await {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => Ok(Stripping::Off),
        asked => {
            asked.map_err(|error: io::Error| refused(device, "ask for its VLAN offload", &error))
        }
    }
}

/// Makes a device strip tags, or not.
pub(super) async fn set(device: &str, tags: Strippable, wanted: Stripping) -> Result<(), Refusal> {
    let step = match wanted {
        Stripping::On => "let it strip VLAN tags again",
        Stripping::Off => "keep it from stripping VLAN tags",
    };
    let done = ask(device, move |links, device| links.set_stripping(device, tags, wanted)).await;
    done.map_err(|error| refused(device, step, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_devices_that_hide_tags_are_refused_where_tags_must_be_in_the_frame() {
        for (kind, is_fit) in [
            (None, true),
            (Some("tun"), true),
            (Some("veth"), true),
            (Some("macvlan"), false),
            (Some("bridge"), false),
            (Some("bond"), false),
            (Some("team"), false),
            (Some("netkit"), false),
            (Some("dummy"), false),
        ] {
            let link = Link {
                index: 2,
                name: "d".into(),
                mtu: 1500,
                up: true,
                running: true,
                ethernet: true,
                loopback: false,
                mac: None,
                kind: kind.map(str::to_owned),
                master: None,
                lower: None,
                address_generation: None,
            };
            assert_eq!(check_kind(&link, Tags::InFrame).is_ok(), is_fit, "{kind:?}");
            assert!(check_kind(&link, Tags::Anywhere).is_ok(), "{kind:?}");
        }
    }
}
