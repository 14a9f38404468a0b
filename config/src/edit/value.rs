//! Changes inside one value: what stays in a list or an inline table keeps its place, its spacing and its comments.

use serde_json::{Map, Value};
use toml_edit::{Array, Decor, InlineTable, RawString};

use crate::words::{NotToml, ordered, toml_text, toml_value};

/// Returns the text of a value that takes the place of an old one. Comments inside the old one stay with the
/// elements that stay.
pub(super) fn replaced(old: &str, new: &Value) -> Result<String, NotToml> {
    let plain = toml_text(new)?;
    if !old.contains('#') {
        return Ok(plain);
    }
    let merged = old.parse::<toml_edit::Value>().ok().and_then(|mut value| {
        merge(&mut value, new)?;
        value.decor_mut().clear();
        let text = value.to_string();
        (json(&text).as_ref() == Some(new)).then_some(text)
    });
    Ok(merged.unwrap_or(plain))
}

/// Reads the text of a value.
pub(super) fn json(text: &str) -> Option<Value> {
    let mut table: Map<String, Value> = toml::from_str(&format!("value = {text}")).ok()?;
    table.remove("value")
}

/// Puts a value where a path leads inside another.
pub(super) fn insert_inside(
    value: &mut toml_edit::Value,
    path: &[&str],
    mut new: toml_edit::Value,
) -> Option<()> {
    match path {
        [] => *value = new,
        [key] => {
            let table = value.as_inline_table_mut()?;
            if let Some(old) = table.get_mut(key) {
                *new.decor_mut() = old.decor().clone();
                *old = new;
                return Some(());
            }
            // The space before the closing brace belongs to the last value: it stays before the brace.
            if let Some((_, last)) = table.iter_mut().last() {
                let space = raw(last.decor().suffix()).to_owned();
                if space.trim().is_empty() {
                    last.decor_mut().set_suffix("");
                    *new.decor_mut() = Decor::new(" ", space);
                }
            }
            table.insert(*key, new);
        }
        [key, rest @ ..] => {
            let table = value.as_inline_table_mut()?;
            if !table.contains_key(key) {
                insert_inside(value, &[key], InlineTable::new().into())?;
            }
            insert_inside(value.as_inline_table_mut()?.get_mut(key)?, rest, new)?;
        }
    }
    Some(())
}

/// Takes away what a path leads to inside a value.
pub(super) fn remove_inside(value: &mut toml_edit::Value, path: &[&str]) -> Option<()> {
    let (key, rest) = path.split_first()?;
    match (value, rest) {
        (toml_edit::Value::Array(list), []) => {
            let index = key.parse().ok().filter(|index| *index < list.len())?;
            list.remove(index);
        }
        (toml_edit::Value::InlineTable(table), []) => {
            table.remove(key)?;
        }
        (toml_edit::Value::InlineTable(table), rest) => remove_inside(table.get_mut(key)?, rest)?,
        _ => return None,
    }
    Some(())
}

fn merge(old: &mut toml_edit::Value, new: &Value) -> Option<()> {
    match (old, new) {
        (toml_edit::Value::Array(list), Value::Array(wanted)) => merge_list(list, wanted),
        (toml_edit::Value::InlineTable(table), Value::Object(wanted)) => merge_table(table, wanted),
        (old, new) => {
            let decor = old.decor().clone();
            *old = toml_value(new).ok()?;
            *old.decor_mut() = decor;
            Some(())
        }
    }
}

fn merge_table(table: &mut InlineTable, wanted: &Map<String, Value>) -> Option<()> {
    let gone: Vec<String> = table
        .iter()
        .filter(|(key, _)| !wanted.contains_key(*key))
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in gone {
        table.remove(&key);
    }
    for (key, new) in ordered(wanted) {
        match table.get_mut(key) {
            Some(old) => merge(old, new)?,
            None => {
                table.insert(key, toml_value(new).ok()?);
            }
        }
    }
    Some(())
}

fn merge_list(list: &mut Array, wanted: &[Value]) -> Option<()> {
    let mut at = 0;
    while at < list.len() {
        let mut own = list.get(at)?.clone();
        own.decor_mut().clear();
        let own = json(&own.to_string())?;
        let rest = wanted.get(at..).unwrap_or_default();
        if rest.first() == Some(&own) {
            at += 1;
        } else if let Some(new) = rest.first().filter(|_| rest.contains(&own)) {
            insert(list, at, new)?;
            at += 1;
        } else {
            remove(list, at)?;
        }
    }
    wanted.get(at..).unwrap_or_default().iter().try_for_each(|new| push(list, new))
}

/// Inserts an element above another, behind the comment of the line before.
fn insert(list: &mut Array, at: usize, new: &Value) -> Option<()> {
    let mut new = toml_value(new).ok()?;
    let follower = list.get_mut(at)?.decor_mut();
    let prefix = raw(follower.prefix()).to_owned();
    match (prefix.find('\n'), prefix.rfind('\n')) {
        (Some(first), Some(last)) => {
            new.decor_mut().set_prefix(format!("{}{}", &prefix[..first], &prefix[last..]));
            follower.set_prefix(&prefix[first..]);
        }
        _ => {
            new.decor_mut().set_prefix(prefix);
            follower.set_prefix(" ");
        }
    }
    list.insert_formatted(at, new);
    Some(())
}

/// Adds an element at the end, behind the comment of the line before.
fn push(list: &mut Array, new: &Value) -> Option<()> {
    let mut new = toml_value(new).ok()?;
    let end = ending(list);
    let line = list.iter().last().map(|last| raw(last.decor().prefix()).to_owned());
    let line = line.as_deref().and_then(|prefix| Some(&prefix[prefix.rfind('\n')?..]));
    if let Some(first) = end.find('\n') {
        new.decor_mut().set_prefix(format!("{}{}", &end[..first], line.unwrap_or("\n    ")));
        set_ending(list, "");
        list.push_formatted(new);
        set_ending(list, &end[first..]);
    } else {
        new.decor_mut().set_prefix(line.unwrap_or(if list.is_empty() { "" } else { " " }));
        set_ending(list, "");
        list.push_formatted(new);
        set_ending(list, &end);
    }
    Some(())
}

/// Removes an element with the comment on its line; comments on lines above it stay.
fn remove(list: &mut Array, at: usize) -> Option<()> {
    let above = raw(list.get(at)?.decor().prefix()).to_owned();
    let end = ending(list);
    let is_last = at + 1 == list.len();
    let below = match list.get(at + 1) {
        Some(next) => raw(next.decor().prefix()).to_owned(),
        None => end.clone(),
    };
    let between = match (above.rfind('\n'), below.find('\n')) {
        (Some(last), Some(first)) => format!("{}{}", &above[..last], &below[first..]),
        (Some(_), None) if !is_last => above,
        (None, None) if at == 0 => above,
        _ => below,
    };
    if is_last {
        set_ending(list, "");
        list.remove(at);
        set_ending(list, &between);
    } else {
        list.remove(at);
        list.get_mut(at)?.decor_mut().set_prefix(between);
        set_ending(list, &end);
    }
    Some(())
}

/// Returns what stands between the last element, or the comma behind it, and the closing bracket.
fn ending(list: &Array) -> String {
    let last = list.iter().last().filter(|_| !list.trailing_comma());
    match last {
        Some(last) => raw(last.decor().suffix()).to_owned(),
        None => list.trailing().as_str().unwrap_or_default().to_owned(),
    }
}

fn set_ending(list: &mut Array, text: &str) {
    if list.is_empty() || list.trailing_comma() {
        list.set_trailing(text);
    } else if let Some(last) = list.iter_mut().last() {
        last.decor_mut().set_suffix(text);
    }
}

fn raw(text: Option<&RawString>) -> &str {
    text.and_then(RawString::as_str).unwrap_or_default()
}
