//! How a claim is made: looked at, written down, done; in this order, and again from where a former
//! daemon left it.

use rustix::io::Errno;
use weft_ports::link::Lro;

use super::{
    Devices, Refusal, Trouble, context, ipv6,
    journal::{LinkLocal, MtuChange, Purpose, Record},
    lro,
    netlink::{NO_ADDRESSES, State},
    silence::{self, Filter},
    state_dir,
    stripping::{Tags, check_kind},
    suitable,
    told::Link,
};

/// Whose claim goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It begins here.
    New,
    /// A former daemon's, or an earlier one of this daemon.
    Former,
}

/// What was on a device before a claim.
struct Found {
    link_locals: Vec<LinkLocal>,
    qdisc: Option<String>,
    filters: Vec<Filter>,
    merges: bool,
}

impl Devices {
    pub(super) async fn claim_netdev(
        &self,
        link: &Link,
        former: Option<Record>,
        tags: Tags,
    ) -> Result<Record, Refusal> {
        check_kind(link, tags)?;
        let found = self.look(link).await?;
        let (mut record, origin) = self.record_of(link, Purpose::Netdev, former).await?;
        let changes = &mut record.changes;
        let handle = match changes.drop_handle {
            Some(handle) => handle,
            None => silence::new_handle()
                .map_err(|error| Trouble::new(&link.name, "draw a filter handle", &error))?,
        };
        changes.drop_handle = Some(handle);
        changes.made_clsact |= found.qdisc.is_none();
        if let Some(mode) = link.address_generation.filter(|&mode| mode != NO_ADDRESSES) {
            changes.address_generation.get_or_insert(mode);
        }
        note(&mut changes.link_locals, &found.link_locals);
        changes.lro_off |= found.merges;
        changes.set_up |= !link.up;
        record.plan_room(link);
        self.journal.save(&record).await.map_err(state_dir(&link.name))?;
        let mut done = self.silence(link, &found, handle, &mut record).await;
        if done.is_ok() {
            done = self.see_to_tags(link, tags, &mut record).await;
        }
        self.settle(done, &record, origin).await?;
        Ok(record)
    }

    /// Looks at a device without changing it, and whether it may be a `netdev` port.
    async fn look(&self, link: &Link) -> Result<Found, Refusal> {
        let Link { index, name, .. } = link;
        let link_locals = suitable::check_netdev(&self.netlink, link).await?;
        let look = context(name, "look at its traffic filters");
        let qdisc = self.netlink.ingress_qdisc(*index).await.map_err(&look)?;
        let filters = self.netlink.ingress_filters(*index).await.map_err(&look)?;
        if let Some(other) = filters.iter().find(|filter| filter.is_in_the_way()) {
            let Filter { kind, priority, .. } = other;
            let reason = format!(
                "has a {kind} filter at ingress priority {priority}, where weft's has to stand; \
                 move it to another priority"
            );
            return Err(Refusal::Unsuitable { device: name.clone(), reason });
        }
        let merges = lro::is_on(name).await?;
        Ok(Found { link_locals, qdisc, filters, merges })
    }

    /// Does what the record of a `netdev` claim says. The drop comes first and the way up last, so that
    /// the host hears nothing in between.
    async fn silence(
        &self,
        link: &Link,
        found: &Found,
        handle: u32,
        record: &mut Record,
    ) -> Result<(), Refusal> {
        let Link { index, name, .. } = link;
        if found.qdisc.is_none() {
            let step = "give it a clsact qdisc";
            self.netlink.add_clsact(*index).await.map_err(context(name, step))?;
        }
        if !found.filters.iter().any(|filter| filter.is_drop(handle)) {
            let step = "keep the host's stack from hearing it";
            self.netlink.add_drop(*index, handle).await.map_err(context(name, step))?;
        }
        if link.address_generation.is_some_and(|mode| mode != NO_ADDRESSES) {
            let step = "keep the kernel from making IPv6 addresses for it";
            let done = self.netlink.set_address_generation(*index, NO_ADDRESSES).await;
            done.map_err(context(name, step))?;
        }
        self.take_link_locals_off(link, record).await?;
        if found.merges {
            lro::set(name, Lro::Off).await?;
        }
        self.make_room(link, record).await?;
        if !link.up {
            self.netlink.set_state(*index, State::Up).await.map_err(context(name, "set it up"))?;
        }
        Ok(())
    }

    async fn take_link_locals_off(&self, link: &Link, record: &mut Record) -> Result<(), Refusal> {
        let Link { index, name, .. } = link;
        let step = "take off its link-local address";
        let addresses = self.netlink.addresses(*index).await.map_err(context(name, step))?;
        let link_locals = suitable::link_locals(&addresses, link.mac);
        // The kernel may have made one since the check.
        if note(&mut record.changes.link_locals, &link_locals) {
            self.journal.save(record).await.map_err(state_dir(name))?;
        }
        if link_locals.is_empty() {
            return Ok(());
        }
        if let Err(error) = ipv6::restart(name).await {
            tracing::info!(device = name, %error, "IPv6 cannot be restarted; the host says goodbye by MLD");
        }
        let addresses = self.netlink.addresses(*index).await.map_err(context(name, step))?;
        for LinkLocal { address, prefix } in suitable::link_locals(&addresses, link.mac) {
            match self.netlink.remove_address(*index, address, prefix).await {
                Err(failure) if failure.is(Errno::ADDRNOTAVAIL) => {}
                other => other.map_err(context(name, step))?,
            }
        }
        Ok(())
    }

    pub(super) async fn claim_tap(
        &self,
        link: &Link,
        mtu: Option<u32>,
        former: Option<Record>,
    ) -> Result<Record, Refusal> {
        let name = &link.name;
        let (mut record, origin) = self.record_of(link, Purpose::Tap, former).await?;
        record.changes.set_up |= !link.up;
        // Without a wish of its own the port leaves the device its MTU, the one before an earlier wish.
        let own = record.changes.mtu.filter(|change| change.set == link.mtu);
        let set = mtu.or(own.map(|change| change.before)).unwrap_or(link.mtu);
        if set != link.mtu {
            let before = record.changes.mtu.map_or(link.mtu, |change| change.before);
            record.changes.mtu = Some(MtuChange { before, set });
        }
        self.journal.save(&record).await.map_err(state_dir(name))?;
        let done = self.ready(link, set).await;
        self.settle(done, &record, origin).await?;
        Ok(record)
    }

    async fn ready(&self, link: &Link, mtu: u32) -> Result<(), Refusal> {
        let Link { index, name, .. } = link;
        if mtu != link.mtu {
            self.netlink
                .set_mtu(*index, mtu)
                .await
                .map_err(context(name, &format!("set its MTU to {mtu}")))?;
        }
        if !link.up {
            self.netlink.set_state(*index, State::Up).await.map_err(context(name, "set it up"))?;
        }
        Ok(())
    }

    /// Takes a new claim that failed half way back. One of a former daemon stays: it fails closed.
    async fn settle(
        &self,
        done: Result<(), Refusal>,
        record: &Record,
        origin: Origin,
    ) -> Result<(), Refusal> {
        if done.is_err()
            && origin == Origin::New
            && let Err(trouble) = self.undo(record).await
        {
            tracing::warn!(device = record.device, %trouble, "a failed claim could not be taken back");
        }
        done
    }

    /// Takes back what stands in the way of a claim: that of the device which had this name before, renamed
    /// or gone with its guest, and that of this device as another sort of port. Returns an earlier claim of
    /// this device, as the same sort of port, which is to go on.
    pub(super) async fn make_way(
        &self,
        link: &Link,
        purpose: Purpose,
    ) -> Result<Option<Record>, Refusal> {
        let (records, unreadable) = self.journal.all().await.map_err(state_dir(&link.name))?;
        for error in unreadable {
            tracing::warn!(%error, "a device record is unreadable; what it would undo stays");
        }
        let mut former = None;
        for record in records {
            match (self.is_same(&record, link).await?, record.purpose == purpose) {
                (true, true) => {
                    former.get_or_insert(record);
                }
                (false, _) if record.device != link.name => {}
                _ => self.undo(&record).await?,
            }
        }
        Ok(former)
    }

    /// Takes over the record of a former claim, under the device's present name, or begins one.
    async fn record_of(
        &self,
        link: &Link,
        purpose: Purpose,
        former: Option<Record>,
    ) -> Result<(Record, Origin), Refusal> {
        let failed = state_dir(&link.name);
        let Some(mut record) = former else {
            return Ok((Record::new(link, self.journal.place(), purpose), Origin::New));
        };
        if record.device != link.name {
            let former = std::mem::replace(&mut record.device, link.name.clone());
            self.journal.save(&record).await.map_err(&failed)?;
            self.journal.remove(&former).await.map_err(&failed)?;
        }
        Ok((record, Origin::Former))
    }
}

/// Adds addresses that are not noted yet, and tells whether there were any.
fn note(noted: &mut Vec<LinkLocal>, seen: &[LinkLocal]) -> bool {
    let before = noted.len();
    for address in seen {
        if !noted.contains(address) {
            noted.push(*address);
        }
    }
    noted.len() > before
}
