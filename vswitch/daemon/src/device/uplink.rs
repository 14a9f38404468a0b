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
    belongings::{Belonging, Belongings},
    context,
    store::{Kept, Place, Store},
    suitable,
    told::Link,
};

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
        let failed = |error| Trouble::new(device, "keep the record of the uplink", &error);
        let former = self.uplinks.load(device).await.map_err(failed)?;
        let former = former.filter(|former| former.place == *self.uplinks.place());
        let found = self.belongings(&nic).await?;
        let live = self.belongings(&heir).await?;
        let (heir_of_it, moved, missing) = match former {
            // What the heir has is the truth of what was moved, whoever has changed it since.
            Some(former) if former.heir.index == heir.index => {
                let live = live.without(&former.heir.own);
                (former.heir, found.clone().and(live), found.clone())
            }
            // The heir of before went with its daemon.
            Some(former) => {
                let all = found.clone().and(former.moved);
                let own = former.heir.own;
                (Heir { own, ..Heir::new(&heir, &live) }, all.clone(), all)
            }
            None => (Heir::new(&heir, &live), found.clone(), found.clone()),
        };
        let inheritance = Inheritance {
            device: nic.name.clone(),
            index: nic.index,
            place: self.uplinks.place().clone(),
            heir: heir_of_it,
            moved,
        };
        inheritance.check_size()?;
        self.uplinks.save(&inheritance).await.map_err(failed)?;
        self.holds.take(&heir)?;
        self.resemble(&heir, &nic, mtu).await?;
        self.place(&heir, &missing).await?;
        self.take_off(&nic, &found).await?;
        Ok(inheritance.carried())
    }

    /// Gives a NIC back what its heir has of it, and forgets the uplink.
    ///
    /// # Errors
    ///
    /// A step failed; the record stays, so that it can be tried again.
    pub(crate) async fn give_back(&self, device: &str) -> Result<(), Refusal> {
        let _turn = self.turn.lock().await;
        let failed = |error| Trouble::new(device, "read the record of the uplink", &error);
        match self.uplinks.load(device).await.map_err(failed)? {
            Some(inheritance) => self.restore(inheritance).await,
            None => Ok(()),
        }
    }

    /// Gives all NICs back what they had, but those in `kept`; returns what went wrong.
    pub(crate) async fn give_back_all(&self, kept: &[&str]) -> Vec<Refusal> {
        let (records, unreadable) = match self.uplinks.all().await {
            Ok(found) => found,
            Err(error) => {
                let trouble = Trouble::new("of an uplink", "read the records", &error);
                return vec![trouble.into()];
            }
        };
        let mut troubles: Vec<Refusal> = Vec::new();
        for error in unreadable {
            troubles.push(Trouble::new("of an uplink", "read a record", &error).into());
        }
        for record in records.iter().filter(|record| !kept.contains(&record.device.as_str())) {
            if let Err(refusal) = self.give_back(&record.device).await {
                troubles.push(refusal);
            }
            if let Err(trouble) = self.release(&record.device).await {
                troubles.push(trouble.into());
            }
        }
        troubles
    }

    async fn restore(&self, mut inheritance: Inheritance) -> Result<(), Refusal> {
        let device = inheritance.device.clone();
        let look = |index| self.netlink.link_by_index(index);
        let here = inheritance.place == *self.uplinks.place();
        let nic = look(inheritance.index).await.map_err(context(&device, "look at it"))?;
        // Of another boot, another namespace, or gone: whoever configures the host begins anew.
        if let Some(nic) = nic.filter(|nic| here && nic.name == device) {
            let heir =
                look(inheritance.heir.index).await.map_err(context(&device, "look at it"))?;
            let heir = heir.filter(|heir| heir.name == inheritance.heir.name);
            if let Some(heir) = &heir {
                inheritance.moved = self.belongings(heir).await?.without(&inheritance.heir.own);
            }
            self.place(&nic, &inheritance.moved).await?;
            if let Some(heir) = &heir {
                self.take_off(heir, &inheritance.moved).await?;
                self.unlike(heir, &nic, &inheritance.heir).await?;
                self.holds.let_go(heir.index);
            }
        }
        let failed = |error| Trouble::new(&device, "forget the uplink", &error);
        Ok(self.uplinks.remove(&device).await.map_err(failed)?)
    }

    pub(super) async fn belongings(&self, link: &Link) -> Result<Belongings, Refusal> {
        let name = &link.name;
        let addresses = self.netlink.address_messages(link.index).await;
        let addresses = addresses.map_err(context(name, "look at its addresses"))?;
        let routes = self.netlink.route_messages(link.index).await;
        let routes = routes.map_err(context(name, "look at its routes"))?;
        Belongings::read(link, &addresses, &routes).map_err(|immovable| Refusal::Unsuitable {
            device: name.clone(),
            reason: format!("cannot be an uplink: {immovable}"),
        })
    }

    /// Makes what is to be a device's. What cannot be made takes all of it back.
    async fn place(&self, link: &Link, what: &Belongings) -> Result<(), Refusal> {
        let mut made = Belongings::default();
        for address in &what.addresses {
            // One that is there may have been given longer to live.
            self.make(link, address, NLM_F_REPLACE, &made).await?;
            made.addresses.push(address.clone());
        }
        for route in &what.routes {
            // Beside the one by the other device, which goes a moment later.
            self.make(link, route, NLM_F_APPEND, &made).await?;
            made.routes.push(route.clone());
        }
        Ok(())
    }

    /// Makes one of them, after those that are `made`.
    async fn make(
        &self,
        link: &Link,
        one: &Belonging,
        flags: u16,
        made: &Belongings,
    ) -> Result<(), Refusal> {
        match self.netlink.tell(one.on(link), NLM_F_CREATE | flags).await {
            Err(failure) if !failure.is(Errno::EXIST) => {
                if let Err(refusal) = self.take_off(link, made).await {
                    tracing::warn!(%refusal, "what was carried over half way stays");
                }
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

impl Inheritance {
    fn check_size(&self) -> Result<(), Refusal> {
        let Belongings { addresses, routes } = &self.moved;
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
        Err(Refusal::Unsuitable { device: self.device.clone(), reason })
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
