//! `weftctl check`: a configuration file's mistakes with its lines, and those of the key files that it names; and how
//! such files are read.

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::{self, IsTerminal as _, Read},
};

use clap::Args;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use serde::Serialize;
use weft_config::{Config, ConfigErrors, Mistake};

use crate::{
    failure::Failure,
    keyfile::{self, Findings},
    output::{Output, Paint},
    render::{clean, clean_picture},
};

/// Bytes of a configuration at most.
const FILE_LIMIT: u64 = 8 << 20;

/// The file to be checked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl check /etc/weft/weft.toml
  weftctl check - < candidate.toml

Mistakes are shown with their lines and what to write instead; exit status 1.
Key files that it names are looked at too, as far as you may.")]
pub(crate) struct Check {
    /// The file, or - for standard input
    file: String,
}

#[derive(Serialize)]
struct Checked<'a> {
    file: &'a str,
    valid: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Check {
    /// Does it.
    pub(crate) fn run(self, output: Output) -> Result<(), Failure> {
        let source = Source::read(&self.file)?;
        let config = match source.parsed() {
            Ok(config) => config,
            Err(mistakes) => return Err(source.refusal(&mistakes, output)),
        };
        let Findings { mistakes, notes } = keyfile::look(&config);
        if !mistakes.is_empty() {
            let lines = mistakes.iter().map(|mistake| format!("{}: {mistake}", source.name));
            return Err(Failure::failed("key-file", lines.collect::<Vec<_>>().join("\n")));
        }
        let notes = config.notes().into_iter().chain(notes).collect();
        output.value(&Checked { file: &self.file, valid: true, notes }, |checked| {
            let mut text: String =
                checked.notes.iter().map(|note| format!("note: {}\n", clean(note))).collect();
            text.push_str(&format!("{} is a valid configuration\n", clean(&source.name)));
            text
        })
    }
}

/// A configuration's text and where it came from.
#[derive(Debug)]
pub(crate) struct Source {
    /// What to call it in messages.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

impl Source {
    /// Reads a file as the user who runs this, or standard input for `-`.
    pub(crate) fn read(file: &str) -> Result<Self, Failure> {
        let name = if file == "-" { "standard input" } else { file }.to_owned();
        let bytes = if file == "-" {
            let stdin = io::stdin().lock();
            if stdin.is_terminal() {
                return Err(Failure::usage("standard input is a terminal, not a configuration")
                    .help("`weftctl … - < FILE`, or name the file"));
            }
            read_bounded(stdin)
        } else {
            File::open(file).and_then(read_bounded)
        };
        let bytes = bytes.map_err(|error| {
            Failure::failed("unreadable", format!("cannot read {name}: {error}"))
        })?;
        if bytes.len() as u64 > FILE_LIMIT {
            return Err(Failure::failed(
                "unreadable",
                format!("{name} is longer than {} MiB", FILE_LIMIT >> 20),
            )
            .help("is it a configuration?"));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
                Err(Failure::failed(
                    "invalid-config",
                    format!("{name}, line {line}: this is not UTF-8 text"),
                )
                .help("a configuration is TOML, in UTF-8"))
            }
        }
    }

    /// Returns what is wrong with it, if something is.
    pub(crate) fn mistakes(&self) -> Option<ConfigErrors> {
        self.parsed().err()
    }

    fn parsed(&self) -> Result<Config, ConfigErrors> {
        Config::parse(&self.text).map_err(|errors| errors.with_name(&self.name))
    }

    /// Returns the refusal of its mistakes, with its lines for people.
    pub(crate) fn refusal(&self, mistakes: &ConfigErrors, output: Output) -> Failure {
        let mut failure = Failure::failed("invalid-config", mistakes.plain());
        failure.picture = picture(mistakes, &self.name, output.stderr_paint()).ok();
        failure
    }

    /// Returns the daemon's refusal; of mistakes that are known here too, with the text's lines.
    pub(crate) fn explain(&self, refusal: Failure, output: Output) -> Failure {
        match self.mistakes() {
            Some(mistakes) if refusal.is("invalid-config") => self.refusal(&mistakes, output),
            _ => refusal,
        }
    }
}

/// Draws every mistake with its lines, and says at the end how many there are; an error where a line is too long.
fn picture(mistakes: &ConfigErrors, name: &str, paint: Paint) -> Result<String, fmt::Error> {
    let text = mistakes.source_code().ok_or(fmt::Error)?;
    let theme = match paint {
        Paint::Color => GraphicalTheme::unicode(),
        Paint::Plain => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_links(false).with_width(100);
    let mut drawn = String::new();
    for mistake in mistakes.mistakes() {
        handler.render_report(&mut drawn, &InText { mistake, text })?;
        drawn.push('\n');
    }
    if let Some(unlisted) = mistakes.help() {
        writeln!(drawn, "{unlisted}")?;
    }
    let count = match mistakes.mistakes().len() {
        1 => "a mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    writeln!(drawn, "{} {name} has {count}", paint.error("error:"))?;
    Ok(clean_picture(&drawn))
}

/// A mistake together with the text that it is in.
struct InText<'a> {
    mistake: &'a Mistake,
    text: &'a dyn SourceCode,
}

impl fmt::Debug for InText<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.mistake, out)
    }
}

impl fmt::Display for InText<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.mistake, out)
    }
}

impl std::error::Error for InText<'_> {}

impl Diagnostic for InText<'_> {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.text)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.mistake.labels()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Diagnostic::help(self.mistake)
    }
}

fn read_bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(FILE_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
