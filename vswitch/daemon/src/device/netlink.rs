//! rtnetlink requests about links, addresses and routes. rtnetlink(7). Asks and changes; decides nothing.
//! Filters and qdiscs are in `silence`, what the answers mean in `told`.

use std::{io, net::IpAddr, net::Ipv6Addr, time::Duration};

use futures_util::StreamExt;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage, AddressProtocol, AddressScope},
    link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAttribute, RouteMessage},
};
use rtnetlink::{
    packet_core::{
        ErrorMessage, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR,
        NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload, NlasIterator,
    },
    sys::AsyncSocket,
};
use rustix::io::Errno;
use weft_vlan::MacAddr;

use super::told::{Address, Link, Route};

/// The kernel answers within microseconds; an answer that the crates cannot read never comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a dump is asked for again when the table changed underneath.
const DUMP_ATTEMPTS: usize = 16;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words about an error. netlink(7), extended acknowledgements.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// `IN6_ADDR_GEN_MODE_NONE`: the kernel makes no address of its own, so it sends no DAD, RS or MLD.
pub(super) const NO_ADDRESSES: u8 = 1;

/// A request that failed: the errno, and the kernel's own words when it gave some.
#[derive(Debug, thiserror::Error)]
pub(super) struct Failure {
    errno: Errno,
    said: Option<String>,
}

impl Failure {
    /// Tells whether the kernel answered with this errno.
    pub(super) fn is(&self, errno: Errno) -> bool {
        self.errno == errno
    }

    fn kernel(error: &ErrorMessage, flags: u16) -> Self {
        let said = (flags & NLM_F_ACK_TLVS != 0).then(|| kernel_words(&error.header)).flatten();
        Self { errno: Errno::from_raw_os_error(error.raw_code().abs()), said }
    }

    /// Returns a failure that the kernel did not tell.
    pub(super) fn own(errno: Errno, said: &str) -> Self {
        Self { errno, said: Some(said.into()) }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", io::Error::from(self.errno))?;
        if let Some(said) = &self.said {
            write!(out, ": {said}")?;
        }
        if self.errno == Errno::PERM {
            out.write_str("; weftd needs CAP_NET_ADMIN in this network namespace")?;
        }
        Ok(())
    }
}

/// What the kernel's attributes behind the echoed header say. With `NETLINK_CAP_ACK` only the header
/// of the request, 16 bytes, comes before them.
fn kernel_words(echo: &[u8]) -> Option<String> {
    let attributes = NlasIterator::new(echo.get(16..)?);
    let message = attributes.flatten().find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(message.value());
    Some(text.trim_end_matches('\0').to_owned())
}

/// A request socket in the network namespace where it was opened.
#[derive(Clone, Debug)]
pub(super) struct Netlink {
    handle: rtnetlink::Handle,
}

impl Netlink {
    /// Opens the socket and starts its task on the current runtime.
    pub(super) fn open() -> io::Result<Self> {
        // Strict checking makes the kernel filter dumps: a router's table never crosses whole.
        let (mut connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        let socket = connection.socket_mut().socket_mut();
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Returns the device of that name.
    pub(super) async fn link_by_name(&self, name: &str) -> Result<Option<Link>, Failure> {
        let mut query = LinkMessage::default();
        query.attributes.push(LinkAttribute::IfName(name.into()));
        self.link(query).await
    }

    /// Returns the device of that index.
    pub(super) async fn link_by_index(&self, index: u32) -> Result<Option<Link>, Failure> {
        let mut query = LinkMessage::default();
        query.header.index = index;
        self.link(query).await
    }

    async fn link(&self, query: LinkMessage) -> Result<Option<Link>, Failure> {
        let answers = match self.request(RouteNetlinkMessage::GetLink(query), NLM_F_ACK).await {
            Ok(answers) => answers,
            Err(failure) if failure.is(Errno::NODEV) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let link = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => Link::read(message),
            _ => None,
        });
        link.map(Some)
            .ok_or_else(|| Failure::own(Errno::PROTO, "the answer about the device is unreadable"))
    }

    /// Returns all devices.
    pub(super) async fn links(&self) -> Result<Vec<Link>, Failure> {
        let answers = self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default())).await?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => Link::read(message),
                _ => None,
            })
            .collect())
    }

    /// Returns the addresses of a device.
    pub(super) async fn addresses(&self, index: u32) -> Result<Vec<Address>, Failure> {
        let messages = self.address_messages(index).await?;
        Ok(messages.iter().filter_map(Address::read).collect())
    }

    /// Returns the addresses of a device as the kernel tells them.
    pub(super) async fn address_messages(
        &self,
        index: u32,
    ) -> Result<Vec<AddressMessage>, Failure> {
        let mut query = AddressMessage::default();
        query.header.index = index;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(query)).await?;
        let messages = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) if message.header.index == index => {
                Some(message)
            }
            _ => None,
        });
        Ok(messages.collect())
    }

    /// Returns the IPv4 and IPv6 routes of every table whose way, or one of whose ways, is a device.
    pub(super) async fn routes(&self, index: u32) -> Result<Vec<Route>, Failure> {
        Ok(self.route_messages(index).await?.iter().map(Route::read).collect())
    }

    /// Returns the same as the kernel tells them.
    pub(super) async fn route_messages(&self, index: u32) -> Result<Vec<RouteMessage>, Failure> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            query.attributes.push(RouteAttribute::Oif(index));
            let answers = match self.dump(RouteNetlinkMessage::GetRoute(query)).await {
                Ok(answers) => answers,
                // A kernel without that family has no routes of it.
                Err(failure) if failure.is(Errno::OPNOTSUPP) => continue,
                Err(failure) => return Err(failure),
            };
            routes.extend(answers.into_iter().filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(message) => Some(message),
                _ => None,
            }));
        }
        Ok(routes)
    }

    /// Sets a device administratively up or down.
    pub(super) async fn set_state(&self, index: u32, state: State) -> Result<(), Failure> {
        let mut change = LinkMessage::default();
        change.header.index = index;
        change.header.change_mask = LinkFlags::Up;
        if state == State::Up {
            change.header.flags = LinkFlags::Up;
        }
        self.tell(RouteNetlinkMessage::SetLink(change), 0).await
    }

    /// Sets a device's MTU.
    pub(super) async fn set_mtu(&self, index: u32, mtu: u32) -> Result<(), Failure> {
        let mut change = LinkMessage::default();
        change.header.index = index;
        change.attributes.push(LinkAttribute::Mtu(mtu));
        self.tell(RouteNetlinkMessage::SetLink(change), 0).await
    }

    /// Sets a device's MAC address.
    pub(super) async fn set_mac(&self, index: u32, mac: MacAddr) -> Result<(), Failure> {
        let mut change = LinkMessage::default();
        change.header.index = index;
        change.attributes.push(LinkAttribute::Address(mac.octets().to_vec()));
        self.tell(RouteNetlinkMessage::SetLink(change), 0).await
    }

    /// Sets how the kernel makes IPv6 addresses of a device's own. `IN6_ADDR_GEN_MODE_*`.
    pub(super) async fn set_address_generation(&self, index: u32, mode: u8) -> Result<(), Failure> {
        let mut change = LinkMessage::default();
        change.header.index = index;
        let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::from(mode))]);
        change.attributes.push(LinkAttribute::AfSpecUnspec(vec![inet6]));
        self.tell(RouteNetlinkMessage::SetLink(change), 0).await
    }

    /// Takes an IPv6 address off a device.
    pub(super) async fn remove_address(
        &self,
        index: u32,
        ip: Ipv6Addr,
        prefix: u8,
    ) -> Result<(), Failure> {
        self.tell(RouteNetlinkMessage::DelAddress(link_local(index, ip, prefix)), 0).await
    }

    /// Gives a device a link-local IPv6 address as if the kernel had made it.
    pub(super) async fn add_link_local(
        &self,
        index: u32,
        ip: Ipv6Addr,
        prefix: u8,
    ) -> Result<(), Failure> {
        let mut message = link_local(index, ip, prefix);
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::LinkLocal));
        self.tell(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Asks for a whole table, again when it changed while it was read.
    pub(super) async fn dump(
        &self,
        query: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        for _ in 1..DUMP_ATTEMPTS {
            match self.request(query.clone(), NLM_F_DUMP).await {
                Err(failure) if failure.is(Errno::INTR) => {}
                other => return other,
            }
        }
        self.request(query, NLM_F_DUMP).await
    }

    /// Makes a change and waits for the acknowledgement.
    pub(super) async fn tell(
        &self,
        change: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), Failure> {
        self.request(change, NLM_F_ACK | flags).await.map(drop)
    }

    /// Sends a request and returns what the kernel says to it.
    pub(super) async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Failure> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        let closed = |_| Failure::own(Errno::NOTCONN, "the netlink connection has ended");
        let mut answers = self.handle.clone().request(request).map_err(closed)?;
        let collect = async {
            let mut messages = Vec::new();
            let mut interrupted = false;
            while let Some(answer) = answers.next().await {
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => messages.push(message),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(Failure::kernel(&error, answer.header.flags));
                    }
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(Failure {
                            errno: Errno::from_raw_os_error(-done.code),
                            said: None,
                        });
                    }
                    NetlinkPayload::Overrun(_) => {
                        return Err(Failure::own(Errno::NOBUFS, "netlink overrun"));
                    }
                    _ => {}
                }
            }
            if interrupted {
                return Err(Failure::own(Errno::INTR, "the table keeps changing while it is read"));
            }
            Ok(messages)
        };
        match tokio::time::timeout(PATIENCE, collect).await {
            Ok(result) => result,
            Err(_) => Err(Failure::own(
                Errno::TIMEDOUT,
                "the kernel's answer did not come or is unreadable",
            )),
        }
    }
}

/// The administrative state of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Down,
}

fn link_local(index: u32, ip: Ipv6Addr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.index = index;
    message.header.prefix_len = prefix;
    message.header.scope = AddressScope::Link;
    message.attributes.push(AddressAttribute::Local(IpAddr::V6(ip)));
    message.attributes.push(AddressAttribute::Address(IpAddr::V6(ip)));
    message
}
