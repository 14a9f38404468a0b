//! What a filter asks of a frame, and the answers. A load beyond what was captured ends the whole filter with no, even
//! below a `not`: so do pcap's programs.

use std::{net::Ipv6Addr, ops::RangeInclusive};

use weft_vlan::{ETHERNET_HEADER, MacAddr, TAG_LEN};

use crate::view::{ARP, IPV4, IPV6, RARP, View, Way};

/// Bytes that were asked for and not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beyond;

type Answer<T = bool> = Result<T, Beyond>;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// One question.
    Test(Test),
    /// The opposite.
    Not(Box<Node>),
    /// Conditions from left to right, neither binding closer than the other.
    Chain(Box<Node>, Vec<(Joint, Node)>),
}

/// What joins a condition to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joint {
    And,
    Or,
}

/// Which end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Destination,
    Either,
    Both,
}

/// The protocol below which an address is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Any,
    Ipv4,
    Ipv6,
    Arp,
    Rarp,
}

/// A question. `shift` are bytes of tags in front of what follows the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    EtherType {
        shift: usize,
        number: u16,
    },
    Protocol {
        shift: usize,
        carrier: Carrier,
        number: u8,
    },
    Mac {
        end: End,
        mac: MacAddr,
    },
    Net4 {
        shift: usize,
        carrier: Carrier,
        end: End,
        net: u32,
        mask: u32,
    },
    Net6 {
        shift: usize,
        end: End,
        net: u128,
        mask: u128,
    },
    Ports {
        shift: usize,
        carrier: Carrier,
        protocols: &'static [u8],
        end: End,
        ports: RangeInclusive<u16>,
    },
    /// A tag, the outermost being number 0.
    Vlan {
        number: usize,
        vid: Option<u16>,
    },
    Broadcast,
    Multicast,
    Multicast4 {
        shift: usize,
    },
    Multicast6 {
        shift: usize,
    },
    Way(Way),
    Compare {
        left: Value,
        relation: Relation,
        right: Value,
    },
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    GreaterOrEqual,
    Greater,
}

/// A number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u32),
    Len,
    Load { shift: usize, of: Base, offset: Box<Value>, size: usize },
    Negative(Box<Value>),
    Of(Box<Value>, Operator, Box<Value>),
}

/// What is done with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    ExclusiveOr,
    ShiftLeft,
    ShiftRight,
}

/// Whose first byte a load counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Frame,
    /// What this EtherType carries.
    Packet(u16),
    /// What IPv4 carries as this protocol, in an unfragmented packet or a first fragment.
    Ipv4(u8),
    /// What follows IPv6's header as this protocol.
    Ipv6(u8),
}

impl Node {
    pub(super) fn ask(&self, view: &View<'_>) -> Answer {
        match self {
            Self::Test(test) => test.ask(view),
            Self::Not(node) => Ok(!node.ask(view)?),
            Self::Chain(first, rest) => {
                let mut answer = first.ask(view)?;
                for (joint, node) in rest {
                    answer = match (joint, answer) {
                        (Joint::And, false) | (Joint::Or, true) => answer,
                        _ => node.ask(view)?,
                    };
                }
                Ok(answer)
            }
        }
    }
}

impl Test {
    fn ask(&self, view: &View<'_>) -> Answer {
        match *self {
            Self::EtherType { shift, number } => carries(view, shift, number.into()),
            Self::Protocol { shift, carrier, number } => protocol(view, shift, carrier, number),
            Self::Mac { end, mac } => {
                end.ask(|offset| Ok(view.slice::<6>(offset).ok_or(Beyond)? == mac.octets()), 6, 0)
            }
            Self::Net4 { shift, carrier, end, net, mask } => {
                net4(view, shift, carrier, end, net, mask)
            }
            Self::Net6 { shift, end, net, mask } => {
                let begin = ETHERNET_HEADER + shift;
                let is_in = |offset| {
                    // As pcap has it: what counts for nothing need not be there.
                    if mask == 0 {
                        return Ok(true);
                    }
                    let address = view.slice::<16>(begin + offset).ok_or(Beyond)?;
                    Ok(u128::from(Ipv6Addr::from(address)) & mask == net)
                };
                Ok(carries(view, shift, IPV6)? && end.ask(is_in, 8, 24)?)
            }
            Self::Ports { shift, carrier, protocols, end, ref ports } => {
                Ok(carrier != Carrier::Ipv6 && ports4(view, shift, protocols, end, ports)?
                    || carrier != Carrier::Ipv4 && ports6(view, shift, protocols, end, ports)?)
            }
            Self::Vlan { number, vid } => tagged(view, number, vid),
            Self::Broadcast => Ok(view.slice(0).ok_or(Beyond)? == [0xff; 6]),
            Self::Multicast => Ok(load(view, 0, 1)? & 1 == 1),
            Self::Multicast4 { shift } => {
                Ok(carries(view, shift, IPV4)?
                    && load(view, ETHERNET_HEADER + shift + 16, 1)? >= 224)
            }
            Self::Multicast6 { shift } => {
                Ok(carries(view, shift, IPV6)?
                    && load(view, ETHERNET_HEADER + shift + 24, 1)? == 0xff)
            }
            Self::Way(way) => Ok(view.way() == way),
            Self::Compare { ref left, relation, ref right } => {
                let (Some(left), Some(right)) = (left.find(view)?, right.find(view)?) else {
                    return Ok(false);
                };
                Ok(match relation {
                    Relation::Less => left < right,
                    Relation::LessOrEqual => left <= right,
                    Relation::Equal => left == right,
                    Relation::NotEqual => left != right,
                    Relation::GreaterOrEqual => left >= right,
                    Relation::Greater => left > right,
                })
            }
        }
    }
}

impl End {
    /// Asks the same of the source, of the destination, or of both.
    fn ask(self, ask: impl Fn(usize) -> Answer, source: usize, destination: usize) -> Answer {
        match self {
            Self::Source => ask(source),
            Self::Destination => ask(destination),
            Self::Either => Ok(ask(source)? || ask(destination)?),
            Self::Both => Ok(ask(source)? && ask(destination)?),
        }
    }
}

impl Value {
    /// Returns the number; `None` where the frame is not of the protocol that it is taken from.
    fn find(&self, view: &View<'_>) -> Answer<Option<u32>> {
        match self {
            Self::Number(number) => Ok(Some(*number)),
            Self::Len => Ok(Some(view.untagged_len())),
            Self::Negative(value) => Ok(value.find(view)?.map(u32::wrapping_neg)),
            Self::Load { shift, of, offset, size } => {
                let Some(begin) = of.begin(view, *shift)? else { return Ok(None) };
                let Some(offset) = offset.find(view)? else { return Ok(None) };
                let at = begin.checked_add(offset as usize).ok_or(Beyond)?;
                load(view, at, *size).map(Some)
            }
            Self::Of(left, operator, right) => {
                let (Some(left), Some(right)) = (left.find(view)?, right.find(view)?) else {
                    return Ok(None);
                };
                operator.apply(left, right).map(Some)
            }
        }
    }
}

impl Operator {
    fn apply(self, left: u32, right: u32) -> Answer<u32> {
        Ok(match self {
            Self::Add => left.wrapping_add(right),
            Self::Subtract => left.wrapping_sub(right),
            Self::Multiply => left.wrapping_mul(right),
            Self::Divide => left.checked_div(right).ok_or(Beyond)?,
            Self::Remainder => left.checked_rem(right).ok_or(Beyond)?,
            Self::And => left & right,
            Self::Or => left | right,
            Self::ExclusiveOr => left ^ right,
            Self::ShiftLeft => left.checked_shl(right).unwrap_or(0),
            Self::ShiftRight => left.checked_shr(right).unwrap_or(0),
        })
    }
}

impl Base {
    fn begin(self, view: &View<'_>, shift: usize) -> Answer<Option<usize>> {
        let packet = ETHERNET_HEADER + shift;
        Ok(match self {
            Self::Frame => Some(0),
            Self::Packet(number) => carries(view, shift, number.into())?.then_some(packet),
            Self::Ipv4(number) => {
                let is_there = carries(view, shift, IPV4)?
                    && load(view, packet + 9, 1)? == number.into()
                    && is_first(view, packet)?;
                if is_there { Some(packet + header4(view, packet)?) } else { None }
            }
            Self::Ipv6(number) => {
                let is_there =
                    carries(view, shift, IPV6)? && load(view, packet + 6, 1)? == number.into();
                is_there.then_some(packet + HEADER6)
            }
        })
    }
}

const HEADER6: usize = 40;
const FRAGMENT: u32 = 44;

fn load(view: &View<'_>, offset: usize, size: usize) -> Answer<u32> {
    view.load(offset, size).ok_or(Beyond)
}

fn carries(view: &View<'_>, shift: usize, ethertype: u32) -> Answer {
    Ok(load(view, ETHERNET_HEADER - 2 + shift, 2)? == ethertype)
}

fn protocol(view: &View<'_>, shift: usize, carrier: Carrier, number: u8) -> Answer {
    let begin = ETHERNET_HEADER + shift;
    let number = number.into();
    if carrier != Carrier::Ipv6
        && carries(view, shift, IPV4)?
        && load(view, begin + 9, 1)? == number
    {
        return Ok(true);
    }
    if carrier == Carrier::Ipv4 || !carries(view, shift, IPV6)? {
        return Ok(false);
    }
    let next = load(view, begin + 6, 1)?;
    Ok(next == number || next == FRAGMENT && load(view, begin + HEADER6, 1)? == number)
}

fn net4(view: &View<'_>, shift: usize, carrier: Carrier, end: End, net: u32, mask: u32) -> Answer {
    let begin = ETHERNET_HEADER + shift;
    let is_in = |offset| Ok(mask == 0 || load(view, begin + offset, 4)? & mask == net);
    let ethertype = load(view, ETHERNET_HEADER - 2 + shift, 2)?;
    match (ethertype, carrier) {
        (IPV4, Carrier::Any | Carrier::Ipv4) => end.ask(is_in, 12, 16),
        (ARP, Carrier::Any | Carrier::Arp) | (RARP, Carrier::Any | Carrier::Rarp) => {
            end.ask(is_in, 14, 24)
        }
        _ => Ok(false),
    }
}

fn ports4(
    view: &View<'_>,
    shift: usize,
    protocols: &[u8],
    end: End,
    ports: &RangeInclusive<u16>,
) -> Answer {
    let begin = ETHERNET_HEADER + shift;
    if !carries(view, shift, IPV4)?
        || !protocols.contains(&(load(view, begin + 9, 1)? as u8))
        || !is_first(view, begin)?
    {
        return Ok(false);
    }
    let begin = begin + header4(view, begin)?;
    end.ask(|offset| Ok(ports.contains(&(load(view, begin + offset, 2)? as u16))), 0, 2)
}

fn ports6(
    view: &View<'_>,
    shift: usize,
    protocols: &[u8],
    end: End,
    ports: &RangeInclusive<u16>,
) -> Answer {
    let begin = ETHERNET_HEADER + shift;
    if !carries(view, shift, IPV6)? || !protocols.contains(&(load(view, begin + 6, 1)? as u8)) {
        return Ok(false);
    }
    let begin = begin + HEADER6;
    end.ask(|offset| Ok(ports.contains(&(load(view, begin + offset, 2)? as u16))), 0, 2)
}

/// Tells whether an IPv4 packet is whole or a first fragment.
fn is_first(view: &View<'_>, begin: usize) -> Answer {
    Ok(load(view, begin + 6, 2)? & 0x1fff == 0)
}

fn header4(view: &View<'_>, begin: usize) -> Answer<usize> {
    Ok((load(view, begin, 1)? as usize & 0xf) * 4)
}

fn tagged(view: &View<'_>, number: usize, wanted: Option<u16>) -> Answer {
    let vid = match number.checked_sub(1) {
        None => view.tag().map(|tag| u32::from(tag.tci.vid())),
        Some(before) => {
            let at = ETHERNET_HEADER - 2 + before * TAG_LEN;
            match load(view, at, 2)? {
                0x8100 | 0x88a8 | 0x9100 => Some(load(view, at + 2, 2)? & 0xfff),
                _ => None,
            }
        }
    };
    Ok(vid.is_some_and(|vid| wanted.is_none_or(|wanted| vid == wanted.into())))
}
