//! How a claim is taken back, on the very device that it was made on and on no other.

use rustix::io::Errno;
use weft_ports::link::{Lro, Stripping};

use super::{
    Devices, Refusal, Trouble, context, ipv6,
    journal::{LinkLocal, Purpose, Record},
    lro,
    netlink::{NO_ADDRESSES, State},
    stripping, suitable,
    told::Link,
};

impl Devices {
    /// Tells whether a record is about this very device. Indexes come back: only the MAC address, or the
    /// drop that the claim left on it, makes sure.
    pub(super) async fn is_same(&self, record: &Record, link: &Link) -> Result<bool, Refusal> {
        if record.place != *self.journal.place() || record.index != link.index {
            return Ok(false);
        }
        if record.mac == link.mac {
            return Ok(true);
        }
        let Some(handle) = record.changes.drop_handle else { return Ok(false) };
        let filters = self.netlink.ingress_filters(link.index).await;
        let filters = filters.map_err(context(&link.name, "look at its traffic filters"))?;
        Ok(filters.iter().any(|filter| filter.is_drop(handle)))
    }

    /// Takes back what a record says, and forgets it.
    pub(super) async fn undo(&self, record: &Record) -> Result<(), Trouble> {
        match self.undo_on_its_device(record).await {
            // Gone, and everything on it with it.
            Ok(()) | Err(Refusal::Missing(_)) => {}
            Err(Refusal::Io(trouble)) => return Err(trouble),
            Err(refusal) => {
                return Err(Trouble::new(&record.device, "undo what was changed", &refusal));
            }
        }
        if record.place == *self.journal.place() {
            self.holds.let_go(record.index);
        }
        let forgotten = self.journal.remove(&record.device).await;
        forgotten.map_err(|error| Trouble::new(&record.device, "forget its record", &error))
    }

    async fn undo_on_its_device(&self, record: &Record) -> Result<(), Refusal> {
        let look = context(&record.device, "look at it");
        let Some(link) = self.netlink.link_by_index(record.index).await.map_err(look)? else {
            return Ok(());
        };
        if !self.is_same(record, &link).await? {
            return Ok(());
        }
        self.take_back(&link, record).await
    }

    /// Undoes changes in the reverse order: the host hears nothing until all else is as it was.
    async fn take_back(&self, link: &Link, record: &Record) -> Result<(), Refusal> {
        let Link { index, name, .. } = link;
        let changes = &record.changes;
        let addresses = self.netlink.addresses(*index).await;
        let addresses = addresses.map_err(context(name, "look at its addresses"))?;
        // Whoever has given a NIC an address meanwhile wants it up.
        let is_used = record.purpose == Purpose::Netdev
            && addresses.iter().any(|address| !suitable::is_kernels(address, link.mac));
        if changes.set_up && link.up && !is_used {
            self.netlink
                .set_state(*index, State::Down)
                .await
                .map_err(context(name, "set it down"))?;
        }
        // Whoever changed these since has the last word.
        if let Some(mode) =
            changes.address_generation.filter(|_| link.address_generation == Some(NO_ADDRESSES))
        {
            let step = "let the kernel make IPv6 addresses for it";
            self.netlink.set_address_generation(*index, mode).await.map_err(context(name, step))?;
        }
        if let Some(change) = changes.mtu.filter(|change| change.set == link.mtu) {
            self.netlink
                .set_mtu(*index, change.before)
                .await
                .map_err(context(name, "set its MTU back"))?;
        }
        if changes.lro_off && !lro::is_on(name).await? {
            lro::set(name, Lro::On).await?;
        }
        for tags in stripping::STRIPPABLE {
            if changes.has_stripping_off(tags)
                && stripping::get(name, tags).await? == Stripping::Off
            {
                stripping::set(name, tags, Stripping::On).await?;
            }
        }
        // There were link-local addresses, so IPv6 was on.
        if !changes.link_locals.is_empty() {
            let on = ipv6::make_sure_it_is_on(name).await;
            on.map_err(|error| Trouble::new(name, "switch its IPv6 back on", &error))?;
        }
        // A device that goes down loses them anyhow, and the kernel makes them when it goes up.
        if link.up && !changes.set_up {
            for LinkLocal { address, prefix } in &changes.link_locals {
                match self.netlink.add_link_local(*index, *address, *prefix).await {
                    Err(failure) if failure.is(Errno::EXIST) => {}
                    other => other.map_err(context(name, "give its link-local address back"))?,
                }
            }
        }
        if let Some(handle) = changes.drop_handle {
            self.let_hear(link, handle, changes.made_clsact).await?;
        }
        Ok(())
    }

    /// Removes our drop alone, and the qdisc if it is ours and nobody else has put anything into it.
    async fn let_hear(&self, link: &Link, handle: u32, made_clsact: bool) -> Result<(), Refusal> {
        let Link { index, name, .. } = link;
        let step = "let the host's stack hear it";
        let filters = self.netlink.ingress_filters(*index).await.map_err(context(name, step))?;
        if filters.iter().any(|filter| filter.is_drop(handle)) {
            self.netlink.remove_drop(*index, handle).await.map_err(context(name, step))?;
        }
        let qdisc = self.netlink.ingress_qdisc(*index).await.map_err(context(name, step))?;
        if !made_clsact || qdisc.as_deref() != Some("clsact") {
            return Ok(());
        }
        let ingress = self.netlink.ingress_filters(*index).await.map_err(context(name, step))?;
        let egress = self.netlink.egress_filters(*index).await.map_err(context(name, step))?;
        if ingress.is_empty() && egress.is_empty() {
            self.netlink.remove_clsact(*index).await.map_err(context(name, step))?;
        }
        Ok(())
    }
}
