//! Names of ports, switches, VLANs, segments, WireGuard adapters, peers and devices, and which one a misspelt word comes
//! nearest to.

use std::borrow::Cow;

use crate::limits::{DEVICE_MAX, NAME_MAX, WIREGUARD_NAME_MAX};

/// Words longer than this are not compared: the comparison costs their length squared.
const COMPARED_MAX: usize = 64;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'n> {
    /// A port.
    Port,
    /// A switch.
    Switch,
    /// A VLAN.
    Vlan,
    /// A segment.
    Segment,
    /// A peer.
    Peer,
    /// A WireGuard adapter.
    Wireguard,
    /// A peer of the WireGuard adapter with this name.
    WireguardPeer(&'n str),
    /// A NIC whose addresses a port has; the name is the device's.
    Uplink,
}

impl<'n> Kind<'n> {
    /// Returns the word for it in messages.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Switch => "switch",
            Self::Vlan => "VLAN",
            Self::Segment => "segment",
            Self::Peer | Self::WireguardPeer(_) => "peer",
            Self::Wireguard => "WireGuard adapter",
            Self::Uplink => "uplink",
        }
    }

    /// Returns the words for it before its name, as in `port web1`.
    pub(crate) fn label(self) -> Cow<'static, str> {
        match self {
            Self::Vlan => "vlan".into(),
            Self::Wireguard => "wireguard".into(),
            Self::WireguardPeer(adapter) => format!("wireguard {} peer", plain(adapter)).into(),
            other => other.word().into(),
        }
    }

    /// Returns the section of the file where it is declared.
    pub(crate) fn section(self) -> String {
        self.path().join(".")
    }

    /// Returns the keys that lead to that section.
    pub(crate) fn path(self) -> Vec<&'n str> {
        match self {
            Self::Port => vec!["port"],
            Self::Switch => vec!["switch"],
            Self::Vlan => vec!["vlan"],
            Self::Segment => vec!["segment"],
            Self::Peer => vec!["vpn", "peer"],
            Self::Wireguard => vec!["wireguard"],
            Self::WireguardPeer(adapter) => vec!["wireguard", adapter, "peer"],
            Self::Uplink => vec!["uplink"],
        }
    }

    /// Returns the characters that its name may have.
    pub(crate) const fn name_max(self) -> usize {
        match self {
            Self::Wireguard => WIREGUARD_NAME_MAX,
            Self::Uplink => DEVICE_MAX,
            _ => NAME_MAX,
        }
    }
}

/// Checks a name.
///
/// # Errors
/// Says what is wrong with it, as the end of a sentence that begins with the name.
pub(crate) fn check(kind: Kind<'_>, name: &str) -> Result<(), String> {
    if kind == Kind::Uplink {
        return check_device(name);
    }
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    let length = name.chars().count();
    let allowed = kind.name_max();
    if length > allowed {
        return Err(format!("has {length} characters; {allowed} are allowed"));
    }
    if let Some(wrong) =
        name.chars().find(|&c| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
    {
        return Err(format!("contains {wrong:?}; letters, digits, `-` and `_` are allowed"));
    }
    if name.starts_with('-') {
        return Err("begins with `-`".to_owned());
    }
    if kind == Kind::Vlan && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err("looks like a number or a range; a VLAN's name needs a letter".to_owned());
    }
    if kind == Kind::Vlan && name == "all" {
        return Err("means every VLAN in a trunk".to_owned());
    }
    Ok(())
}

/// Checks the name of a device.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_device(name: &str) -> Result<(), String> {
    // The kernel takes `%d` in a new device's name for a number of its choice.
    let wrong = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '%');
    match name {
        "" => Err("is empty".to_owned()),
        "." | ".." => Err("is no device".to_owned()),
        name if name.len() > DEVICE_MAX => {
            Err(format!("has {} bytes; {DEVICE_MAX} are allowed", name.len()))
        }
        name => match name.chars().find(|&c| wrong(c)) {
            Some(wrong) => Err(format!("contains {wrong:?}")),
            None => Ok(()),
        },
    }
}

/// Returns the candidate that a word was probably meant to be.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    if length > COMPARED_MAX {
        return None;
    }
    let word = word.to_ascii_lowercase();
    let allowed = (length / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= COMPARED_MAX)
        .map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let distance = strsim::damerau_levenshtein(&word, &lower);
            // `private-key` for `private-key-file`.
            let is_begun = lower.strip_prefix(&word).is_some_and(|rest| rest.starts_with('-'));
            (if is_begun && length > 0 { distance.min(allowed) } else { distance }, candidate)
        })
        .filter(|&(distance, _)| distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns a name as it stands in messages.
pub(crate) fn plain(name: &str) -> String {
    if (1..=40).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic()) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

/// Shortens a text that is quoted in a message, and shows what cannot be printed.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    if text.chars().count() > SHOWN {
        format!("{:?}…", text.chars().take(SHOWN).collect::<String>())
    } else {
        format!("{text:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_words_without_dots() {
        for name in ["web1", "a", "A_b-c", "_x", "0", "10", "x".repeat(32).as_str()] {
            assert_eq!(check(Kind::Port, name), Ok(()), "{name}");
        }
        assert_eq!(check(Kind::Wireguard, &"x".repeat(15)), Ok(()));
        assert!(check(Kind::Wireguard, &"x".repeat(16)).is_err());
        for name in ["", "a.b", "a b", "-a", "ä", "a\0", "a/b", "x".repeat(33).as_str()] {
            assert!(check(Kind::Port, name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_vlan_name_is_neither_a_number_nor_a_range() {
        for name in ["10", "100-199", "4095", "all", "office.lan"] {
            assert!(check(Kind::Vlan, name).is_err(), "{name}");
        }
        for name in ["office", "v10", "10a", "All"] {
            assert_eq!(check(Kind::Vlan, name), Ok(()), "{name}");
        }
    }

    #[test]
    fn the_nearest_word_is_near() {
        assert_eq!(nearest("offcie", ["office", "voice"]), Some("office"));
        assert_eq!(nearest("Office", ["office"]), Some("office"));
        assert_eq!(nearest("mac_limit", ["mac-limit", "macs"]), Some("mac-limit"));
        assert_eq!(nearest("private-key", ["private-key-file", "port"]), Some("private-key-file"));
        assert_eq!(nearest("", ["-x-y"]), None);
        assert_eq!(nearest("guests", ["office", "voice"]), None);
        assert_eq!(nearest("", ["office"]), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), ["office"]), None);
    }
}
