//! The words of a filter.

use std::ops::Range;

use super::FilterError;

/// What a piece of a filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A keyword, a name, a number or an address.
    Word,
    /// An operator or a bracket.
    Sign(&'static str),
}

/// A piece of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Where it stands in the text.
    pub(super) at: Range<usize>,
}

/// Longer ones stand before those that they begin with.
const SIGNS: &[&str] = &[
    "&&", "||", "<<", ">>", "<=", ">=", "!=", "==", "(", ")", "[", "]", ":", "!", "<", ">", "=",
    "+", "-", "*", "/", "%", "&", "|", "^",
];

/// Divides a filter into its words.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    // Between square brackets a colon divides an offset from a size; elsewhere it belongs to an address.
    let mut in_brackets = false;
    while let Some(first) = text[at..].chars().next() {
        // `\tcp` is how a shell's user keeps a keyword a name; here it always may be one.
        if first.is_ascii_whitespace() || first == '\\' {
            at += 1;
            continue;
        }
        let begins = first.is_ascii_alphanumeric() || first == '_';
        let is_address = !in_brackets && text[at..].starts_with("::");
        let (kind, len) = if begins || is_address {
            let is_name = first.is_ascii_alphabetic();
            let belongs = |c: char| match c {
                ':' | '.' => !in_brackets,
                '-' => !in_brackets || is_name,
                c => c.is_ascii_alphanumeric() || c == '_',
            };
            (Kind::Word, text[at..].find(|c| !belongs(c)).unwrap_or(text.len() - at))
        } else {
            let sign = SIGNS.iter().find(|sign| text[at..].starts_with(**sign));
            let Some(sign) = sign else {
                let at = at..at + first.len_utf8();
                return Err(FilterError::at(at, format!("{first:?} has no meaning in a filter")));
            };
            match *sign {
                "[" => in_brackets = true,
                "]" => in_brackets = false,
                _ => {}
            }
            (Kind::Sign(sign), sign.len())
        };
        tokens.push(Token { kind, at: at..at + len });
        at += len;
    }
    Ok(tokens)
}
