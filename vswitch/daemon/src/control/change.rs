//! Changes of the configuration: parsed whole, written to the file, then put in force; or refused whole.

use weft_config::{
    Config, ConfigErrors, Edit, EditError,
    api::{Change, Changed},
    diff,
};

use super::{
    secrets::{Secrets, SecretsError},
    state::Control,
};
use crate::config_file::FileError;

/// Whether a change outlives the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permanence {
    /// It is written to the configuration file.
    Written,
    /// The file is left alone.
    Transient,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    /// The request does not fit the configuration.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The text is no configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The text would be none any more with the edit.
    #[error("{}", .0.mistakes().iter().map(|mistake| mistake.message.as_str()).collect::<Vec<_>>().join("; "))]
    Outcome(ConfigErrors),
    /// The keys that it names cannot be used.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The file stands in the way.
    #[error(transparent)]
    File(#[from] FileError),
    /// Somebody else changed the running configuration meanwhile.
    #[error(
        "the running configuration has revision {actual}, not {expected}: somebody else changed it meanwhile"
    )]
    Revision {
        /// What the request was made against.
        expected: String,
        /// What is running.
        actual: String,
    },
}

impl Control {
    /// Returns the name of the running configuration.
    pub(crate) fn revision(&self) -> String {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.running.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Refuses a request that was made against another running configuration.
    pub(crate) fn check_revision(&self, expected: Option<&str>) -> Result<(), ChangeError> {
        let actual = self.revision();
        match expected {
            Some(expected) if expected.trim_matches('"') != actual && expected != "*" => {
                Err(ChangeError::Revision { expected: expected.to_owned(), actual })
            }
            _ => Ok(()),
        }
    }

    /// Makes one edit, of the running configuration and, unless transient, of the file.
    pub(crate) async fn edit(
        &mut self,
        edit: &Edit,
        permanence: Permanence,
    ) -> Result<Changed, ChangeError> {
        let running = edit.apply(&self.running)?;
        let config = Config::parse(&running).map_err(ChangeError::Outcome)?;
        let file = match permanence {
            Permanence::Transient => None,
            Permanence::Written => {
                self.file.check_unchanged()?;
                // The file lacks what was changed transiently: it gets this edit and nothing else.
                let text = edit.apply(self.file.text())?;
                Config::parse(&text).map_err(ChangeError::Outcome)?;
                Some(text)
            }
        };
        self.change(running, config, file).await
    }

    /// Applies a whole configuration.
    pub(crate) async fn apply(
        &mut self,
        text: String,
        config: Config,
        permanence: Permanence,
    ) -> Result<Changed, ChangeError> {
        let file = match permanence {
            Permanence::Transient => None,
            Permanence::Written => Some(text.clone()),
        };
        self.change(text, config, file).await
    }

    /// Says what a whole configuration would change.
    pub(crate) fn compare(&self, other: &Config) -> Changed {
        Changed {
            changes: diff(&self.config, other),
            revision: self.revision(),
            written: None,
            notes: other.notes(),
        }
    }

    /// Takes the file as it is now for the configuration.
    pub(crate) async fn reload(&mut self) -> Result<Vec<Change>, ChangeError> {
        let text = self.file.read_again()?;
        let name = self.file.path().display().to_string();
        let config = Config::parse(text.as_deref().unwrap_or_default())
            .map_err(|errors| errors.with_name(&name))?;
        let changes = diff(&self.config, &config);
        let secrets = Secrets::read(&config).whole()?;
        self.file.know(text.clone());
        self.put(text.unwrap_or_default(), config, secrets).await;
        Ok(changes)
    }

    async fn change(
        &mut self,
        running: String,
        config: Config,
        file: Option<String>,
    ) -> Result<Changed, ChangeError> {
        let changes = diff(&self.config, &config);
        let secrets = Secrets::read(&config).whole()?;
        let mut written = None;
        if let Some(text) = file
            && self.file.write(&text)?
        {
            written = Some(self.file.path().display().to_string());
        }
        self.put(running, config, secrets).await;
        Ok(Changed { changes, revision: self.revision(), written, notes: self.config.notes() })
    }
}
