//! Word of what happens to the devices of a namespace: RTNLGRP_LINK notifications against what is known.
//! When the socket overflows the whole table is read and compared, so that no change stays unseen.
//!
//! Of devices that are held it is also told when the host may have begun or ceased to use them: an address, a route, a
//! master, a device on top. Addresses and routes come by a socket of their own: where a router's table churns, that one
//! overflows, and then every held device is told of. What is so in the end is asked, not kept here.
//!
//! A device that is moved to another namespace is [`Change::Moved`], not removed: a TAP's owner keeps its
//! file descriptor, and frames go on through it. After an overflow a move looks like a removal; whoever
//! holds a TAP asks its descriptor. Of several changes that an overflow swallowed only the outcome is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
    route::{RouteAttribute, RouteMessage},
};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload},
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::{
    hold::Holds,
    netlink::Netlink,
    suitable::goes_with_the_link,
    told::{Link, Route},
};

/// Events that wait for the receiver; behind these the socket's own buffer fills.
const QUEUE: usize = 64;
/// Largest netlink datagram that the kernel makes.
const DATAGRAM: usize = 64 * 1024;

/// Datagrams thrown away at once; more than the socket's buffer holds.
const DISCARD_LIMIT: usize = 10_000;

/// Something that happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkEvent {
    /// Its index.
    pub(crate) index: u32,
    /// Its name, the present one.
    pub(crate) name: String,
    /// What happened.
    pub(crate) change: Change,
}

/// What happened to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It appeared, or was there when the watch began.
    Added(LinkState),
    /// Its state changed.
    State(LinkState),
    /// It is held, and the host may have begun or ceased to use it.
    Used,
    /// It got another name.
    Renamed {
        /// The name that it had.
        from: String,
    },
    /// It left for another network namespace.
    Moved,
    /// It is gone.
    Removed,
}

/// The state of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// Whether it is administratively up.
    pub(crate) up: bool,
    /// Whether it has a carrier.
    pub(crate) running: bool,
    /// Its MTU.
    pub(crate) mtu: u32,
}

/// Starts watching on the current runtime.
pub(super) fn start(netlink: Netlink, holds: Holds) -> io::Result<mpsc::Receiver<LinkEvent>> {
    let links = listening_to(&[MulticastGroup::Link])?;
    let usage = listening_to(&[
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ])?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    let watcher = Watcher { links, usage, netlink, holds, known: BTreeMap::new(), sender };
    tokio::spawn(watcher.run());
    Ok(receiver)
}

fn listening_to(groups: &[MulticastGroup]) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    for &group in groups {
        socket.socket_mut().add_membership(group as u32)?;
    }
    Ok(socket)
}

/// Nobody listens any more.
struct Deaf;

struct Watcher {
    links: TokioSocket,
    /// Word of addresses and routes.
    usage: TokioSocket,
    netlink: Netlink,
    holds: Holds,
    known: BTreeMap<u32, Known>,
    sender: mpsc::Sender<LinkEvent>,
}

/// What was last heard of a device.
struct Known {
    name: String,
    state: LinkState,
    master: Option<u32>,
    lower: Option<u32>,
}

impl Watcher {
    async fn run(mut self) {
        // The socket listens already: what changes from here on comes after the first table.
        let mut stale = true;
        loop {
            let heard = if stale { self.compare().await } else { self.listen().await };
            match heard {
                Ok(Heard::All) => stale = false,
                Ok(Heard::NotAll) => stale = true,
                Err(Deaf) => return,
            }
        }
    }

    /// Waits for one datagram and tells what it says.
    async fn listen(&mut self) -> Result<Heard, Deaf> {
        let mut datagram: Vec<u8> = Vec::with_capacity(DATAGRAM);
        let mut usage: Vec<u8> = Vec::with_capacity(DATAGRAM);
        let received = tokio::select! {
            received = self.links.recv_from(&mut datagram) => received,
            received = self.usage.recv_from(&mut usage) => {
                let concerned = received.ok().and_then(|_| concerned(&usage));
                for index in concerned.unwrap_or_else(|| self.holds.all()) {
                    self.may_be_used(index).await?;
                }
                return Ok(Heard::All);
            }
            () = self.sender.closed() => return Err(Deaf),
        };
        if let Err(error) = received {
            if Errno::from_io_error(&error) != Some(Errno::NOBUFS) {
                tracing::warn!(%error, "device notifications cannot be read; reading the table instead");
            }
            return Ok(Heard::NotAll);
        }
        for message in messages(&datagram) {
            let Ok(message) = message else {
                tracing::debug!("a device notification is unreadable; reading the table instead");
                return Ok(Heard::NotAll);
            };
            match message {
                RouteNetlinkMessage::NewLink(message) => self.seen(&message).await?,
                RouteNetlinkMessage::DelLink(message) => self.lost(&message).await?,
                _ => {}
            }
        }
        Ok(Heard::All)
    }

    /// Reads the whole table and tells how it differs from what is known.
    async fn compare(&mut self) -> Result<Heard, Deaf> {
        if !self.discard_queued() {
            return self.pause().await;
        }
        let links = match self.netlink.links().await {
            Ok(links) => links,
            Err(failure) => {
                tracing::warn!(%failure, "the table of devices cannot be read; trying again");
                return self.pause().await;
            }
        };
        let gone: Vec<u32> = self
            .known
            .keys()
            .copied()
            .filter(|index| links.iter().all(|link| link.index != *index))
            .collect();
        for index in gone {
            self.forget(index, Change::Removed).await?;
        }
        for link in &links {
            self.learn(link).await?;
        }
        Ok(Heard::All)
    }

    /// Throws away what the socket holds, older than the table that is about to be read: a device in there
    /// may be gone, and word of that lost. Tells whether the socket could be emptied.
    fn discard_queued(&self) -> bool {
        let mut datagram: Vec<u8> = Vec::with_capacity(DATAGRAM);
        for _ in 0..DISCARD_LIMIT {
            datagram.clear();
            let received = self.links.socket_ref().recv_from(&mut datagram, 0);
            match received.map_err(|error| Errno::from_io_error(&error)) {
                Err(Some(Errno::AGAIN)) => return true,
                Ok(_) | Err(Some(Errno::NOBUFS)) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Waits a little after a table that could not be read, so that a lasting fault costs no CPU.
    async fn pause(&self) -> Result<Heard, Deaf> {
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_millis(200)) => Ok(Heard::NotAll),
            () = self.sender.closed() => Err(Deaf),
        }
    }

    async fn seen(&mut self, message: &LinkMessage) -> Result<(), Deaf> {
        match Link::read(message) {
            Some(link) => self.learn(&link).await,
            None => Ok(()),
        }
    }

    async fn lost(&mut self, message: &LinkMessage) -> Result<(), Deaf> {
        let Some(link) = Link::read(message) else { return Ok(()) };
        let moved = message
            .attributes
            .iter()
            .any(|attribute| matches!(attribute, LinkAttribute::NewNetnsId(_)));
        self.forget(link.index, if moved { Change::Moved } else { Change::Removed }).await
    }

    async fn learn(&mut self, link: &Link) -> Result<(), Deaf> {
        let Link { index, ref name, up, running, mtu, master, lower, .. } = *link;
        let state = LinkState { up, running, mtu };
        let known = Known { name: name.clone(), state, master, lower };
        let Some(former) = self.known.insert(index, known) else {
            self.tell(index, name, Change::Added(state)).await?;
            return self.bears(lower).await;
        };
        if former.name != *name {
            self.tell(index, name, Change::Renamed { from: former.name }).await?;
        }
        if former.state != state {
            self.tell(index, name, Change::State(state)).await?;
        }
        if former.master != master {
            self.may_be_used(index).await?;
        }
        if former.lower != lower {
            self.bears(former.lower).await?;
            self.bears(lower).await?;
        }
        Ok(())
    }

    async fn forget(&mut self, index: u32, change: Change) -> Result<(), Deaf> {
        let Some(Known { name, lower, .. }) = self.known.remove(&index) else { return Ok(()) };
        self.tell(index, &name, change).await?;
        self.bears(lower).await
    }

    /// Tells of a device that another one stands on, or did.
    async fn bears(&self, lower: Option<u32>) -> Result<(), Deaf> {
        match lower {
            Some(lower) => self.may_be_used(lower).await,
            None => Ok(()),
        }
    }

    async fn may_be_used(&self, index: u32) -> Result<(), Deaf> {
        match self.known.get(&index).filter(|_| self.holds.has(index)) {
            Some(Known { name, .. }) => self.tell(index, name, Change::Used).await,
            None => Ok(()),
        }
    }

    async fn tell(&self, index: u32, name: &str, change: Change) -> Result<(), Deaf> {
        let event = LinkEvent { index, name: name.into(), change };
        self.sender.send(event).await.map_err(|_| Deaf)
    }
}

/// Returns the devices whose addresses or routes changed; `None` where something is unreadable.
fn concerned(datagram: &[u8]) -> Option<BTreeSet<u32>> {
    let mut indexes = BTreeSet::new();
    for message in messages(datagram) {
        match message.ok()? {
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
                indexes.insert(address.header.index);
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
                indexes.extend(ways(&route));
            }
            _ => {}
        }
    }
    Some(indexes)
}

/// Returns the devices by which a route leads, unless it comes and goes with its device.
fn ways(route: &RouteMessage) -> Vec<u32> {
    if goes_with_the_link(&Route::read(route)) {
        return Vec::new();
    }
    let ways = route.attributes.iter().map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    ways.flatten().collect()
}

/// Whether anything may have been missed.
enum Heard {
    All,
    NotAll,
}

/// Splits a datagram into its messages.
fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<RouteNetlinkMessage, ()>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let Ok(length) =
            NetlinkBuffer::new_checked(datagram).map(|buffer| buffer.length() as usize)
        else {
            datagram = &[];
            return Some(Err(()));
        };
        let (message, rest) = datagram.split_at(length);
        // Messages begin at multiples of four.
        datagram = rest.get(length.next_multiple_of(4) - length..).unwrap_or_default();
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message)
            .map(|message| message.payload)
        {
            Ok(NetlinkPayload::InnerMessage(message)) => Some(Ok(message)),
            Ok(_) => Some(Err(())),
            Err(_) => Some(Err(())),
        }
    })
}
