//! The configurations that the file held before, the last ten, `STATE/history/NUMBER.json`: what `rollback` goes back
//! to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use weft_config::api::{Former, FormerConfig};

use crate::{clock, replace::replace};

/// How many are kept.
const KEPT: usize = 10;
const DIRECTORY: &str = "history";

/// Where they are kept.
pub(super) struct History {
    directory: PathBuf,
}

/// One of them, in the form of its file; its number is the file's name.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Kept {
    /// When it was replaced, in seconds since 1970.
    replaced_at: u64,
    /// Who replaced it; nobody did in particular where the file was edited and loaded again.
    uid: Option<u32>,
    text: String,
}

impl History {
    pub(super) fn new(state: &Path) -> Self {
        Self { directory: state.join(DIRECTORY) }
    }

    /// Keeps a text that is about to be replaced, on disk when this returns, and lets go of the oldest. Returns its
    /// number.
    ///
    /// # Errors
    /// What the file system says; then those that were there still are.
    pub(super) fn keep(&self, text: &str, uid: Option<u32>) -> io::Result<u64> {
        fs::create_dir_all(&self.directory)?;
        let numbers = self.numbers()?;
        let number = numbers.last().map_or(1, |last| last + 1);
        let kept = Kept { replaced_at: clock::wall().as_secs(), uid, text: text.to_owned() };
        replace(&self.path(number), &serde_json::to_vec(&kept)?, |_| Ok(()))?;
        let surplus = (numbers.len() + 1).saturating_sub(KEPT);
        for &old in &numbers[..surplus] {
            self.drop(old)?;
        }
        Ok(number)
    }

    /// Lets go of one that was not replaced after all.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn drop(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.path(number))
    }

    /// Returns all of them, the last one first; what cannot be read is none.
    pub(super) fn list(&self) -> Vec<Former> {
        let numbers = self.numbers().unwrap_or_default().into_iter().rev();
        let kept = numbers.filter_map(|number| self.get(number).ok().flatten());
        kept.map(|former| former.former).collect()
    }

    /// Returns the one with this number, where it is.
    ///
    /// # Errors
    /// What the file system says, or that the file is none of this program's.
    pub(super) fn get(&self, number: u64) -> io::Result<Option<FormerConfig>> {
        let bytes = match fs::read(self.path(number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let Kept { replaced_at, uid, text } = serde_json::from_slice(&bytes)?;
        let age_seconds = clock::wall().as_secs().saturating_sub(replaced_at);
        Ok(Some(FormerConfig { former: Former { number, age_seconds, uid }, text }))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}.json"))
    }

    /// Returns the numbers that there are, in order.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut numbers: Vec<u64> =
            names.filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ten_are_kept_and_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        for number in 1..=13 {
            let kept = History::new(directory.path()).keep(&format!("# {number}\n"), Some(7));
            assert_eq!(kept.unwrap(), number);
        }
        let history = History::new(directory.path());
        let numbers: Vec<u64> = history.list().iter().map(|former| former.number).collect();
        assert_eq!(numbers, (4..=13).rev().collect::<Vec<_>>());
        let former = history.get(4).unwrap().unwrap();
        assert_eq!((former.text.as_str(), former.former.uid), ("# 4\n", Some(7)));
        assert_eq!(history.get(3).unwrap(), None);
    }

    #[test]
    fn a_file_of_somebody_else_is_neither_listed_nor_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let history = History::new(directory.path());
        history.keep("# 1\n", None).unwrap();
        for (name, text) in [("2.json", "half a te"), ("notes.txt", ""), ("x.json", "{}")] {
            fs::write(directory.path().join(DIRECTORY).join(name), text).unwrap();
        }
        assert_eq!(history.keep("# 3\n", None).unwrap(), 3);
        let numbers: Vec<u64> = history.list().iter().map(|former| former.number).collect();
        assert_eq!(numbers, [3, 1]);
        history.get(2).unwrap_err();
    }
}
