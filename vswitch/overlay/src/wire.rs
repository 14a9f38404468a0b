//! The messages of the overlay's control channel, `docs/overlay.md`. Reads and writes bytes; judges no claim.
//! A message fits [`PAYLOAD_MAX`] bytes; integers are little-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_vlan::MacAddr;

use crate::SegmentId;

/// Bytes of a control message at most.
pub const PAYLOAD_MAX: usize = 1100;
/// Addresses that are known of one MAC address at most.
pub const IPS_MAX: usize = 4;
/// Segments that a catalogue lists at most: one a VLAN.
pub(crate) const CATALOGUE_MAX: usize = 4094;
/// Bytes of a segment's name at most.
pub(crate) const NAME_MAX: usize = 64;

const VERSION: u8 = 1;
const CATALOGUE: u8 = 1;
const CLAIMS: u8 = 2;
const ACK: u8 = 3;
const DISPUTE: u8 = 4;
const WITHDRAWN: u8 = 0x80;

/// What makes a payload no control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not a control message of the overlay")]
pub struct Malformed;

/// Which run of the sender, and which session of that run, a message is from. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The boot epoch.
    pub epoch: u64,
    /// Counts the sessions with this receiver.
    pub session: u32,
}

/// One address of a segment's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub mac: MacAddr,
    /// What is claimed of it; `None` where a claim is withdrawn.
    pub claim: Option<(u64, Vec<IpAddr>)>,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The segments that the receiver may carry, by name.
    Catalogue {
        /// Counts the changes of the catalogue.
        revision: u32,
        /// How many items were sent before these.
        from: u16,
        /// How many items there are.
        total: u16,
        /// The items.
        items: Vec<(SegmentId, String)>,
    },
    /// The changes of a segment's log from one version to another.
    Claims {
        /// The segment.
        segment: SegmentId,
        /// Counts the full sets.
        round: u64,
        /// The version behind which these entries follow.
        from: u64,
        /// The version that the receiver has with them.
        to: u64,
        /// The version with which the full set is complete.
        full: u64,
        /// The entries, oldest change first.
        entries: Vec<Entry>,
    },
    /// What has arrived.
    Ack {
        /// The run and the session whose messages these were.
        of: Stamp,
        /// The catalogue's revision, and how many of its items are there.
        catalogue: (u32, u16),
        /// Of each segment's log the round and the version.
        logs: Vec<(SegmentId, u64, u64)>,
    },
    /// Addresses that the receiver claims and another does with a better sequence.
    Dispute(Vec<(SegmentId, MacAddr, u64)>),
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose it is.
    pub stamp: Stamp,
    /// What it says.
    pub body: Body,
}

/// Bytes in front of a message's body.
const HEADER: usize = 14;
/// Bytes in front of a message's claims.
pub(crate) const CLAIMS_HEADER: usize = HEADER + 36;
/// Bytes in front of a message's catalogue items, and of each item its name left out.
pub(crate) const CATALOGUE_HEADER: usize = HEADER + 8;
pub(crate) const ITEM_HEADER: usize = 5;
/// Logs that one acknowledgement names.
pub(crate) const ACKS_MAX: usize = (PAYLOAD_MAX - HEADER - 18) / 20;
/// Addresses that one dispute names.
pub(crate) const DISPUTES_MAX: usize = (PAYLOAD_MAX - HEADER) / 18;

impl Entry {
    /// Returns the bytes of the entry in a message.
    pub(crate) fn size(&self) -> usize {
        let ip_size = |ip: &IpAddr| if ip.is_ipv4() { 5 } else { 17 };
        let claim = self.claim.as_ref();
        7 + claim.map_or(0, |(_, ips)| 8 + ips.iter().map(ip_size).sum::<usize>())
    }
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Malformed`] when it is not one, whole and with nothing behind it.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        if payload.len() > PAYLOAD_MAX {
            return Err(Malformed);
        }
        let mut bytes = Reader(payload);
        if bytes.u8()? != VERSION {
            return Err(Malformed);
        }
        let kind = bytes.u8()?;
        let stamp = bytes.stamp()?;
        let body = match kind {
            CATALOGUE => Body::Catalogue {
                revision: bytes.u32()?,
                from: bytes.u16()?,
                total: bytes.u16()?,
                items: bytes.all(Reader::item)?,
            },
            CLAIMS => Body::Claims {
                segment: bytes.segment()?,
                round: bytes.u64()?,
                from: bytes.u64()?,
                to: bytes.u64()?,
                full: bytes.u64()?,
                entries: bytes.all(Reader::entry)?,
            },
            ACK => Body::Ack {
                of: bytes.stamp()?,
                catalogue: (bytes.u32()?, bytes.u16()?),
                logs: bytes.all(|bytes| Ok((bytes.segment()?, bytes.u64()?, bytes.u64()?)))?,
            },
            DISPUTE => Body::Dispute(
                bytes.all(|bytes| Ok((bytes.segment()?, bytes.mac()?, bytes.u64()?)))?,
            ),
            _ => return Err(Malformed),
        };
        Ok(Self { stamp, body })
    }

    /// Writes the message.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PAYLOAD_MAX);
        let kind = match self.body {
            Body::Catalogue { .. } => CATALOGUE,
            Body::Claims { .. } => CLAIMS,
            Body::Ack { .. } => ACK,
            Body::Dispute(_) => DISPUTE,
        };
        out.extend([VERSION, kind]);
        self.stamp.write(&mut out);
        self.body.write(&mut out);
        debug_assert!(out.len() <= PAYLOAD_MAX);
        out
    }
}

impl Stamp {
    fn write(self, out: &mut Vec<u8>) {
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.session.to_le_bytes());
    }
}

impl Body {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Catalogue { revision, from, total, items } => {
                out.extend(revision.to_le_bytes());
                out.extend(from.to_le_bytes());
                out.extend(total.to_le_bytes());
                for (segment, name) in items {
                    out.extend(segment.get().to_le_bytes());
                    out.push(name.len() as u8);
                    out.extend(name.as_bytes());
                }
            }
            Self::Claims { segment, round, from, to, full, entries } => {
                out.extend(segment.get().to_le_bytes());
                for value in [round, from, to, full] {
                    out.extend(value.to_le_bytes());
                }
                entries.iter().for_each(|entry| entry.write(out));
            }
            Self::Ack { of, catalogue: (revision, items), logs } => {
                of.write(out);
                out.extend(revision.to_le_bytes());
                out.extend(items.to_le_bytes());
                for (segment, round, version) in logs {
                    out.extend(segment.get().to_le_bytes());
                    out.extend(round.to_le_bytes());
                    out.extend(version.to_le_bytes());
                }
            }
            Self::Dispute(disputed) => {
                for (segment, mac, sequence) in disputed {
                    out.extend(segment.get().to_le_bytes());
                    out.extend(mac.octets());
                    out.extend(sequence.to_le_bytes());
                }
            }
        }
    }
}

impl Entry {
    fn write(&self, out: &mut Vec<u8>) {
        let Some((sequence, ips)) = &self.claim else {
            out.push(WITHDRAWN);
            out.extend(self.mac.octets());
            return;
        };
        out.push(ips.len() as u8);
        out.extend(self.mac.octets());
        out.extend(sequence.to_le_bytes());
        for ip in ips {
            match ip {
                IpAddr::V4(ip) => {
                    out.push(4);
                    out.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.push(6);
                    out.extend(ip.octets());
                }
            }
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (&taken, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_le_bytes)
    }

    fn stamp(&mut self) -> Result<Stamp, Malformed> {
        Ok(Stamp { epoch: self.u64()?, session: self.u32()? })
    }

    fn segment(&mut self) -> Result<SegmentId, Malformed> {
        SegmentId::new(self.u32()?).ok_or(Malformed)
    }

    fn mac(&mut self) -> Result<MacAddr, Malformed> {
        self.take().map(MacAddr::new)
    }

    /// Reads elements up to the end.
    fn all<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut elements = Vec::new();
        while !self.0.is_empty() {
            elements.push(one(self)?);
        }
        Ok(elements)
    }

    fn item(&mut self) -> Result<(SegmentId, String), Malformed> {
        let segment = self.segment()?;
        let len = usize::from(self.u8()?);
        let (name, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        let name = str::from_utf8(name).map_err(|_| Malformed)?;
        // It will be shown to people.
        let is_fit = (1..=NAME_MAX).contains(&len) && !name.contains(char::is_control);
        if is_fit { Ok((segment, name.to_owned())) } else { Err(Malformed) }
    }

    fn entry(&mut self) -> Result<Entry, Malformed> {
        let form = self.u8()?;
        let mac = self.mac()?;
        if form == WITHDRAWN {
            return Ok(Entry { mac, claim: None });
        }
        if usize::from(form) > IPS_MAX {
            return Err(Malformed);
        }
        let sequence = self.u64()?;
        let ips = (0..form).map(|_| self.ip()).collect::<Result<_, _>>()?;
        Ok(Entry { mac, claim: Some((sequence, ips)) })
    }

    fn ip(&mut self) -> Result<IpAddr, Malformed> {
        match self.u8()? {
            4 => self.take().map(|octets: [u8; 4]| Ipv4Addr::from(octets).into()),
            6 => self.take().map(|octets: [u8; 16]| Ipv6Addr::from(octets).into()),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests;
