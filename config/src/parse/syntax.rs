//! Mistakes in the TOML itself.

use toml::de::{DeTable, DeValue, Error};

use super::report::Report;
use crate::names::quoted;

/// Longer texts have only their first mistake explained: each one costs memory.
const RECOVERED_MAX: usize = 64 << 10;

/// Reports what is wrong with a text that is no TOML: mistakes that mislead nobody about what follows, and the
/// first that does.
pub(super) fn explain(text: &str, first: &Error, report: &mut Report) {
    if text.len() > RECOVERED_MAX {
        add(text, first, None, report);
        return;
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        add(text, error, Some(tree.get_ref()), report);
        if !is_local(error) {
            break;
        }
    }
    if report.is_empty() {
        add(text, first, None, report);
    }
}

const DUPLICATE: &str = "duplicate key";
const UNQUOTED: &str = "string values must be quoted";

fn is_local(error: &Error) -> bool {
    error.message() == DUPLICATE || error.message().starts_with(UNQUOTED)
}

fn add(text: &str, error: &Error, tree: Option<&DeTable<'_>>, report: &mut Report) {
    let span = error.span().unwrap_or(0..0);
    let culprit = text.get(span.clone()).unwrap_or_default();
    if error.message() == DUPLICATE {
        let draft = report.add(span.clone(), format!("`{culprit}` is written twice"));
        draft.note("again here").help("keep one of the two");
        if let Some(first) = tree.and_then(|tree| first_table(text, tree, &span)) {
            draft.also(first, "first here");
        }
    } else if error.message().starts_with(UNQUOTED) {
        let help = match culprit {
            "yes" | "on" | "True" | "TRUE" => "write `true`".to_owned(),
            "no" | "off" | "False" | "FALSE" => "write `false`".to_owned(),
            _ => format!("write {}", quoted(culprit)),
        };
        report
            .add(span, format!("{} needs quotes", quoted(culprit)))
            .note("a bare word")
            .help(help);
    } else {
        report.add(span, format!("this is not TOML: {}", error.message())).note("here");
    }
}

/// Returns where the table of a repeated header `[port.web1]` has its first one.
fn first_table(
    text: &str,
    tree: &DeTable<'_>,
    again: &std::ops::Range<usize>,
) -> Option<std::ops::Range<usize>> {
    let line =
        text.get(text.get(..again.start)?.rfind('\n').map_or(0, |end| end + 1)..again.end)?;
    let (section, name) = match line.trim_start().strip_prefix('[')?.split_once('.') {
        Some((section, name)) => (section.trim(), Some(name.trim())),
        None => (line.trim_start().strip_prefix('[')?.trim(), None),
    };
    let (key, value) = tree.get_key_value(section)?;
    let first = match (name, value.get_ref()) {
        (None, _) => key.span(),
        (Some(name), DeValue::Table(tables)) => tables.get_key_value(name)?.0.span(),
        (Some(_), _) => return None,
    };
    (first.start < again.start).then_some(first)
}
