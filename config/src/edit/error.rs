//! Why an edit is refused.

use miette::Diagnostic;

use crate::{
    api::{Change, ErrorBody},
    error::ConfigErrors,
};

/// Why a text was not edited.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EditError {
    /// Something of this name is there.
    #[error("{what} exists already{}", differing(.differences))]
    Exists {
        /// `port web1`.
        what: String,
        /// How the one that is there differs, where an equal one would have been welcome.
        differences: Vec<Change>,
    },
    /// Nothing of this name is there.
    #[error("there is no {what}")]
    NotFound {
        /// `port web1`.
        what: String,
        /// What was probably meant.
        near: Option<String>,
    },
    /// Other parts of the configuration refer to it.
    #[error("{what} is in use by {}", .users.join(", "))]
    InUse {
        /// `vlan office`.
        what: String,
        /// `port web1`, `fdb 52:54:00:12:34:56`.
        users: Vec<String>,
    },
    /// The request makes no sense whatever the text says.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// What to ask for instead.
        help: Option<String>,
    },
    /// The text is no configuration, before the edit or with it.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The text says it in a form that cannot be edited without rewriting more than was asked for.
    #[error("{what} is written in a form that only a person can edit")]
    Layout {
        /// `port web1`.
        what: String,
    },
}

impl EditError {
    /// Returns the stable word for programs, as in [`ErrorBody::code`].
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "exists",
            Self::NotFound { .. } => "not-found",
            Self::InUse { .. } => "in-use",
            Self::Invalid { .. } | Self::Layout { .. } => "invalid-request",
            Self::Config(_) => "invalid-config",
        }
    }

    /// Returns what to do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Exists { differences, .. } if differences.is_empty() => {
                Some("choose another name, or change the one that is there".to_owned())
            }
            Self::Exists { .. } => {
                Some("change the one that is there, or remove it first".to_owned())
            }
            Self::NotFound { near, .. } => {
                near.as_ref().map(|near| format!("did you mean {near}?"))
            }
            Self::InUse { .. } => Some("remove or change these first".to_owned()),
            Self::Invalid { help, .. } => help.clone(),
            Self::Config(errors) => match errors.mistakes() {
                [only] => only.help.clone(),
                _ => None,
            },
            Self::Layout { .. } => Some("edit the file by hand, then have it re-read".to_owned()),
        }
    }

    /// Returns the body of a refusal.
    pub fn body(&self) -> ErrorBody {
        let message = match self {
            Self::Config(errors) if errors.mistakes().len() > 1 => errors.plain(),
            other => other.to_string(),
        };
        ErrorBody { code: self.code().to_owned(), message, help: self.help() }
    }
}

impl Diagnostic for EditError {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Self::help(self).map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }

    fn diagnostic_source(&self) -> Option<&dyn Diagnostic> {
        match self {
            Self::Config(errors) => Some(errors),
            _ => None,
        }
    }
}

fn differing(differences: &[Change]) -> String {
    if differences.is_empty() {
        return String::new();
    }
    let one = |change: &Change| {
        let key = change.path.rsplit('.').next().unwrap_or(&change.path);
        let old = change.old.as_deref().unwrap_or("not set");
        let new = change.new.as_deref().unwrap_or("left away");
        format!("{key} is {old}, not {new}")
    };
    format!(" and differs: {}", differences.iter().map(one).collect::<Vec<_>>().join("; "))
}
