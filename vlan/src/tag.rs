//! VLAN tags as they stand on the wire and as they travel beside a frame. IEEE 802.1Q-2022 clause 9.

use std::fmt;

/// Bytes of one tag: TPID and TCI.
pub const TAG_LEN: usize = 4;

/// A VLAN identifier that a frame can belong to: 1 to 4094.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(u16);

impl VlanId {
    /// Returns the identifier, or `None` for 0 (no VLAN), 4095 (reserved) and what is above.
    pub const fn new(vid: u16) -> Option<Self> {
        if vid >= 1 && vid <= 4094 { Some(Self(vid)) } else { None }
    }

    /// Returns the identifier as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Debug for VlanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The tag protocol identifier: the EtherType that announces a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tpid {
    /// 0x8100, a customer tag.
    Dot1Q,
    /// 0x88A8, a service tag.
    Dot1ad,
}

impl Tpid {
    /// Returns the protocol identifier that this EtherType is, if it is one.
    pub const fn from_ethertype(ethertype: u16) -> Option<Self> {
        match ethertype {
            0x8100 => Some(Self::Dot1Q),
            0x88a8 => Some(Self::Dot1ad),
            _ => None,
        }
    }

    /// Returns the EtherType.
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::Dot1Q => 0x8100,
            Self::Dot1ad => 0x88a8,
        }
    }
}

impl fmt::Display for Tpid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Dot1Q => "802.1Q",
            Self::Dot1ad => "802.1ad",
        })
    }
}

/// Priority code point and drop eligible indicator: the upper bits of a TCI without the VID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Priority 0, not drop eligible: what an untagged frame has.
    pub const BEST_EFFORT: Self = Self(0);

    /// Makes a priority of a code point (0 to 7, higher bits are ignored) and a drop eligible indicator (0 or 1).
    pub const fn new(pcp: u8, dei: u8) -> Self {
        Self((pcp & 7) << 1 | dei & 1)
    }

    /// Returns the priority code point, 0 to 7.
    pub const fn pcp(self) -> u8 {
        self.0 >> 1
    }

    /// Returns the drop eligible indicator, 0 or 1.
    pub const fn dei(self) -> u8 {
        self.0 & 1
    }
}

/// Tag control information: PCP (3 bits), DEI (1 bit), VID (12 bits), as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tci(u16);

impl Tci {
    /// Wraps the sixteen bits that follow a TPID.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Makes the control information of a frame in `vid`.
    pub const fn new(vid: VlanId, priority: Priority) -> Self {
        Self((priority.0 as u16) << 12 | vid.0)
    }

    /// Returns the sixteen bits.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Returns the twelve bits of the VID, 0 (priority-tagged) and 4095 (reserved) included.
    pub const fn vid(self) -> u16 {
        self.0 & 0xfff
    }

    /// Returns the priority.
    pub const fn priority(self) -> Priority {
        Priority((self.0 >> 12) as u8)
    }
}

impl fmt::Debug for Tci {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "vid {} pcp {} dei {}",
            self.vid(),
            self.priority().pcp(),
            self.priority().dei()
        )
    }
}

/// One tag, taken off a frame or to be put on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WireTag {
    /// What announces it.
    pub tpid: Tpid,
    /// What it says.
    pub tci: Tci,
}

impl WireTag {
    /// Makes a tag.
    pub const fn new(tpid: Tpid, tci: Tci) -> Self {
        Self { tpid, tci }
    }

    /// Reads a tag from the bytes behind a frame's two addresses; `None` when they begin no tag or are cut short.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, d] = bytes.first_chunk::<TAG_LEN>()?;
        let tpid = Tpid::from_ethertype(u16::from_be_bytes([a, b]))?;
        Some(Self { tpid, tci: Tci(u16::from_be_bytes([c, d])) })
    }

    /// Returns the four bytes of the tag.
    pub const fn to_bytes(self) -> [u8; TAG_LEN] {
        let [a, b] = self.tpid.ethertype().to_be_bytes();
        let [c, d] = self.tci.0.to_be_bytes();
        [a, b, c, d]
    }
}

/// The tags that an egress port puts on a frame, outermost first: the VLAN's own where the port sends
/// tagged, then the payload tag that was taken off on entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tags {
    /// The tag of the VLAN; `None` where the port sends the VLAN untagged.
    pub vlan: Option<WireTag>,
    /// A tag that is payload of the VLAN and goes back where it was.
    pub payload: Option<WireTag>,
}

impl Tags {
    /// No tag at all.
    pub const NONE: Self = Self { vlan: None, payload: None };

    /// Returns the tags, outermost first.
    pub fn iter(self) -> impl Iterator<Item = WireTag> {
        self.vlan.into_iter().chain(self.payload)
    }

    /// Returns the bytes that the tags add to a frame.
    pub fn wire_len(self) -> usize {
        self.iter().count() * TAG_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vid_0_and_4095_are_no_vlan() {
        assert_eq!(VlanId::new(0), None);
        assert_eq!(VlanId::new(4095), None);
        assert_eq!(VlanId::new(4094).map(VlanId::get), Some(4094));
    }

    #[test]
    fn a_tag_reads_back_as_written() {
        let tag =
            WireTag::new(Tpid::Dot1ad, Tci::new(VlanId::new(300).unwrap(), Priority::new(5, 1)));
        assert_eq!(tag.to_bytes(), [0x88, 0xa8, 0xb1, 0x2c]);
        assert_eq!(WireTag::read(&tag.to_bytes()), Some(tag));
        assert_eq!(tag.tci.priority(), Priority::new(5, 1));
        assert_eq!(WireTag::read(&[0x81, 0x00, 0x00]), None);
        assert_eq!(WireTag::read(&[0x08, 0x00, 0x45, 0x00]), None);
    }
}
