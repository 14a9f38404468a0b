//! Features of devices that have no flag of their own: the kernel names them, and a feature's number is the place of its
//! name. Linux `ethtool.h`, ETHTOOL_GFEATURES and ETHTOOL_SFEATURES.

use std::io;

use super::{Ethtool, Links, Stripping};

/// Taking tags of 802.1ad off received frames.
pub(super) const SERVICE_STRIPPING: &str = "rx-vlan-stag-hw-parse";

/// Features that are looked at; kernels have about seventy.
const MOST: usize = 256;
const WORDS: usize = MOST / 32;
/// Bytes of a name.
const NAME: usize = 32;

impl Links {
    /// Returns whether a device has a feature on; one that the kernel does not know is off.
    pub(super) fn has_feature(&self, device: &str, name: &str) -> io::Result<bool> {
        let Some(number) = self.number_of(device, name)? else { return Ok(false) };
        let features = self.features(device)?;
        Ok(features.words[number / 32].active & bit(number) != 0)
    }

    /// Asks for a feature to be on or off. Whether it is then, the device decides.
    pub(super) fn want_feature(
        &self,
        device: &str,
        name: &str,
        wanted: Stripping,
    ) -> io::Result<()> {
        let number = self
            .number_of(device, name)?
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
        // The kernel takes as many words as it has.
        let size = self.features(device)?.size;
        let mut wish = Wish { command: ETHTOOL_SFEATURES, size, words: [Wanted::default(); WORDS] };
        let word = &mut wish.words[number / 32];
        word.valid = bit(number);
        if wanted == Stripping::On {
            word.requested = bit(number);
        }
        self.ethtool(device, &mut wish)
    }

    fn features(&self, device: &str) -> io::Result<Features> {
        let words = [Feature::default(); WORDS];
        let mut features = Features { command: ETHTOOL_GFEATURES, size: WORDS as u32, words };
        self.ethtool(device, &mut features)?;
        Ok(features)
    }

    fn number_of(&self, device: &str, name: &str) -> io::Result<Option<usize>> {
        let mut sets =
            Sets { command: ETHTOOL_GSSET_INFO, reserved: 0, mask: 1 << FEATURES, len: 0 };
        self.ethtool(device, &mut sets)?;
        // More would be written than there is room for.
        if sets.len as usize > MOST {
            return Ok(None);
        }
        let mut names = Box::new(Names {
            command: ETHTOOL_GSTRINGS,
            set: FEATURES,
            len: sets.len,
            names: [[0; NAME]; MOST],
        });
        self.ethtool(device, &mut *names)?;
        let is_named =
            |found: &[u8; NAME]| found.split(|&byte| byte == 0).next() == Some(name.as_bytes());
        Ok(names.names.iter().take(names.len as usize).position(is_named))
    }
}

fn bit(number: usize) -> u32 {
    1 << (number % 32)
}

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
/// The set of names that are features'.
const FEATURES: u32 = 4;

/// `struct ethtool_sset_info`, of one set.
#[repr(C)]
struct Sets {
    command: u32,
    reserved: u32,
    mask: u64,
    len: u32,
}

// SAFETY: it is used with ETHTOOL_GSSET_INFO, whose structure is two integers, a mask of 64 bits and an integer for each
// set in it, which is one.
unsafe impl Ethtool for Sets {}

/// `struct ethtool_gstrings`.
#[repr(C)]
struct Names {
    command: u32,
    set: u32,
    len: u32,
    names: [[u8; NAME]; MOST],
}

// SAFETY: it is used with ETHTOOL_GSTRINGS, whose structure is three integers and 32 bytes for each name; that there are
// no more than these was asked before, and the kernel does not get more while it runs.
unsafe impl Ethtool for Names {}

/// `struct ethtool_gfeatures`.
#[repr(C)]
struct Features {
    command: u32,
    size: u32,
    words: [Feature; WORDS],
}

/// `struct ethtool_get_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Feature {
    available: u32,
    requested: u32,
    active: u32,
    never_changed: u32,
}

// SAFETY: it is used with ETHTOOL_GFEATURES, whose structure is two integers and four for each word, of which the second
// integer says how many there are room for.
unsafe impl Ethtool for Features {}

/// `struct ethtool_sfeatures`.
#[repr(C)]
struct Wish {
    command: u32,
    size: u32,
    words: [Wanted; WORDS],
}

/// `struct ethtool_set_features_block`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Wanted {
    valid: u32,
    requested: u32,
}

// SAFETY: it is used with ETHTOOL_SFEATURES, whose structure is two integers and two for each of the kernel's words; the
// kernel refuses a number of words that is not its own, and reads no more of them.
unsafe impl Ethtool for Wish {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_found_by_name() {
        let links = Links::open().unwrap();
        // What the loopback device cannot do without, what it cannot do, and what nobody can.
        assert!(links.has_feature("lo", "tx-scatter-gather").unwrap());
        assert!(!links.has_feature("lo", SERVICE_STRIPPING).unwrap());
        assert_eq!(links.number_of("lo", "tx-scatter-gathe").unwrap(), None);
        let refused = links.want_feature("lo", "no-such-thing", Stripping::On).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EOPNOTSUPP));
    }
}
