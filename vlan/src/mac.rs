//! 48-bit MAC addresses. IEEE 802-2014 clause 8.2.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A 48-bit MAC address, in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Wraps six octets in transmission order.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// Returns the octets in transmission order.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// Tells whether the group bit is set: multicast, broadcast included.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// Tells whether this may stand as the source of a frame: an individual address, not all zero.
    pub const fn is_source(self) -> bool {
        !self.is_group() && self.to_u64() != 0
    }

    /// Tells whether a bridge never forwards this destination: 01:80:C2:00:00:00 to 0F.
    /// IEEE 802.1Q-2022 table 8-1.
    pub const fn is_reserved(self) -> bool {
        self.to_u64() & !0xf == 0x0180_c200_0000
    }

    /// Returns the address as the low 48 bits of an integer, first octet highest.
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        // Two words as they stand in memory: eight single bytes would be put together one by one.
        (u32::from_be_bytes([a, b, c, d]) as u64) << 16 | u16::from_be_bytes([e, f]) as u64
    }

    /// Makes an address of the low 48 bits of an integer, first octet highest.
    pub const fn from_u64(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The text is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address: six hexadecimal octets, as in 52:54:00:12:34:56")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseMacError(text.chars().take(40).collect());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut octets = [0; 6];
        let mut parts = text.split(separator);
        for octet in &mut octets {
            let part = parts.next().ok_or_else(error)?;
            if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(error());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for MacAddr {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_octets_agree() {
        let mac: MacAddr = "52:54:00:12:34:AB".parse().unwrap();
        assert_eq!(mac.octets(), [0x52, 0x54, 0, 0x12, 0x34, 0xab]);
        assert_eq!(mac.to_string(), "52:54:00:12:34:ab");
        assert_eq!("52-54-00-12-34-ab".parse(), Ok(mac));
        assert_eq!(MacAddr::from_u64(mac.to_u64()), mac);
    }

    #[test]
    fn what_is_not_six_octets_is_refused() {
        for text in [
            "",
            "52:54",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:5",
            "52:54:00:12:34:+6",
            "5254.0012.3456",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn sources_and_reserved_destinations() {
        let mac = |text: &str| text.parse::<MacAddr>().unwrap();
        assert!(mac("02:00:00:00:00:01").is_source());
        assert!(!mac("00:00:00:00:00:00").is_source());
        assert!(!mac("01:00:5e:00:00:01").is_source());
        assert!(!MacAddr::BROADCAST.is_source());
        assert!(mac("01:80:c2:00:00:00").is_reserved());
        assert!(mac("01:80:c2:00:00:0f").is_reserved());
        assert!(!mac("01:80:c2:00:00:10").is_reserved());
        assert!(!mac("00:80:c2:00:00:00").is_reserved());
    }
}
