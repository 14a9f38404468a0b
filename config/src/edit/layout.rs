//! Where the statements of a TOML text are, and how to add, replace or cut one without touching a byte of the
//! rest. Knows TOML and comments, not what the keys mean.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use serde_json::{Map, Value};
use toml_edit::{Document, Item};

use super::value::{insert_inside, json, remove_inside, replaced};
use crate::words::{NotToml, ordered, precedes, table_lines, toml_key, toml_text, toml_value};

/// A header or a `key = value`, with the lines that it takes.
struct Statement {
    /// The table or key that it is about; an element of a list of tables has its index as last part.
    path: Vec<String>,
    /// The path of the header above it; its own for a header.
    header: Vec<String>,
    /// From the beginning of its first line to behind the end of its last.
    lines: Range<usize>,
    /// Its key's last part; the brackets of a header.
    key: Range<usize>,
    /// The value; `None` for a header.
    value: Option<Range<usize>>,
}

impl Statement {
    fn is_header(&self) -> bool {
        self.value.is_none()
    }

    fn is_under(&self, path: &[&str]) -> bool {
        self.path.len() >= path.len() && self.path.iter().zip(path).all(|(own, part)| own == part)
    }
}

/// A text and its statements, in the order of the text.
pub(super) struct Layout<'t> {
    text: &'t str,
    statements: Vec<Statement>,
    line_end: &'static str,
}

impl<'t> Layout<'t> {
    /// Finds the statements; `None` for a text that is no TOML.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let document = Document::parse(text).ok()?;
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut layout = Self { text, statements: Vec::new(), line_end };
        layout.collect(document.as_table(), &[], &[])?;
        layout.statements.sort_by_key(|statement| statement.lines.start);
        Some(layout)
    }

    fn collect(
        &mut self,
        table: &toml_edit::Table,
        path: &[String],
        header: &[String],
    ) -> Option<()> {
        for (name, item) in table {
            let path: Vec<String> = path.iter().cloned().chain([name.to_owned()]).collect();
            match item {
                Item::Table(inner) if inner.is_dotted() => self.collect(inner, &path, header)?,
                Item::Table(inner) => {
                    if !inner.is_implicit() {
                        self.add(&path, &path, inner.span()?, None);
                    }
                    self.collect(inner, &path, &path)?;
                }
                Item::ArrayOfTables(list) => {
                    for (index, inner) in list.iter().enumerate() {
                        let path: Vec<String> =
                            path.iter().cloned().chain([index.to_string()]).collect();
                        self.add(&path, &path, inner.span()?, None);
                        self.collect(inner, &path, &path)?;
                    }
                }
                Item::Value(value) => {
                    let key = table.key(name)?.span()?;
                    let value = value.span()?;
                    self.add(&path, header, key, Some(value));
                }
                Item::None => {}
            }
        }
        Some(())
    }

    fn add(
        &mut self,
        path: &[String],
        header: &[String],
        key: Range<usize>,
        value: Option<Range<usize>>,
    ) {
        let last = value.as_ref().map_or(key.end, |value| value.end);
        let start = self.text[..key.start].rfind('\n').map_or(0, |end| end + 1);
        let end = self.text[last..].find('\n').map_or(self.text.len(), |end| last + end + 1);
        self.statements.push(Statement {
            path: path.to_vec(),
            header: header.to_vec(),
            lines: start..end,
            key,
            value,
        });
    }

    /// Adds tables with their headers, behind the last one of their section or at the end of the text.
    pub(super) fn append(
        &self,
        section: &[&str],
        tables: &[(String, Map<String, Value>)],
    ) -> Result<String, NotToml> {
        if let [(_, table)] = tables
            && let Some(text) = self.append_inline(section, table)?
        {
            return Ok(text);
        }
        // Behind the last of its like; a first one behind what it belongs to.
        let last = (1..=section.len()).rev().find_map(|length| {
            self.statements.iter().rposition(|statement| {
                statement.is_header() && statement.is_under(&section[..length])
            })
        });
        let at = last.map_or(self.text.len(), |header| self.section_end(header));
        let (before, after) = self.text.split_at(at);
        let line_end = self.line_end;
        let mut text = before.to_owned();
        if !before.is_empty() && !before.ends_with('\n') {
            text.push_str(line_end);
        }
        for (header, table) in tables {
            if !text.is_empty() {
                text.push_str(line_end);
            }
            text.push_str(&format!("{header}{line_end}{}", table_lines(table, line_end)?));
        }
        text.push_str(after);
        Ok(text)
    }

    /// Adds a named table to `section = { … }`; `None` where the section is not written like that.
    pub(super) fn set_inline(
        &self,
        path: &[&str],
        table: &Map<String, Value>,
    ) -> Result<Option<String>, NotToml> {
        let table = toml_value(&Value::Object(table.clone()))?;
        Ok(self.change_value(path, |value, rest| insert_inside(value, rest, table)))
    }

    /// Adds an element to `section = [{ … }]`; `None` where the section is not written like that.
    fn append_inline(
        &self,
        section: &[&str],
        table: &Map<String, Value>,
    ) -> Result<Option<String>, NotToml> {
        let element = toml_value(&Value::Object(table.clone()))?;
        let path: Vec<&str> = section.iter().copied().chain([""]).collect();
        Ok(self.change_value(&path, |value, _| {
            value.as_array_mut()?.push(element);
            Some(())
        }))
    }

    /// Cuts everything under a path. A table goes with the comment directly above its header, a key goes alone.
    pub(super) fn remove(&self, path: &[&str]) -> Option<String> {
        if !self.statements.iter().any(|statement| statement.is_under(path)) {
            return self.change_value(path, remove_inside);
        }
        Some(self.without(|statement| statement.is_under(path)))
    }

    /// Cuts tables of a section that stand by themselves, each with the comment directly above its header.
    pub(super) fn remove_tables(&self, section: &[&str], names: &HashSet<&str>) -> String {
        self.without(|statement| {
            let name = statement.path.get(section.len());
            statement.is_under(section) && name.is_some_and(|name| names.contains(name.as_str()))
        })
    }

    fn without(&self, goes: impl Fn(&Statement) -> bool) -> String {
        let mut text = String::with_capacity(self.text.len());
        let (mut kept, mut next) = (0, 0);
        while let Some(offset) = self.statements[next..].iter().position(&goes) {
            let begin = next + offset;
            let run = self.statements[begin..].iter().take_while(|statement| goes(statement));
            let length = run.count();
            let cut = self.extent(begin, begin + length - 1);
            text.push_str(&self.text[kept..cut.start.max(kept)]);
            kept = cut.end;
            next = begin + length;
        }
        text.push_str(&self.text[kept..]);
        text
    }

    /// Returns the tables of a section that stand by themselves, by name: a header, and all that is said of them behind it.
    pub(super) fn blocks(&self, section: &[&str]) -> HashMap<String, Range<usize>> {
        let (mut blocks, mut scattered) = (HashMap::<String, Range<usize>>::new(), HashSet::new());
        let mut last = None;
        for statement in &self.statements {
            let name = statement.path.get(section.len()).filter(|_| statement.is_under(section));
            if let Some(name) = name {
                let is_first = last != Some(name);
                let begins = statement.is_header() && statement.path.len() == section.len() + 1;
                let lines = statement.lines.clone();
                match blocks.get_mut(name) {
                    Some(block) if !is_first => block.end = lines.end,
                    None if begins => _ = blocks.insert(name.clone(), lines),
                    _ => _ = scattered.insert(name),
                }
            }
            last = name;
        }
        blocks.retain(|name, _| !scattered.contains(name));
        blocks
    }

    /// Gives a key of a table a value, at its place where it has one.
    pub(super) fn set(
        &self,
        table: &[&str],
        key: &str,
        value: &Value,
    ) -> Result<Option<String>, NotToml> {
        let path: Vec<&str> = table.iter().copied().chain([key]).collect();
        let own = self.statements.iter().find(|statement| statement.is_under(&path));
        if let Some((span, true)) =
            own.and_then(|own| Some((own.value.clone()?, own.path.len() == path.len())))
        {
            let text = replaced(&self.text[span.clone()], value)?;
            return Ok(Some(format!(
                "{}{text}{}",
                &self.text[..span.start],
                &self.text[span.end..]
            )));
        }
        if own.is_some() {
            // A sub-table or dotted keys.
            if let Value::Object(wanted) = value
                && !wanted.is_empty()
            {
                return self.merge(&path, wanted);
            }
            let Some(text) = self.remove(&path) else { return Ok(None) };
            return match Layout::read(&text) {
                Some(layout) => layout.set(table, key, value),
                None => Ok(None),
            };
        }
        let Some(neighbour) = self.neighbour(table, key) else {
            let value = toml_value(value)?;
            return Ok(self.change_value(&path, |inside, rest| insert_inside(inside, rest, value)));
        };
        let relative = &path[neighbour.header.len()..];
        let name = relative.iter().map(|part| toml_key(part)).collect::<Vec<_>>().join(".");
        let (before, after) = self.text.split_at(neighbour.lines.end);
        let line_end = self.line_end;
        let finish = if before.ends_with('\n') { "" } else { line_end };
        let indent: String = self.text[neighbour.lines.clone()]
            .chars()
            .take_while(|c| *c == ' ' || *c == '\t')
            .collect();
        Ok(Some(format!("{before}{finish}{indent}{name} = {}{line_end}{after}", toml_text(value)?)))
    }

    /// Makes a table what is wanted, key by key. A key that goes hands its line to one that comes; where none
    /// comes, the comment on its line stays.
    fn merge(
        &self,
        table: &[&str],
        wanted: &Map<String, Value>,
    ) -> Result<Option<String>, NotToml> {
        let own = self.statements.iter().filter(|statement| statement.is_under(table));
        let mut there: Vec<&str> = own
            .filter_map(|statement| statement.path.get(table.len()))
            .map(String::as_str)
            .collect();
        there.dedup();
        let mut gone = there.iter().filter(|key| !wanted.contains_key(**key));
        let mut text = self.text.to_owned();
        let mut cut = Vec::new();
        for (key, value) in ordered(wanted) {
            let Some(layout) = Layout::read(&text) else { return Ok(None) };
            let handed_over = if there.contains(&key) { None } else { gone.next() };
            let changed = match handed_over {
                Some(old) => match layout.rename(table, old, key, value)? {
                    Some(renamed) => Some(renamed),
                    None => {
                        cut.push(*old);
                        layout.set(table, key, value)?
                    }
                },
                None if layout.holds(table, key, value) => continue,
                None => layout.set(table, key, value)?,
            };
            let Some(changed) = changed else { return Ok(None) };
            text = changed;
        }
        for key in cut.into_iter().chain(gone.copied()) {
            let Some(shortened) =
                Layout::read(&text).and_then(|layout| layout.withdraw(table, key))
            else {
                return Ok(None);
            };
            text = shortened;
        }
        Ok(Some(text))
    }

    /// Returns the statement of a key that has one value.
    fn key_statement(&self, table: &[&str], key: &str) -> Option<&Statement> {
        self.statements.iter().find(|statement| {
            !statement.is_header()
                && statement.is_under(table)
                && statement.path[table.len()..] == [key]
        })
    }

    /// Tells whether a key has a value already, however it is written.
    fn holds(&self, table: &[&str], key: &str, value: &Value) -> bool {
        let span = self.key_statement(table, key).and_then(|statement| statement.value.clone());
        span.and_then(|span| json(&self.text[span])).as_ref() == Some(value)
    }

    /// Puts another key in the place of one; `None` where that one is a table of its own.
    fn rename(
        &self,
        table: &[&str],
        old: &str,
        new: &str,
        value: &Value,
    ) -> Result<Option<String>, NotToml> {
        let Some(statement) = self.key_statement(table, old) else { return Ok(None) };
        let Some(span) = statement.value.clone() else { return Ok(None) };
        let text = replaced(&self.text[span.clone()], value)?;
        Ok(Some(format!(
            "{}{}{}{text}{}",
            &self.text[..statement.key.start],
            toml_key(new),
            &self.text[statement.key.end..span.start],
            &self.text[span.end..]
        )))
    }

    /// Cuts a key of a table, and leaves the comment behind its value on a line of its own.
    fn withdraw(&self, table: &[&str], key: &str) -> Option<String> {
        if let Some(statement) = self.key_statement(table, key) {
            let Range { start, end } = statement.lines;
            let value = statement.value.clone()?;
            if let Some(comment) = self.text[value.end..end].find('#') {
                let line = &self.text[start..];
                let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
                let rest = &self.text[value.end + comment..];
                return Some(format!("{}{indent}{rest}", &self.text[..start]));
            }
        }
        let path: Vec<&str> = table.iter().copied().chain([key]).collect();
        self.remove(&path)
    }

    /// Returns the statement behind which a new key of a table is written.
    fn neighbour(&self, table: &[&str], key: &str) -> Option<&Statement> {
        let own: Vec<&Statement> =
            self.statements.iter().filter(|statement| statement.is_under(table)).collect();
        let header = own
            .iter()
            .copied()
            .find(|statement| statement.is_header() && statement.path.len() == table.len());
        let in_order = own.iter().copied().rfind(|statement| {
            !statement.is_header()
                && header.is_none_or(|header| header.path == statement.header)
                && statement.path.get(table.len()).is_some_and(|own| precedes(own, key))
        });
        let dotted =
            || own.iter().copied().find(|one| !one.is_header() && one.path.len() > table.len());
        in_order.or(header).or_else(dotted)
    }

    /// Changes a value that holds a path inside itself.
    fn change_value(
        &self,
        path: &[&str],
        change: impl FnOnce(&mut toml_edit::Value, &[&str]) -> Option<()>,
    ) -> Option<String> {
        let holds = |statement: &&Statement| {
            !statement.is_header()
                && statement.path.len() < path.len()
                && statement.path.iter().zip(path).all(|(own, part)| own == part)
        };
        let holder = self.statements.iter().find(holds)?;
        let span = holder.value.clone()?;
        let mut value: toml_edit::Value = self.text[span.clone()].parse().ok()?;
        change(&mut value, &path[holder.path.len()..])?;
        value.decor_mut().clear();
        Some(format!("{}{value}{}", &self.text[..span.start], &self.text[span.end..]))
    }

    /// Returns the end of the section that a header begins, comments right behind it included.
    fn section_end(&self, header: usize) -> usize {
        let length = self.statements[header + 1..]
            .iter()
            .take_while(|statement| !statement.is_header())
            .count();
        self.behind(header + length)
    }

    /// Returns the bytes that go when a run of statements goes.
    fn extent(&self, first: usize, last: usize) -> Range<usize> {
        let lines = self.statements[first].lines.start..self.statements[last].lines.end;
        if !self.statements[first].is_header() {
            return lines;
        }
        let start = self.above(lines.start);
        let end = self.behind(last);
        let before = &self.text[..start];
        if let Some(blank) = last_line(before).filter(|line| line.trim().is_empty()) {
            return start - blank.len()..end;
        }
        let blank = self.text[end..]
            .split_inclusive('\n')
            .next()
            .filter(|line| start == 0 && line.trim().is_empty());
        start..end + blank.map_or(0, str::len)
    }

    /// Returns where the comment block directly above a line begins.
    fn above(&self, mut start: usize) -> usize {
        while let Some(line) =
            last_line(&self.text[..start]).filter(|line| line.trim_start().starts_with('#'))
        {
            start -= line.len();
        }
        start
    }

    /// Returns the end of the comment block right behind a statement; one that stands right above the next
    /// statement is that one's.
    fn behind(&self, statement: usize) -> usize {
        let end = self.statements[statement].lines.end;
        let mut behind = end;
        for line in self.text[end..].split_inclusive('\n') {
            if line.trim().is_empty() {
                return behind;
            }
            if !line.trim_start().starts_with('#') {
                return end;
            }
            behind += line.len();
        }
        behind
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.split_inclusive('\n').next_back()
}

/// Returns the keys of a table that are not null, in the order in which they are written.
pub(super) fn without_null(table: &Map<String, Value>) -> Map<String, Value> {
    ordered(table)
        .into_iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| (k.to_owned(), v.clone()))
        .collect()
}
