//! Reads tables and values of the TOML tree: a value of the wrong type is a mistake that says what type belongs there.

use std::ops::{Range, RangeInclusive};

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::report::{Draft, Report};
use crate::{
    names::{nearest, quoted},
    words::example,
};

/// A table and how it is called in messages.
pub(super) struct Table<'a> {
    /// `port web1`.
    pub(super) place: String,
    /// Its name or header.
    pub(super) span: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    pub(super) fn new(place: String, span: Range<usize>, entries: &'a DeTable<'a>) -> Self {
        Self { place, span, entries }
    }

    /// Returns a key's field.
    pub(super) fn get(&self, key: &'a str) -> Option<Field<'a, '_>> {
        let (key, value) = self.entries.get_key_value(key)?;
        Some(Field { place: &self.place, key: key.get_ref(), key_span: key.span(), value })
    }

    /// Tells whether a key that is not there was probably meant by one that is: that one is refused elsewhere.
    pub(super) fn misspells(&self, key: &str) -> bool {
        self.fields().any(|field| nearest(field.key, [key]).is_some())
    }

    /// Returns a key's field; one that is not there is a mistake.
    pub(super) fn require(&self, key: &'a str, report: &mut Report) -> Option<Field<'a, '_>> {
        self.require_like(key, example(key), report)
    }

    /// Returns a key's field; one that is not there is a mistake, and `example` says what it could be.
    pub(super) fn require_like(
        &self,
        key: &'a str,
        example: &str,
        report: &mut Report,
    ) -> Option<Field<'a, '_>> {
        let field = self.get(key);
        if field.is_none() && !self.misspells(key) {
            report
                .add(self.span.clone(), format!("{}: `{key}` is missing", self.place))
                .note(format!("has no `{key}`"))
                .help(format!("add `{key} = {example}`"));
        }
        field
    }

    /// Returns all fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field<'a, '_>> {
        self.entries.iter().map(|(key, value)| Field {
            place: &self.place,
            key: key.get_ref(),
            key_span: key.span(),
            value,
        })
    }

    /// Refuses every key that is not known, and names the near one.
    pub(super) fn refuse_unknown(&self, known: &[&str], report: &mut Report) {
        for field in self.fields().filter(|field| !known.contains(&field.key)) {
            field.unknown(known, report);
        }
    }
}

/// A key with its value.
pub(super) struct Field<'a, 't> {
    /// The table, as in [`Table::place`].
    pub(super) place: &'t str,
    /// The key.
    pub(super) key: &'a str,
    /// Where the key is.
    pub(super) key_span: Range<usize>,
    /// The value.
    pub(super) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a, '_> {
    /// Returns where the value is.
    pub(super) fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// Refuses the key, and names the near one.
    pub(super) fn unknown(&self, known: &[&str], report: &mut Report) {
        let near = if report.is_full() { None } else { nearest(self.key, known.iter().copied()) };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", listed(known)),
        };
        let message = format!("{}: unknown key {}", self.place, quoted(self.key));
        report.add(self.key_span.clone(), message).note("unknown key").help(help);
    }

    /// Refuses the value: `wanted` says what belongs there.
    pub(super) fn refuse<'r>(&self, wanted: &str, report: &'r mut Report) -> &'r mut Draft {
        refuse(self.place, self.key, self.value, wanted, report)
    }

    /// Returns a string.
    pub(super) fn text(&self, wanted: &str, report: &mut Report) -> Option<&'a str> {
        let DeValue::String(text) = self.value.get_ref() else {
            self.refuse(wanted, report);
            return None;
        };
        Some(text)
    }

    /// Returns a truth value.
    pub(super) fn flag(&self, report: &mut Report) -> Option<bool> {
        let DeValue::Boolean(flag) = *self.value.get_ref() else {
            self.refuse("true or false", report);
            return None;
        };
        Some(flag)
    }

    /// Returns a number within a range.
    pub(super) fn number(&self, range: RangeInclusive<i64>, report: &mut Report) -> Option<i64> {
        let number = integer(self.value.get_ref()).filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(&format!("a number from {} to {}", range.start(), range.end()), report);
        }
        number
    }

    /// Returns a list.
    pub(super) fn list(&self, wanted: &str, report: &mut Report) -> Option<&'a DeArray<'a>> {
        let DeValue::Array(list) = self.value.get_ref() else {
            self.refuse(wanted, report);
            return None;
        };
        Some(list)
    }
}

/// Refuses a value: `wanted` says what belongs there.
pub(super) fn refuse<'r>(
    place: &str,
    key: &str,
    value: &Spanned<DeValue<'_>>,
    wanted: &str,
    report: &'r mut Report,
) -> &'r mut Draft {
    let message = format!("{place}: `{key}` takes {wanted}, not {}", described(value.get_ref()));
    report
        .add(value.span(), message)
        .note(format!("not {}", wanted.split([',', ':', ';']).next().unwrap_or(wanted)))
        .help(format!("for example `{key} = {}`", example(key)))
}

/// Returns an integer that 64 bits hold.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Says what a value is, for messages.
pub(super) fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(number) => shortened(&number.to_string()),
        DeValue::Float(number) => shortened(&number.to_string()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(list) if list.is_empty() => "an empty list".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn shortened(number: &str) -> String {
    const SHOWN: usize = 24;
    if number.len() > SHOWN {
        format!("{}…", number.chars().take(SHOWN).collect::<String>())
    } else {
        number.to_owned()
    }
}

/// Writes words as `a`, `b`, `c`.
pub(super) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
