//! Mistakes in the TOML itself.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::report::Report;
use crate::names::quoted;

/// Longer texts have only their first mistake explained: each one costs memory.
const RECOVERED_MAX: usize = 64 << 10;

/// Which of the mistakes that the parser names behind this one can be believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Misleading {
    /// All: it got over this one.
    Nothing,
    /// None: they may be this one again.
    Rest,
}

/// Reports what is wrong with a text that is no TOML: mistakes that mislead nobody about what follows, and the
/// first that does.
pub(super) fn explain(text: &str, first: &Error, report: &mut Report) {
    if text.len() > RECOVERED_MAX {
        add(text, first, report);
        return;
    }
    let (_, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        if add(text, error, report) == Misleading::Rest {
            break;
        }
    }
    if report.is_empty() {
        add(text, first, report);
    }
}

const DUPLICATE: &str = "duplicate key";

fn add(text: &str, error: &Error, report: &mut Report) -> Misleading {
    let span = error.span().unwrap_or(0..0);
    if error.message() == DUPLICATE {
        let culprit = text.get(span.clone()).unwrap_or_default();
        // Finding the first one reads the text again: not for ever.
        let first = if report.is_empty() { first_table(text, &span) } else { None };
        let draft = report.add(span, format!("{} is written twice", quoted(culprit)));
        draft.note("again here").help("keep one of the two");
        if let Some(first) = first {
            draft.also(first, "first here");
        }
        return Misleading::Nothing;
    }
    if let Some(word) = bare_word(text, span.start) {
        let culprit = &text[word.clone()];
        let help = match culprit {
            "yes" | "on" | "True" | "TRUE" => "write `true`".to_owned(),
            "no" | "off" | "False" | "FALSE" => "write `false`".to_owned(),
            _ => format!("write {}", quoted(culprit)),
        };
        report
            .add(word, format!("{} needs quotes", quoted(culprit)))
            .note("a bare word")
            .help(help);
        return Misleading::Nothing;
    }
    let message = match error.message() {
        message if message.starts_with("string values must be quoted") => "a value is missing",
        message => message,
    };
    report.add(span, format!("this is not TOML: {message}"));
    Misleading::Rest
}

/// Returns the word at a place where a value belongs, if it is neither a number nor a truth value.
fn bare_word(text: &str, at: usize) -> Option<Range<usize>> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '/');
    let (before, after) = text.split_at_checked(at)?;
    let start = before.trim_end_matches(is_part).len();
    let end = at + after.len() - after.trim_start_matches(is_part).len();
    let word = &text[start..end];
    let is_value = text[..start].trim_end_matches([' ', '\t']).ends_with(['=', '[', ',']);
    let is_header =
        text[..start].rsplit('\n').next().is_some_and(|line| line.trim_start().starts_with('['));
    let is_bare =
        !word.is_empty() && word.parse::<f64>().is_err() && word != "true" && word != "false";
    (is_value && is_bare && !is_header).then_some(start..end)
}

/// Returns where the table of a repeated header, as in `[port.web1]`, has its first one.
fn first_table(text: &str, again: &Range<usize>) -> Option<Range<usize>> {
    let start = text.get(..again.start)?.rfind('\n').map_or(0, |end| end + 1);
    let header = text.get(start..again.end)?.trim_start().strip_prefix('[')?;
    let (before, _) = DeTable::parse_recoverable(&text[..start]);
    let mut key = None;
    let mut tables = Some(before.get_ref());
    for part in header.split('.') {
        let (name, value) = tables?.get_key_value(part.trim().trim_matches('"'))?;
        key = Some(name.span());
        tables = value.get_ref().as_table();
    }
    key
}
