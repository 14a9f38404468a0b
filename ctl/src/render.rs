//! Text for a terminal: tables, numbers, JSON, and names that came from elsewhere made harmless.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use serde_json::Value;
use weft_config::api::PortState;

use crate::output::Paint;

/// A table without borders whose columns line up, numbers to the right.
pub(crate) struct Grid {
    table: Table,
}

impl Grid {
    /// Starts a table with these column heads; one that begins with `#` is above numbers.
    pub(crate) fn new<'a>(heads: impl IntoIterator<Item = &'a str>) -> Self {
        let heads: Vec<&str> = heads.into_iter().collect();
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(
            heads.iter().map(|head| Cell::new(head.trim_start_matches('#'))).collect::<Vec<_>>(),
        );
        for (column, head) in table.column_iter_mut().zip(&heads) {
            column.set_padding((0, 2));
            column.set_cell_alignment(if head.starts_with('#') {
                CellAlignment::Right
            } else {
                CellAlignment::Left
            });
        }
        Self { table }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.table.add_row(cells);
    }

    /// Returns the table as lines, each with its end.
    pub(crate) fn finish(mut self, paint: Paint) -> String {
        // Outside a terminal a row stays one line, for grep and awk.
        if let Some(width) = self.table.width() {
            self.table.set_width(width);
        }
        match paint {
            Paint::Color => {
                self.table.style_text_only();
                self.table.enforce_styling()
            }
            Paint::Plain => self.table.force_no_tty(),
        };
        self.table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
    }
}

/// Returns a cell with a word from elsewhere.
pub(crate) fn word(text: &str) -> Cell {
    Cell::new(clean(text))
}

/// Returns a cell with a word from elsewhere, or a dash.
pub(crate) fn word_or_dash(text: Option<&str>) -> Cell {
    Cell::new(text.map_or_else(|| "-".to_owned(), clean))
}

/// Returns a cell with names from elsewhere, or a dash.
pub(crate) fn words(texts: &[String]) -> Cell {
    word_or_dash((!texts.is_empty()).then(|| texts.join(" ")).as_deref())
}

/// Returns a cell with a number of things.
pub(crate) fn number(number: u64) -> Cell {
    Cell::new(count(number))
}

/// Returns a cell with a state in its colour.
pub(crate) fn state(state: PortState) -> Cell {
    let color = match state {
        PortState::Up => Color::Green,
        PortState::Down => Color::DarkGrey,
        PortState::Waiting => Color::Yellow,
        PortState::Failed => Color::Red,
    };
    Cell::new(state_word(state)).fg(color)
}

/// Returns the word for a state.
pub(crate) fn state_word(state: PortState) -> &'static str {
    match state {
        PortState::Up => "up",
        PortState::Down => "down",
        PortState::Waiting => "waiting",
        PortState::Failed => "failed",
    }
}

/// Returns a count in at most six characters: exact below 100000, else three digits and a unit.
pub(crate) fn count(number: u64) -> String {
    if number < 100_000 {
        return number.to_string();
    }
    let (mut scaled, mut unit) = (number as f64, "");
    for next in ["k", "M", "G", "T", "P", "E"] {
        // What would round to 1000 belongs to the next unit.
        if scaled < 999.5 {
            break;
        }
        (scaled, unit) = (scaled / 1000.0, next);
    }
    let digits = if scaled < 9.995 {
        2
    } else if scaled < 99.95 {
        1
    } else {
        0
    };
    format!("{scaled:.digits$}{unit}")
}

/// How finely a time of day is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fraction {
    /// Three digits.
    Milliseconds,
    /// Nine.
    Nanoseconds,
}

/// Returns a time of day, from nanoseconds since 1970, as this machine's clock shows it.
pub(crate) fn clock(nanoseconds: u64, fraction: Fraction) -> String {
    let format = match fraction {
        Fraction::Milliseconds => "%H:%M:%S%.3f",
        Fraction::Nanoseconds => "%H:%M:%S%.9f",
    };
    jiff::Timestamp::from_nanosecond(nanoseconds.into()).map_or_else(
        |_| "-".to_owned(),
        |time| time.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string(),
    )
}

/// Returns a number of seconds in its two largest units.
pub(crate) fn duration(seconds: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (size, unit) in units {
        if rest >= size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Returns a port's VLAN mode in words, as in `trunk 10,20,100-199 native 10`.
pub(crate) fn vlan_mode(vlan: &Value) -> String {
    let Value::Object(keys) = vlan else { return clean(&vlan.to_string()) };
    let mut text = String::new();
    for (key, label) in [
        ("access", "access"),
        ("trunk", "trunk"),
        ("dot1q-tunnel", "dot1q-tunnel"),
        ("native", "native"),
        ("customer", "customer"),
    ] {
        if let Some(value) = keys.get(key) {
            let space = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{space}{label} {}", vlan_list(value));
        }
    }
    if keys.get("native-tagged") == Some(&Value::Bool(true)) {
        text.push_str(" tagged");
    }
    if let Some(Value::String(ethertype)) = keys.get("ethertype")
        && ethertype != "802.1Q"
    {
        text.push(' ');
        text.push_str(ethertype);
    }
    if text.is_empty() { clean(&vlan.to_string()) } else { clean(&text) }
}

fn vlan_list(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(vlan_list).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Returns text with everything that a terminal could take for more than one visible character escaped.
pub(crate) fn clean(text: &str) -> String {
    escape(text, "")
}

/// Returns text of several lines, cleaned but for line ends and tabs.
pub(crate) fn clean_lines(text: &str) -> String {
    escape(text, "\n\t")
}

/// Returns text of several lines with colours in it, cleaned but for line ends, tabs and the colours.
pub(crate) fn clean_picture(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("\x1b[") {
        let (before, sequence) = rest.split_at(start);
        out.push_str(&clean_lines(before));
        let parameters = sequence[2..]
            .find(|c: char| !c.is_ascii_digit() && c != ';')
            .unwrap_or(sequence.len() - 2);
        let is_color = sequence[2 + parameters..].starts_with('m');
        let end = 2 + if is_color { parameters + 1 } else { 0 };
        out.push_str(&if is_color { sequence[..end].to_owned() } else { clean(&sequence[..end]) });
        rest = &sequence[end..];
    }
    out + &clean_lines(rest)
}

fn escape(text: &str, allowed: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_visible(c) || allowed.contains(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// Tells controls, and the marks that reorder or hide what stands beside them, from the rest.
fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns a value as a JSON document of several lines.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value)
        .map_or_else(|error| unwritable(&error), |text| harmless(&text) + "\n")
}

/// Returns a value as a JSON document of one line, without its end.
pub(crate) fn compact_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).map_or_else(|error| unwritable(&error), |text| harmless(&text))
}

/// Returns a JSON document laid out anew, its keys in their order.
pub(crate) fn reformat_json(document: &[u8]) -> serde_json::Result<String> {
    let mut source = serde_json::Deserializer::from_slice(document);
    let mut out = Vec::new();
    serde_transcode::transcode(&mut source, &mut serde_json::Serializer::pretty(&mut out))?;
    source.end()?;
    Ok(harmless(&String::from_utf8_lossy(&out)) + "\n")
}

/// Only a map without string keys cannot be written as JSON, and there is none in the API.
fn unwritable(error: &serde_json::Error) -> String {
    Value::String(error.to_string()).to_string()
}

/// Returns the same document with JSON's escapes where [`clean`] would escape: outside strings there is only ASCII.
fn harmless(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        if is_visible(c) || c == '\n' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
