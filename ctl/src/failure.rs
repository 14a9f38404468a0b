//! Why a command did not do what was asked, what to do next, and the exit status that says so.

use std::{io, process::ExitCode};

use weft_config::api::{Error as Refusal, ErrorBody};

use crate::{
    output::{Format, Output},
    render,
};

/// The exit status of a command that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Refused or failed.
    Failed = 1,
    /// Called in a way that it does not know.
    Usage = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit status.
    pub(crate) exit: Exit,
    /// What programs are told, and people too where there is no better picture.
    pub(crate) body: ErrorBody,
    /// A picture of the error for people, with the lines of the file that it is about.
    pub(crate) picture: Option<String>,
}

impl Failure {
    /// Returns a failure of the command itself.
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            body: ErrorBody { code: code.to_owned(), message: message.into(), help: None },
            picture: None,
        }
    }

    /// Returns a failure to reach the daemon.
    pub(crate) fn unreachable(code: &str, message: impl Into<String>) -> Self {
        Self { exit: Exit::Unreachable, ..Self::failed(code, message) }
    }

    /// Returns a refusal of arguments that do not fit together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::failed("usage", message) }
    }

    /// Returns what the daemon refused.
    pub(crate) fn refused(body: ErrorBody) -> Self {
        Self { exit: Exit::Failed, body, picture: None }
    }

    /// Adds what to do next.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.body.help = Some(help.into());
        self
    }

    /// Tells whether the daemon or the command said this word.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.body.code == code
    }

    /// Tells whether what was asked for may have been done all the same: no answer came, or none that says it was not.
    pub(crate) fn is_doubtful(&self) -> bool {
        match self.exit {
            Exit::Unreachable => self.is("timeout") || self.is("no-answer"),
            Exit::Failed => self.is("bad-answer") || self.is("internal"),
            Exit::Usage => false,
        }
    }

    /// Says on stderr what happened and returns the exit status.
    pub(crate) fn report(self, output: Output) -> ExitCode {
        // The reader of the output has seen enough: `weftctl port list | head` succeeded.
        if self.is(BROKEN_PIPE) {
            return ExitCode::SUCCESS;
        }
        let exit = ExitCode::from(self.exit as u8);
        let text = match (output.format, self.picture) {
            (Format::Json, _) => render::json(&Refusal { error: self.body }),
            (Format::Human, Some(picture)) => picture,
            (Format::Human, None) => {
                let error = output.stderr_paint().error("error:");
                let mut text = format!("{error} {}\n", render::clean_lines(&self.body.message));
                if let Some(help) = &self.body.help {
                    text.push_str(&format!(
                        "  help: {}\n",
                        render::clean_lines(help).replace('\n', "\n        ")
                    ));
                }
                text
            }
        };
        // Nobody is left to tell when stderr is gone too; the status still says it.
        let _ = io::Write::write_all(&mut io::stderr().lock(), text.as_bytes());
        exit
    }
}

const BROKEN_PIPE: &str = "broken-pipe";

/// Returns the failure to write the output.
pub(crate) fn output_failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Failure::failed(BROKEN_PIPE, "nobody reads the output any more");
    }
    Failure::failed("io", format!("the output cannot be written: {error}"))
}
