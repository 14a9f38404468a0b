//! What is wrong with a configuration: every mistake with its places, in words that say what to write instead.
//! Renders like a compiler's by `miette`, and as plain lines for logs and JSON.

use std::{
    fmt::{self, Write as _},
    ops::Range,
};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};

/// Bytes of a line that `miette` is asked to draw; beyond 65 535 columns it panics.
const LONGEST_LINE_DRAWN: usize = 1000;

/// A place in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its bytes.
    pub span: Range<usize>,
    /// Its line, counted from 1.
    pub line: usize,
    /// Its column in characters, counted from 1.
    pub column: usize,
    /// What is there, in words.
    pub note: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Where it is.
    pub place: Place,
    /// Other places that it is about.
    pub others: Vec<Place>,
}

impl Mistake {
    /// Writes `line:column: message`, then the other places and the help, indented.
    fn write_plain(&self, name: Option<&str>, out: &mut String) {
        let file = name.map(|name| format!("{name}:")).unwrap_or_default();
        // Writing to a `String` cannot fail.
        let _ = write!(out, "{file}{}:{}: {}", self.place.line, self.place.column, self.message);
        for other in &self.others {
            let _ = write!(out, "\n  {file}{}:{}: {}", other.line, other.column, other.note);
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n  help: {help}");
        }
    }
}

impl Diagnostic for Mistake {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let others = self
            .others
            .iter()
            .map(|other| LabeledSpan::new_with_span(Some(other.note.clone()), span(other)));
        let place =
            LabeledSpan::new_primary_with_span(Some(self.place.note.clone()), span(&self.place));
        Some(Box::new(std::iter::once(place).chain(others)))
    }
}

fn span(place: &Place) -> (usize, usize) {
    (place.span.start, place.span.len())
}

/// All mistakes of a configuration, in the order of the text.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    mistakes: Vec<Mistake>,
    unlisted: usize,
    name: Option<String>,
    // Boxed to keep `Result<Config, ConfigErrors>` small.
    source: Box<NamedSource<String>>,
}

impl ConfigErrors {
    pub(crate) fn new(text: &str, mistakes: Vec<Mistake>, unlisted: usize) -> Self {
        let source = Box::new(NamedSource::new("configuration", text.to_owned()));
        Self { mistakes, unlisted, name: None, source }
    }

    /// Names the file that the text came from.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        *self.source = NamedSource::new(name, self.source.inner().clone());
        self.name = Some(name.to_owned());
        self
    }

    /// Returns the mistakes, at least one; a text with very many has only the first hundred listed.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Returns the mistakes as plain lines: `file:line:column: message`, indented other places and help.
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for mistake in &self.mistakes {
            if !out.is_empty() {
                out.push('\n');
            }
            mistake.write_plain(self.name.as_deref(), &mut out);
        }
        if self.unlisted > 0 {
            let _ = write!(out, "\nand {} more", self.unlisted);
        }
        out
    }
}

/// Writes how many mistakes there are; a single one in full, on one line.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("the configuration");
        match (self.mistakes.as_slice(), self.unlisted) {
            ([only], 0) => write!(out, "{name}, line {}: {}", only.place.line, only.message),
            (mistakes, unlisted) => {
                write!(out, "{name} has {} mistakes", mistakes.len() + unlisted)
            }
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl Diagnostic for ConfigErrors {
    /// Returns the text to draw the mistakes in; `None` where a line of it is too long for any screen.
    fn source_code(&self) -> Option<&dyn SourceCode> {
        let drawable = self.source.inner().lines().all(|line| line.len() <= LONGEST_LINE_DRAWN);
        drawable.then_some(&*self.source as &dyn SourceCode)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.mistakes.iter().map(|mistake| mistake as &dyn Diagnostic)))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (self.unlisted > 0).then(|| {
            Box::new(format!("{} more are not listed", self.unlisted)) as Box<dyn fmt::Display>
        })
    }
}
