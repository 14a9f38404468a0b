//! The messages of a vhost-user front-end, as bytes. QEMU `docs/interop/vhost-user.rst`, "Message Specification"; all
//! numbers are of the machine's own byte order. Does no input or output and knows no state: in which order messages make
//! sense is the session's business.

use std::ops::RangeInclusive;

/// Bytes in front of each message.
pub const HEADER: usize = 12;
/// Bytes of the largest payload that any request has: a table of [`TABLE_MAX`] regions.
pub const PAYLOAD_MAX: usize = 8 + TABLE_MAX * REGION;
/// Regions that one table may have, since each comes with a descriptor.
pub const TABLE_MAX: usize = 8;
/// Descriptors that a message may carry.
pub const FDS_MAX: usize = TABLE_MAX;

const REGION: usize = 32;
const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 4;
const NEED_REPLY: u32 = 8;
const NO_FD: u64 = 1 << 8;

/// What stands in front of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which request it is.
    pub code: u32,
    /// Whether the front-end wants to hear what became of it.
    pub reply: Wanted,
    /// Bytes of payload.
    pub size: usize,
}

/// Whether an answer is asked for that the request by itself does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// VHOST_USER_PROTOCOL_F_REPLY_ACK.
    Reply,
    /// Nothing is said.
    Silence,
}

/// Why a message cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// Flags of no version, or those of a reply.
    #[error("a message of unknown form: flags {0:#x}")]
    Flags(u32),
    /// No request has so many bytes.
    #[error("a message of {0} bytes")]
    TooLong(u32),
    /// The request has not this size.
    #[error("request {code} with {size} bytes")]
    Size {
        /// The request.
        code: u32,
        /// Its size.
        size: usize,
    },
    /// The request has not so many descriptors.
    #[error("request {code} with {fds} descriptors")]
    Descriptors {
        /// The request.
        code: u32,
        /// How many came with it.
        fds: usize,
    },
    /// A table of more regions than there may be.
    #[error("a table of {0} memory regions")]
    Regions(u32),
    /// No request that was offered.
    #[error("request {0}, which was not offered")]
    Unknown(u32),
}

/// A region of the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionSpec {
    /// Its address in the guest.
    pub guest: u64,
    /// Its bytes.
    pub size: u64,
    /// Its address in the front-end.
    pub user: u64,
    /// Where it begins in its file.
    pub offset: u64,
}

/// A ring and a number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringState {
    /// The ring.
    pub index: u32,
    /// The number.
    pub value: u32,
}

/// Where a ring lies, in addresses of the front-end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VringAddress {
    /// The ring.
    pub index: u32,
    /// Whether writes to the used ring are to be logged: bit 0.
    pub flags: u32,
    /// The descriptor table.
    pub desc: u64,
    /// The used ring.
    pub used: u64,
    /// The available ring.
    pub avail: u64,
    /// The used ring's address in the guest, for the log.
    pub log: u64,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its bytes.
    pub size: u64,
    /// Where it begins.
    pub offset: u64,
}

/// The area that descriptors in flight are noted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightSpec {
    /// Where it lies in its file.
    pub area: Area,
    /// For how many rings.
    pub queues: u16,
    /// Entries of each ring.
    pub queue_size: u16,
}

/// A request, with everything but its descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the specification")]
pub enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    SetMemTable(Vec<RegionSpec>),
    SetLogBase(Area),
    SetLogFd,
    SetVringNum(VringState),
    SetVringAddr(VringAddress),
    SetVringBase(VringState),
    GetVringBase(u32),
    SetVringKick(u32),
    SetVringCall(u32),
    SetVringErr(u32),
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    SetVringEnable(VringState),
    SendRarp([u8; 6]),
    NetSetMtu(u64),
    GetInflightFd(InflightSpec),
    SetInflightFd(InflightSpec),
    GetMaxMemSlots,
    AddMemReg(RegionSpec),
    RemMemReg(RegionSpec),
    SetStatus(u64),
    GetStatus,
}

impl Header {
    /// Reads what stands in front of a message.
    ///
    /// # Errors
    /// [`BadMessage`] when nothing behind it can be trusted.
    pub fn read(bytes: &[u8; HEADER]) -> Result<Self, BadMessage> {
        let [code, flags, size] = [0, 4, 8].map(|at| number(bytes, at));
        if flags & VERSION_MASK != VERSION || flags & REPLY != 0 {
            return Err(BadMessage::Flags(flags));
        }
        if size as usize > PAYLOAD_MAX {
            return Err(BadMessage::TooLong(size));
        }
        let reply = if flags & NEED_REPLY == 0 { Wanted::Silence } else { Wanted::Reply };
        Ok(Self { code, reply, size: size as usize })
    }

    /// Makes what stands in front of the reply to a request.
    pub fn of_reply(code: u32, size: usize) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        for (at, value) in [(0, code), (4, VERSION | REPLY), (8, size as u32)] {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }
}

impl Request {
    /// Reads a request with its payload and checks how many descriptors came with it.
    ///
    /// # Errors
    /// [`BadMessage`] when it is none that this end knows, or not whole.
    pub fn read(code: u32, payload: &[u8], fds: usize) -> Result<Self, BadMessage> {
        let (request, allowed) = Self::parse(code, payload)?;
        if !allowed.contains(&fds) {
            return Err(BadMessage::Descriptors { code, fds });
        }
        Ok(request)
    }

    fn parse(code: u32, payload: &[u8]) -> Result<(Self, RangeInclusive<usize>), BadMessage> {
        let size = payload.len();
        let wrong = BadMessage::Size { code, size };
        let sized = |wanted: usize| if size == wanted { Ok(()) } else { Err(wrong) };
        let word = || sized(8).map(|()| wide(payload, 0));
        let state = || {
            sized(8).map(|()| VringState { index: number(payload, 0), value: number(payload, 4) })
        };
        let bare = |request: Self| sized(0).map(|()| request);
        // Bit 8 instead of a descriptor says that the front-end polls.
        let vring_fd = |request: fn(u32) -> Self| {
            let word = word()?;
            let fds = if word & NO_FD == 0 { 1..=1 } else { 0..=0 };
            Ok((request((word & 0xff) as u32), fds))
        };
        let region = |request: fn(RegionSpec) -> Self| {
            sized(8 + REGION).map(|()| request(RegionSpec::read(payload, 8)))
        };
        let mut fds = 0..=0;
        let request = match code {
            1 => bare(Self::GetFeatures)?,
            2 => Self::SetFeatures(word()?),
            3 => bare(Self::SetOwner)?,
            4 => bare(Self::ResetOwner)?,
            5 => {
                let regions = table(payload).ok_or(wrong)??;
                fds = regions.len()..=regions.len();
                Self::SetMemTable(regions)
            }
            6 => {
                sized(16)?;
                fds = 1..=1;
                Self::SetLogBase(Area { size: wide(payload, 0), offset: wide(payload, 8) })
            }
            7 => {
                fds = 0..=1;
                Self::SetLogFd
            }
            8 => Self::SetVringNum(state()?),
            9 => {
                sized(40)?;
                Self::SetVringAddr(VringAddress::read(payload))
            }
            10 => Self::SetVringBase(state()?),
            11 => Self::GetVringBase(state()?.index),
            12 => return vring_fd(Self::SetVringKick),
            13 => return vring_fd(Self::SetVringCall),
            14 => return vring_fd(Self::SetVringErr),
            15 => bare(Self::GetProtocolFeatures)?,
            16 => Self::SetProtocolFeatures(word()?),
            17 => bare(Self::GetQueueNum)?,
            18 => Self::SetVringEnable(state()?),
            19 => {
                let [a, b, c, d, e, f, _, _] = word()?.to_ne_bytes();
                Self::SendRarp([a, b, c, d, e, f])
            }
            20 => Self::NetSetMtu(word()?),
            31 => Self::GetInflightFd(InflightSpec::read(payload).ok_or(wrong)?),
            32 => {
                fds = 1..=1;
                Self::SetInflightFd(InflightSpec::read(payload).ok_or(wrong)?)
            }
            36 => bare(Self::GetMaxMemSlots)?,
            37 => {
                fds = 1..=1;
                region(Self::AddMemReg)?
            }
            38 => {
                // Some front-ends send the descriptor again.
                fds = 0..=1;
                region(Self::RemMemReg)?
            }
            39 => Self::SetStatus(word()?),
            40 => bare(Self::GetStatus)?,
            _ => return Err(BadMessage::Unknown(code)),
        };
        Ok((request, fds))
    }

    /// Tells whether the request has a reply of its own, so that none is to be sent only because it was asked for.
    pub fn is_answered(&self) -> bool {
        matches!(
            self,
            Self::GetFeatures
                | Self::SetLogBase(_)
                | Self::GetVringBase(_)
                | Self::GetProtocolFeatures
                | Self::GetQueueNum
                | Self::GetInflightFd(_)
                | Self::GetMaxMemSlots
                | Self::GetStatus
        )
    }
}

impl RegionSpec {
    fn read(payload: &[u8], at: usize) -> Self {
        let [guest, size, user, offset] = [0, 8, 16, 24].map(|field| wide(payload, at + field));
        Self { guest, size, user, offset }
    }
}

impl VringAddress {
    fn read(payload: &[u8]) -> Self {
        let [desc, used, avail, log] = [8, 16, 24, 32].map(|at| wide(payload, at));
        Self { index: number(payload, 0), flags: number(payload, 4), desc, used, avail, log }
    }
}

impl InflightSpec {
    /// Bytes of the payload; a C structure is padded to a multiple of eight.
    const SIZES: [usize; 2] = [20, 24];

    fn read(payload: &[u8]) -> Option<Self> {
        let number = |at: usize| u16::from_ne_bytes([payload[at], payload[at + 1]]);
        Self::SIZES.contains(&payload.len()).then(|| Self {
            area: Area { size: wide(payload, 0), offset: wide(payload, 8) },
            queues: number(16),
            queue_size: number(18),
        })
    }

    /// Makes the payload of a reply.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.area.size.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.area.offset.to_ne_bytes());
        bytes[16..18].copy_from_slice(&self.queues.to_ne_bytes());
        bytes[18..20].copy_from_slice(&self.queue_size.to_ne_bytes());
        bytes
    }
}

/// Reads a table of regions; `None` when its length is not what it says.
fn table(payload: &[u8]) -> Option<Result<Vec<RegionSpec>, BadMessage>> {
    if payload.len() < 8 {
        return None;
    }
    let count = number(payload, 0);
    if count as usize > TABLE_MAX {
        return Some(Err(BadMessage::Regions(count)));
    }
    let len = 8 + count as usize * REGION;
    // Some front-ends always send the whole table.
    let whole = payload.len() == len || payload.len() == PAYLOAD_MAX;
    whole.then(|| {
        Ok((0..count as usize).map(|n| RegionSpec::read(payload, 8 + n * REGION)).collect())
    })
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn wide(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(wide)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn requests_are_read_with_their_sizes_and_descriptors() {
        let region = RegionSpec { guest: 1, size: 2, user: 3, offset: 4 };
        let table = |count: u64| words(&[count, 1, 2, 3, 4]);
        let size = |code, size| Err(BadMessage::Size { code, size });
        let fds = |code, fds| Err(BadMessage::Descriptors { code, fds });
        for (code, payload, count, expected) in [
            (1, vec![], 0, Ok(Request::GetFeatures)),
            (1, words(&[0]), 0, size(1, 8)),
            (1, vec![], 1, fds(1, 1)),
            (2, words(&[7]), 0, Ok(Request::SetFeatures(7))),
            (2, vec![0; 7], 0, size(2, 7)),
            (5, table(1), 1, Ok(Request::SetMemTable(vec![region]))),
            (5, table(1), 0, fds(5, 0)),
            (5, table(2), 2, size(5, 40)),
            (5, table(9), 1, Err(BadMessage::Regions(9))),
            (5, words(&[0]), 0, Ok(Request::SetMemTable(vec![]))),
            (5, vec![0; 4], 0, size(5, 4)),
            (6, words(&[4096, 0]), 1, Ok(Request::SetLogBase(Area { size: 4096, offset: 0 }))),
            (6, words(&[4096]), 1, size(6, 8)),
            (11, words(&[3]), 0, Ok(Request::GetVringBase(3))),
            (12, words(&[1]), 1, Ok(Request::SetVringKick(1))),
            (12, words(&[0x101]), 0, Ok(Request::SetVringKick(1))),
            (12, words(&[0x101]), 1, fds(12, 1)),
            (12, words(&[1]), 0, fds(12, 0)),
            (19, vec![2, 0, 0, 0, 0, 9, 0, 0], 0, Ok(Request::SendRarp([2, 0, 0, 0, 0, 9]))),
            (37, words(&[0, 1, 2, 3, 4]), 1, Ok(Request::AddMemReg(region))),
            (38, words(&[0, 1, 2, 3, 4]), 1, Ok(Request::RemMemReg(region))),
            (40, vec![], 0, Ok(Request::GetStatus)),
            (24, words(&[0]), 0, Err(BadMessage::Unknown(24))),
            (0, vec![], 0, Err(BadMessage::Unknown(0))),
        ] {
            assert_eq!(Request::read(code, &payload, count), expected, "{code} {payload:?}");
        }
    }

    #[test]
    fn a_header_of_another_version_or_of_a_reply_is_refused() {
        let header = |flags: u32, size: u32| {
            let mut bytes = [0; HEADER];
            bytes[0] = 1;
            bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
            bytes[8..].copy_from_slice(&size.to_ne_bytes());
            Header::read(&bytes)
        };
        assert_eq!(header(1, 8), Ok(Header { code: 1, reply: Wanted::Silence, size: 8 }));
        assert_eq!(header(9, 0), Ok(Header { code: 1, reply: Wanted::Reply, size: 0 }));
        assert_eq!(header(0, 0), Err(BadMessage::Flags(0)));
        assert_eq!(header(5, 0), Err(BadMessage::Flags(5)));
        assert_eq!(header(1, 265), Err(BadMessage::TooLong(265)));
        assert_eq!(header(1, u32::MAX), Err(BadMessage::TooLong(u32::MAX)));
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(
            code in 0..50_u32, payload in prop::collection::vec(any::<u8>(), 0..=PAYLOAD_MAX), fds in 0..9_usize,
        ) {
            let _ = Request::read(code, &payload, fds);
        }
    }
}
