//! A captured frame as filters and people look at it: the outermost tag taken off and beside it, as a kernel hands it to
//! tcpdump. What was not captured is not there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weft_vlan::{ETHERNET_HEADER, MacAddr, TAG_LEN, WireTag};

const ADDRESSES: usize = 12;
pub(crate) const ARP: u32 = 0x0806;
pub(crate) const RARP: u32 = 0x8035;
pub(crate) const IPV4: u32 = 0x0800;
pub(crate) const IPV6: u32 = 0x86dd;

/// The way of a frame past a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// It came from the port into the switch.
    In,
    /// It left, or should have left, the switch by the port.
    Out,
}

impl Way {
    /// Returns the word that users see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// The captured bytes of a frame.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    bytes: &'a [u8],
    tag: Option<WireTag>,
    len: u32,
    way: Way,
}

impl<'a> View<'a> {
    /// Looks at the first bytes of a frame that was `len` bytes long, tags in band.
    pub fn new(bytes: &'a [u8], len: u32, way: Way) -> Self {
        let tag = match bytes.get(ADDRESSES..ETHERNET_HEADER + TAG_LEN) {
            Some(behind) => WireTag::read(behind),
            None => None,
        };
        let beside = if tag.is_some() { TAG_LEN as u32 } else { 0 };
        Self { bytes, tag, len: len.saturating_sub(beside), way }
    }

    /// Returns the outermost tag.
    pub fn tag(&self) -> Option<WireTag> {
        self.tag
    }

    /// Returns the length in bytes that the frame had without the outermost tag.
    pub fn untagged_len(&self) -> u32 {
        self.len
    }

    /// Returns which way it went.
    pub fn way(&self) -> Way {
        self.way
    }

    /// Returns the source address.
    pub fn source(&self) -> Option<MacAddr> {
        self.mac(6)
    }

    /// Returns the destination address.
    pub fn destination(&self) -> Option<MacAddr> {
        self.mac(0)
    }

    /// Returns the EtherType behind the tags.
    pub fn ethertype(&self) -> Option<u16> {
        Some(self.load(self.layer3()? - 2, 2)? as u16)
    }

    /// Returns who sent an IP packet or an ARP message, and to whom, as it says itself.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let begin = self.layer3()?;
        let v4 = |offset| self.load(begin + offset, 4).map(|bits| Ipv4Addr::from(bits).into());
        let v6 = |offset| {
            let bytes = self.slice::<16>(begin + offset)?;
            Some(IpAddr::from(Ipv6Addr::from(bytes)))
        };
        match u32::from(self.ethertype()?) {
            IPV4 => Some((v4(12)?, v4(16)?)),
            ARP => Some((v4(14)?, v4(24)?)),
            IPV6 => Some((v6(8)?, v6(24)?)),
            _ => None,
        }
    }

    /// Returns where the third layer begins, behind every tag.
    fn layer3(&self) -> Option<usize> {
        let mut begin = ETHERNET_HEADER;
        while let Some(bytes) = self.slice::<TAG_LEN>(begin - 2)
            && WireTag::read(&bytes).is_some()
        {
            begin += TAG_LEN;
        }
        (self.captured() >= begin).then_some(begin)
    }

    /// Returns a number of 1, 2 or 4 bytes, in the frame without its outermost tag.
    pub(crate) fn load(&self, offset: usize, size: usize) -> Option<u32> {
        let mut value = 0;
        for at in offset..offset.checked_add(size)? {
            value = value << 8 | u32::from(self.byte(at)?);
        }
        Some(value)
    }

    /// Returns bytes of the frame without its outermost tag.
    pub(crate) fn slice<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = self.byte(offset.checked_add(at)?)?;
        }
        Some(bytes)
    }

    fn captured(&self) -> usize {
        self.bytes.len() - if self.tag.is_some() { TAG_LEN } else { 0 }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        let beside = if at >= ADDRESSES && self.tag.is_some() { TAG_LEN } else { 0 };
        self.bytes.get(at.checked_add(beside)?).copied()
    }

    fn mac(&self, offset: usize) -> Option<MacAddr> {
        self.slice(offset).map(MacAddr::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

    fn view(behind: &[u8]) -> Vec<u8> {
        [&MACS, behind].concat()
    }

    #[test]
    fn the_outermost_tag_stands_beside_and_the_others_are_passed_over() {
        let mut arp = vec![0x88, 0xa8, 0x01, 0x2c, 0x81, 0x00, 0x00, 0x14, 0x08, 0x06];
        arp.extend([
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
        ]);
        let bytes = view(&arp);
        let view = View::new(&bytes, bytes.len() as u32, Way::In);
        assert_eq!(view.tag().map(|tag| tag.tci.vid()), Some(300));
        assert_eq!(view.ethertype(), Some(0x0806));
        assert_eq!(view.untagged_len() as usize, bytes.len() - 4);
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        assert_eq!(view.addresses(), Some((ip(1), ip(2))));
        assert_eq!(view.source(), Some(MacAddr::new([2, 0, 0, 0, 0, 1])));
    }

    #[test]
    fn what_was_cut_off_is_not_there() {
        let mut whole = view(&[0x81, 0x00, 0x00, 0x0a, 0x86, 0xdd]);
        whole.extend([0x60; 40]);
        for len in 0..whole.len() {
            let view = View::new(&whole[..len], 1514, Way::Out);
            assert_eq!(view.source().is_some(), len >= 12, "{len}");
            assert_eq!(view.tag().is_some(), len >= 18, "{len}");
            assert_eq!(view.addresses().is_some(), len >= 58, "{len}");
        }
    }
}
