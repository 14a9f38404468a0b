//! Filters in the syntax of pcap-filter(7), answered here rather than compiled: no C library, and nothing that a client
//! sends is run. Means what tcpdump means on a live interface of Linux: the outermost tag stands beside the frame, so that
//! `host 10.0.0.1` finds tagged packets too. Looks up no names of hosts.

mod lex;
mod parse;
mod test;
mod words;

#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

use self::test::Node;
use crate::View;

/// Bytes of a filter's text at most.
const TEXT_MAX: usize = 4096;

/// Which frames are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// `None` wants all.
    node: Option<Node>,
}

/// A text that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FilterError {
    /// Where in the text, in bytes.
    pub at: Range<usize>,
    /// What is wrong there.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl Filter {
    /// Bytes from a frame's start that filters are answered from where nobody asks for more.
    pub const DEPTH: usize = 256;

    /// Reads a filter; an empty one wants every frame.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.len() > TEXT_MAX {
            let message = format!("longer than {TEXT_MAX} bytes");
            return Err(FilterError::at(TEXT_MAX..text.len(), message));
        }
        let tokens = lex::tokens(text)?;
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        Ok(Self { node: Some(parse::parse(text, &tokens)?) })
    }

    /// Tells whether every frame is wanted.
    pub fn wants_all(&self) -> bool {
        self.node.is_none()
    }

    /// Tells whether a frame is wanted.
    pub fn matches(&self, view: &View<'_>) -> bool {
        self.node.as_ref().is_none_or(|node| node.ask(view) == Ok(true))
    }
}

impl FilterError {
    fn at(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Returns the filter with a mark below the place, in two lines.
    pub fn picture(&self, text: &str) -> String {
        let begin = text.char_indices().take_while(|&(at, _)| at < self.at.start).count();
        let marked = text.get(self.at.clone()).map_or(0, |marked| marked.chars().count());
        // One character stays one character, whatever it is.
        let line: String =
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        format!("{line}\n{}{}", " ".repeat(begin), "^".repeat(marked.max(1)))
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "the filter is wrong at character {}: {}", self.at.start + 1, self.message)
    }
}
