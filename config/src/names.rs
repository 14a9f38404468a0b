//! Names of ports, switches, VLANs, segments and peers, and which one a misspelt word comes nearest to.

use crate::limits::NAME_MAX;

/// Words longer than this are not compared: the comparison costs their length squared.
const COMPARED_MAX: usize = 64;

/// What a name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
}

impl Kind {
    /// Returns the word for it in messages.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Switch => "switch",
            Self::Vlan => "VLAN",
            Self::Segment => "segment",
            Self::Peer => "peer",
        }
    }

    /// Returns the word for it before its name, as in `port web1`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Vlan => "vlan",
            other => other.word(),
        }
    }

    /// Returns the section of the file where it is declared.
    pub(crate) const fn section(self) -> &'static str {
        match self {
            Self::Peer => "vpn.peer",
            other => other.label(),
        }
    }

    /// Returns the keys that lead to that section.
    pub(crate) const fn path(self) -> &'static [&'static str] {
        match self {
            Self::Port => &["port"],
            Self::Switch => &["switch"],
            Self::Vlan => &["vlan"],
            Self::Segment => &["segment"],
            Self::Peer => &["vpn", "peer"],
        }
    }
}

/// Checks a name.
///
/// # Errors
/// Says what is wrong with it, as the end of a sentence that begins with the name.
pub(crate) fn check(kind: Kind, name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".to_owned());
    }
    let length = name.chars().count();
    if length > NAME_MAX {
        return Err(format!("has {length} characters; {NAME_MAX} are allowed"));
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

/// Returns the candidate that a word was probably meant to be.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
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
