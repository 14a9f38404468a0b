//! Where answers go: one JSON document or text for people, to stdout, in one piece.

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    client::Answer,
    failure::{Failure, output_failed},
    render,
};

/// Who reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Human,
    /// Programs.
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl From<ColorChoice> for clap::ColorChoice {
    fn from(choice: ColorChoice) -> Self {
        match choice {
            ColorChoice::Auto => Self::Auto,
            ColorChoice::Always => Self::Always,
            ColorChoice::Never => Self::Never,
        }
    }
}

/// Whether a stream gets colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// Text alone.
    Plain,
    /// With SGR sequences.
    Color,
}

impl Paint {
    /// Returns the text in bold red.
    pub(crate) fn error(self, text: &str) -> String {
        self.sgr("1;31", text)
    }

    /// Returns the text in bold.
    pub(crate) fn title(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// Returns the text in green: something came, or goes well.
    pub(crate) fn good(self, text: &str) -> String {
        self.sgr("32", text)
    }

    /// Returns the text in yellow: something changed, or needs a look.
    pub(crate) fn notice(self, text: &str) -> String {
        self.sgr("33", text)
    }

    /// Returns the text in red: something went, or is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.sgr("31", text)
    }

    fn sgr(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Color => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// How this invocation prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// For whom.
    pub(crate) format: Format,
    color: ColorChoice,
}

impl Output {
    /// Prints in this format, with colours as chosen.
    pub(crate) fn new(format: Format, color: ColorChoice) -> Self {
        Self { format, color }
    }

    /// Returns whether stdout gets colours.
    pub(crate) fn paint(self) -> Paint {
        self.paint_for(io::stdout().is_terminal())
    }

    /// Returns whether stderr gets colours.
    pub(crate) fn stderr_paint(self) -> Paint {
        self.paint_for(io::stderr().is_terminal())
    }

    /// Prints an answer: as it came for programs, as `human` puts it for people.
    pub(crate) fn show<T: DeserializeOwned>(
        self,
        answer: &Answer<T>,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.text(&answer.json()?),
            Format::Human => self.text(&human(&answer.value()?)),
        }
    }

    /// Prints a value of this command's own making: as a document for programs, as `human` puts it for people.
    pub(crate) fn value<T: Serialize>(
        self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.text(&render::json(value)),
            Format::Human => self.text(&human(value)),
        }
    }

    /// Prints text as it stands.
    pub(crate) fn text(self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| output_failed(&error))
    }

    fn paint_for(self, terminal: bool) -> Paint {
        let auto = || terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let color = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => auto(),
        };
        if color { Paint::Color } else { Paint::Plain }
    }
}
