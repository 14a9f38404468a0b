//! Uplinks: the host's addresses and routes are carried over from a NIC that becomes a port to the device of a `tap`
//! port, its heir, and back. Written down in `STATE/uplinks/` before anything is moved: whoever starts after a crash,
//! or ends in its place, goes on from there.
//!
//! What is on the NIC goes to the heir before it is taken off the NIC, so that the host has it at every moment. The heir
//! gets the NIC's MAC address: neighbours, switches and whoever gave a lease know the host by it.

use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use weft_vlan::MacAddr;

use super::{
    Devices, Refusal, Trouble,
    belongings::{Belonging, Belongings, Immovable},
    context,
    store::{Kept, Place, Store},
    suitable,
    told::Link,
};
use crate::clock;

/// Routes that are carried over at most: more are a routing daemon's, which puts them on the heir itself.
const ROUTES_MAX: usize = 1024;
/// Addresses that are carried over at most.
const ADDRESSES_MAX: usize = 256;

/// The records of uplinks.
pub(super) type Register = Store<Inheritance>;

/// What a NIC had, and who has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Inheritance {
    /// The NIC's name.
    device: String,
    index: u32,
    place: Place,
    heir: Heir,
    moved: Belongings,
    /// When this was written, in seconds since the machine's start.
    saved: u64,
}

/// The device that has what the NIC had.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Heir {
    name: String,
    index: u32,
    /// Its MAC address before it got the NIC's.
    mac: Option<MacAddr>,
    /// Its MTU before it got the NIC's.
    mtu: u32,
    /// What it had before: this stays.
    own: Vec<String>,
}

impl Kept for Inheritance {
    const DIRECTORY: &str = "uplinks";

    fn device(&self) -> &str {
        &self.device
    }
}

/// What the heir of a NIC has of it, as `ip` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// Addresses with their prefix lengths.
    pub(crate) addresses: Vec<String>,
    /// Routes.
    pub(crate) routes: Vec<String>,
}

impl Devices {
    /// Carries over to `heir` what is on a NIC; goes on where a former daemon, or an earlier call, left off. The heir gets
    /// the NIC's MTU, unless it is to have another one.
    ///
    /// # Errors
    ///
    /// One of the devices is missing, the NIC could be no port whatever it has, or a step failed: then everything is where
    /// it was.
    pub(crate) async fn adopt(
        &self,
        device: &str,
        heir: &str,
        mtu: Option<u32>,
    ) -> Result<Carried, Refusal> {
        suitable::check_name(device)?;
        let _turn = self.turn.lock().await;
        let (nic, heir) = (self.find(device).await?, self.find(heir).await?);
        suitable::check_free(&self.netlink, &nic).await?;
        let former = self.uplinks.load(device).await.map_err(|error| unread(device, &error))?;
        let former = former.filter(|former| former.place == *self.uplinks.place());
        let (found, immovable) = self.belongings(&nic).await?;
        if let Some(immovable) = immovable.first() {
            let reason = format!("cannot be an uplink: {immovable}");
            return Err(Refusal::Unsuitable { device: device.into(), reason });
        }
        check_size(device, &found)?;
        let (live, _) = self.belongings(&heir).await?;
        let is_new = former.is_none();
        let inheritance =
            Inheritance::new(&nic, &heir, former, (&found, &live), self.uplinks.place());
        // What is on both has new lifetimes on the NIC.
        let known: Vec<String> =
            live.texts().into_iter().filter(|text| !found.texts().contains(text)).collect();
        let missing = inheritance.moved.clone().without(&known);
        let kept = self.uplinks.save(&inheritance).await;
        kept.map_err(|error| Trouble::new(device, "keep the record of the uplink", &error))?;
        let carried = self.carry(&nic, &heir, mtu, (&missing, &found, &live)).await;
        if carried.is_err() && is_new {
            let heir = self.find(&heir.name).await?;
            self.unlike(&heir, &nic, &inheritance.heir).await?;
            // It says nothing that is not so: what it names is on the NIC.
            let _ = self.uplinks.remove(device).await;
            self.holds.let_go(heir.index);
        }
        carried.map(|()| inheritance.carried())
    }

    /// Puts on the heir what it lacks, and takes off the NIC what was found there; or neither.
    async fn carry(
        &self,
        nic: &Link,
        heir: &Link,
        mtu: Option<u32>,
        (missing, found, live): (&Belongings, &Belongings, &Belongings),
    ) -> Result<(), Refusal> {
        self.holds.take(heir)?;
        self.resemble(heir, nic, mtu).await?;
        let new = missing.clone().without(&live.texts());
        let (_, failed) = self.place(heir, missing).await;
        let taken = match failed.into_iter().next() {
            Some(refusal) => Err(refusal),
            None => self.take_off(nic, found).await,
        };
        if taken.is_err() {
            let (_, failed) = self.place(nic, found).await;
            if let Some(refusal) = failed.first() {
                tracing::warn!(%refusal, "what was carried over half way stays");
            }
            self.take_off(heir, &new).await?;
        }
        taken
    }

    /// Gives a NIC back what its heir has of it, lets the host's stack hear it, and forgets the uplink.
    ///
    /// # Errors
    ///
    /// Something could not be given back; all else was. The record stays, so that it can be tried again.
    pub(crate) async fn give_back(&self, device: &str) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        let inheritance =
            self.uplinks.load(device).await.map_err(|error| unread(device, &error))?;
        let Some(inheritance) = inheritance else { return Ok(()) };
        // Of another boot or another namespace: whoever configures the host begins anew.
        let restored = if inheritance.place == *self.uplinks.place() {
            self.restore(&inheritance).await
        } else {
            Ok(())
        };
        let claim = self.journal.load(device).await.map_err(|error| unread(device, &error))?;
        if let Some(claim) = claim {
            self.undo(&claim).await?;
        }
        restored?;
        let forgotten = self.uplinks.remove(device).await;
        Ok(forgotten.map_err(|error| Trouble::new(device, "forget the uplink", &error))?)
    }

    /// Gives all NICs back what they had, but those in `kept`; returns what went wrong.
    pub(crate) async fn give_back_all(&self, kept: &[&str]) -> Vec<Refusal> {
        let (records, unreadable) = match self.uplinks.all().await {
            Ok(found) => found,
            Err(error) => return vec![unread("of an uplink", &error).into()],
        };
        let unread = unreadable.iter().map(|error| unread("of an uplink", error).into());
        let mut troubles: Vec<Refusal> = unread.collect();
        for record in records.iter().filter(|record| !kept.contains(&record.device.as_str())) {
            troubles.extend(self.give_back(&record.device).await.err());
        }
        troubles
    }

    /// Puts everything back that can be; returns the first thing that cannot.
    async fn restore(&self, inheritance: &Inheritance) -> Result<(), Refusal> {
        let Inheritance { device, index, heir: before, .. } = inheritance;
        let look = |index| async move {
            self.netlink.link_by_index(index).await.map_err(context(device, "look at it"))
        };
        // It may have been renamed, or have come back under another number.
        let nic = match look(*index).await? {
            Some(nic) => nic,
            None => self.find(device).await?,
        };
        let heir = look(before.index).await?.filter(|heir| heir.name == before.name);
        let moved = match &heir {
            Some(heir) => self.belongings(heir).await?.0.without(&before.own),
            None => inheritance.moved.clone().aged(inheritance.saved),
        };
        let (placed, failed) = self.place(&nic, &moved).await;
        if let Some(heir) = &heir {
            self.take_off(heir, &placed).await?;
            self.unlike(heir, &nic, before).await?;
            self.holds.let_go(heir.index);
        }
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    /// Returns what the host has on a device, and what of it cannot be on another one.
    pub(super) async fn belongings(
        &self,
        link: &Link,
    ) -> Result<(Belongings, Vec<Immovable>), Refusal> {
        let name = &link.name;
        let addresses = self.netlink.address_messages(link.index).await;
        let addresses = addresses.map_err(context(name, "look at its addresses"))?;
        let routes = self.netlink.route_messages(link.index).await;
        let routes = routes.map_err(context(name, "look at its routes"))?;
        Ok(Belongings::read(link, &addresses, &routes))
    }

    /// Makes what is to be a device's; returns what is there now, and why the rest is not.
    async fn place(&self, link: &Link, what: &Belongings) -> (Belongings, Vec<Refusal>) {
        let (mut placed, mut failed) = (Belongings::default(), Vec::new());
        for address in &what.addresses {
            // One that is there may have been given longer to live.
            match self.make(link, address, NLM_F_REPLACE).await {
                Ok(()) => placed.addresses.push(address.clone()),
                Err(refusal) => failed.push(refusal),
            }
        }
        for route in &what.routes {
            // Beside the one by the other device, which goes a moment later.
            match self.make(link, route, NLM_F_APPEND).await {
                Ok(()) => placed.routes.push(route.clone()),
                Err(refusal) => failed.push(refusal),
            }
        }
        (placed, failed)
    }

    async fn make(&self, link: &Link, one: &Belonging, flags: u16) -> Result<(), Refusal> {
        match self.netlink.tell(one.on(link), NLM_F_CREATE | flags).await {
            Err(failure) if !failure.is(Errno::EXIST) => {
                Err(context(&link.name, &format!("give it {}", one.text))(failure))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was a device's, the last first; what is gone already is well.
    async fn take_off(&self, link: &Link, what: &Belongings) -> Result<(), Refusal> {
        let first_first: Vec<&Belonging> = what.addresses.iter().chain(&what.routes).collect();
        for one in first_first.into_iter().rev() {
            let request = match one.on(link) {
                RouteNetlinkMessage::NewAddress(message) => {
                    RouteNetlinkMessage::DelAddress(message)
                }
                RouteNetlinkMessage::NewRoute(message) => RouteNetlinkMessage::DelRoute(message),
                other => other,
            };
            match self.netlink.tell(request, 0).await {
                Err(failure) if failure.is(Errno::ADDRNOTAVAIL) || failure.is(Errno::SRCH) => {}
                other => other.map_err(context(&link.name, &format!("take {} off", one.text)))?,
            }
        }
        Ok(())
    }

    /// Gives an heir the NIC's MAC address and MTU.
    async fn resemble(&self, heir: &Link, nic: &Link, mtu: Option<u32>) -> Result<(), Refusal> {
        if let Some(mac) = nic.mac.filter(|mac| heir.mac != Some(*mac)) {
            let done = self.netlink.set_mac(heir.index, mac).await;
            done.map_err(context(&heir.name, "give it the uplink's MAC address"))?;
        }
        let record = self.journal.load(&nic.name).await;
        let record = record.map_err(|error| Trouble::new(&nic.name, "read its record", &error))?;
        let of_nic = record.map_or(nic.mtu, |record| record.mtu_without_room(nic));
        let mtu = mtu.unwrap_or(of_nic);
        if heir.mtu != mtu {
            let done = self.netlink.set_mtu(heir.index, mtu).await;
            done.map_err(context(&heir.name, "give it the uplink's MTU"))?;
        }
        Ok(())
    }

    /// Takes the NIC's MAC address and MTU from an heir that lives on; whoever has changed them has the last word.
    async fn unlike(&self, heir: &Link, nic: &Link, before: &Heir) -> Result<(), Refusal> {
        if let Some(mac) = before.mac.filter(|_| heir.mac == nic.mac) {
            let done = self.netlink.set_mac(heir.index, mac).await;
            done.map_err(context(&heir.name, "give it its own MAC address"))?;
        }
        if heir.mtu != before.mtu {
            let done = self.netlink.set_mtu(heir.index, before.mtu).await;
            done.map_err(context(&heir.name, "give it its own MTU"))?;
        }
        Ok(())
    }
}

fn unread(device: &str, error: &std::io::Error) -> Trouble {
    Trouble::new(device, "read the record of the uplink", error)
}

fn check_size(device: &str, Belongings { addresses, routes }: &Belongings) -> Result<(), Refusal> {
    let reason = if addresses.len() > ADDRESSES_MAX {
        format!("has {} addresses; {ADDRESSES_MAX} are carried over at most", addresses.len())
    } else if routes.len() > ROUTES_MAX {
        format!(
            "is the way of {} routes; {ROUTES_MAX} are carried over at most: stop the routing daemon that made them, \
             and have it use the tap port",
            routes.len()
        )
    } else {
        return Ok(());
    };
    Err(Refusal::Unsuitable { device: device.into(), reason })
}

impl Inheritance {
    /// Takes stock of what is `found` on the NIC, what is `live` on the heir, and what was written down before.
    fn new(
        nic: &Link,
        heir: &Link,
        former: Option<Self>,
        (found, live): (&Belongings, &Belongings),
        place: &Place,
    ) -> Self {
        let (heir, moved) = match former {
            // What the heir has is the truth of what was moved, whoever has changed it since.
            Some(former) if former.heir.index == heir.index => {
                let live = live.clone().without(&former.heir.own);
                (former.heir, found.clone().and(live))
            }
            // The heir of before went with its daemon.
            Some(former) => {
                let own = former.heir.own;
                let before = former.moved.aged(former.saved);
                (Heir { own, ..Heir::new(heir, live) }, found.clone().and(before))
            }
            None => (Heir::new(heir, live), found.clone()),
        };
        let device = nic.name.clone();
        let saved = clock::since_boot().as_secs();
        Self { device, index: nic.index, place: place.clone(), heir, moved, saved }
    }

    fn carried(&self) -> Carried {
        let texts = |all: &[Belonging]| all.iter().map(|one| one.text.clone()).collect();
        Carried { addresses: texts(&self.moved.addresses), routes: texts(&self.moved.routes) }
    }
}

impl Heir {
    fn new(link: &Link, own: &Belongings) -> Self {
        Self {
            name: link.name.clone(),
            index: link.index,
            mac: link.mac,
            mtu: link.mtu,
            own: own.texts(),
        }
    }
}
