//! Collects mistakes while a text is read, and finds their lines and columns at the end.

use std::ops::Range;

use crate::error::{ConfigErrors, Mistake, Place};

/// Mistakes that are listed.
const LISTED_MAX: usize = 100;
/// Mistakes that are kept while reading; what is behind is only counted.
const KEPT_MAX: usize = 1000;

/// A mistake whose line and column are not known yet.
#[derive(Default)]
pub(super) struct Draft {
    message: String,
    help: Option<String>,
    span: Range<usize>,
    note: String,
    others: Vec<(Range<usize>, String)>,
}

impl Draft {
    /// Says in few words what is wrong at the place itself.
    pub(super) fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.note = note.into();
        self
    }

    /// Says what to write instead.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Names another place that the mistake is about.
    pub(super) fn also(&mut self, span: Range<usize>, note: impl Into<String>) -> &mut Self {
        self.others.push((span, note.into()));
        self
    }
}

/// The mistakes so far.
#[derive(Default)]
pub(super) struct Report {
    drafts: Vec<Draft>,
    overflow: Draft,
    uncounted: usize,
}

impl Report {
    /// Adds a mistake.
    pub(super) fn add(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Draft {
        let draft =
            Draft { message: message.into(), span, note: "here".to_owned(), ..Draft::default() };
        if self.drafts.len() == KEPT_MAX {
            self.uncounted += 1;
            self.overflow = draft;
            return &mut self.overflow;
        }
        let position = self.drafts.len();
        self.drafts.push(draft);
        &mut self.drafts[position]
    }

    /// Tells whether there are mistakes.
    pub(super) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Tells whether there are so many that it is no use to think hard about help.
    pub(super) fn is_full(&self) -> bool {
        self.drafts.len() >= LISTED_MAX
    }

    /// Puts the mistakes in the order of the text.
    pub(super) fn into_errors(mut self, text: &str) -> ConfigErrors {
        self.drafts.sort_by_key(|draft| draft.span.start);
        let total = self.drafts.len() + self.uncounted;
        self.drafts.truncate(LISTED_MAX);
        let unlisted = total - self.drafts.len();
        let lines = Lines::new(text);
        let mistakes = self
            .drafts
            .into_iter()
            .map(|draft| Mistake {
                message: draft.message,
                help: draft.help,
                place: lines.place(draft.span, draft.note),
                others: draft
                    .others
                    .into_iter()
                    .map(|(span, note)| lines.place(span, note))
                    .collect(),
            })
            .collect();
        ConfigErrors::new(text, mistakes, unlisted)
    }
}

/// Where the lines of a text begin.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn place(&self, span: Range<usize>, note: String) -> Place {
        let start = span.start.min(self.text.len());
        let line = self.starts.partition_point(|&begin| begin <= start);
        let begin = self.starts[line - 1];
        let column = self.text.get(begin..start).map_or(0, |before| before.chars().count()) + 1;
        Place { span: start..span.end.clamp(start, self.text.len()), line, column, note }
    }
}
