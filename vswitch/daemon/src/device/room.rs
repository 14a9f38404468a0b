//! Room for tags: a port's frames may be its MTU long with two tags more, yet a packet socket may send 4 bytes over the
//! device's MTU only, and those behind EtherType 0x8100 only. packet(7), `packet_snd` in the kernel. So the device's MTU
//! is raised; what the port takes for the device's is the MTU without that.

use rustix::io::Errno;

use super::{
    Device, Devices, Refusal,
    journal::{MtuChange, Record},
    state_dir, suitable,
    told::Link,
};

/// Bytes of two tags.
pub(crate) const TWO_TAGS: u32 = 8;
/// A device that rises to it gets IPv6, and at once an address of its own. RFC 8200 §5.
const IPV6_MINIMUM: u32 = 1280;

impl Record {
    /// Plans room for tags on its device, unless there is what was made before.
    pub(super) fn plan_room(&mut self, link: &Link) {
        if self.changes.mtu.is_none_or(|change| change.set != link.mtu) {
            let set = raised(link.mtu);
            self.changes.mtu = (set > link.mtu).then_some(MtuChange { before: link.mtu, set });
        }
    }

    /// Returns the MTU of its device without the room for tags.
    pub(super) fn mtu_without_room(&self, link: &Link) -> u32 {
        let made = self.changes.mtu.filter(|change| change.set == link.mtu);
        made.map_or(link.mtu, |change| change.before)
    }
}

fn raised(mtu: u32) -> u32 {
    let raised = mtu.saturating_add(TWO_TAGS);
    if mtu < IPV6_MINIMUM { raised.min(IPV6_MINIMUM - 1) } else { raised }
}

impl Devices {
    /// Makes the room that is planned. A device that takes no such MTU keeps its own.
    pub(super) async fn make_room(&self, link: &Link, record: &mut Record) -> Result<(), Refusal> {
        let name = &link.name;
        let Some(MtuChange { set, .. }) =
            record.changes.mtu.filter(|change| change.set != link.mtu)
        else {
            return Ok(());
        };
        match self.netlink.set_mtu(link.index, set).await {
            Ok(()) => Ok(()),
            Err(failure) if failure.is(Errno::NODEV) => Err(Refusal::Missing(name.clone())),
            Err(failure) => {
                tracing::warn!(device = name, mtu = set, %failure, "the device takes no MTU with room for tags");
                record.changes.mtu = None;
                self.journal.save(record).await.map_err(state_dir(name))
            }
        }
    }

    /// Looks again at a `netdev` port's device of which something has changed: whether the host uses it, and whether
    /// it has another MTU, with room to be made anew. Whoever has set that back to what it was before the claim has
    /// the last word. `None` when it is no port's, or gone.
    ///
    /// # Errors
    ///
    /// The kernel or the state directory said no.
    pub(crate) async fn follow(&self, index: u32) -> Result<Option<Device>, Refusal> {
        let _turn = self.turn.lock().await;
        let look = super::context("", "look at it");
        let Some(link) = self.netlink.link_by_index(index).await.map_err(look)? else {
            return Ok(None);
        };
        let Some(mut record) = self.record_about(&link).await? else { return Ok(None) };
        let before = record.changes.mtu;
        if before.is_none_or(|change| change.before != link.mtu) {
            record.plan_room(&link);
        }
        if record.changes.mtu != before {
            self.journal.save(&record).await.map_err(state_dir(&link.name))?;
            self.make_room(&link, &mut record).await?;
        }
        let link = self.find(&link.name).await?;
        let used = match suitable::check_netdev(&self.netlink, &link).await {
            Ok(_) => None,
            Err(used @ Refusal::Unsuitable { .. }) => Some(used.to_string()),
            Err(refusal) => return Err(refusal),
        };
        Ok(Some(Device { used, ..Device::new(&link, &record) }))
    }

    /// Returns the record of a device, which may have another name by now.
    async fn record_about(&self, link: &Link) -> Result<Option<Record>, Refusal> {
        let failed = state_dir(&link.name);
        let named = self.journal.load(&link.name).await.map_err(&failed)?;
        if let Some(record) = named
            && self.is_same(&record, link).await?
        {
            return Ok(Some(record));
        }
        let (records, _) = self.journal.all().await.map_err(&failed)?;
        for record in records {
            if self.is_same(&record, link).await? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}
