//! Changes of the configuration: parsed whole, written to the file, then put in force; or refused whole. And those
//! that are put in force first, and written once they are confirmed.

use std::{io, net::IpAddr, path::PathBuf, time::Duration};

use weft_config::{
    Config, ConfigErrors, Edit, EditError,
    api::{Change, Changed, Former, FormerConfig, Happening},
    diff,
};

use super::{
    candidate::{Candidate, PATIENCE_MAX},
    secrets::{Secrets, SecretsError},
    state::Control,
    uplinks::UplinkError,
    wireguard::ListenError,
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
    /// A WireGuard adapter that runs could not listen where it is to.
    #[error("wireguard {0}: {1}")]
    Listen(String, ListenError),
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
    /// A configuration waits for its confirmation.
    #[error("a configuration waits for its confirmation, another {} s: nothing else is changed meanwhile", .0.as_secs())]
    ConfirmPending(Duration),
    /// There is none to be confirmed or taken back.
    #[error("no configuration waits for its confirmation")]
    NothingPending,
    /// Nobody waits so long.
    #[error("a confirmation is waited for 1 s to {} h", PATIENCE_MAX.as_secs() / 3600)]
    Patience,
    /// An uplink would take the host off the network, or could not be seen not to.
    #[error(transparent)]
    Uplink(#[from] UplinkError),
    /// It would cut the session of whoever asks for it.
    #[error("this would cut your own session from {session}, which comes in by port {}: {}", .ports.join(" and "), .cutting.join(", "))]
    CutsSession {
        /// The far end.
        session: IpAddr,
        /// The ports by which it comes.
        ports: Vec<String>,
        /// The paths of what changes.
        cutting: Vec<String>,
    },
    /// The state directory refuses.
    #[error("cannot keep the configuration in {}: {}", .0.display(), .1)]
    State(PathBuf, io::Error),
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

    /// Returns what the running configuration would be with an edit.
    pub(crate) fn edited(&self, edit: &Edit) -> Result<Config, ChangeError> {
        Ok(edited(edit, &self.running)?.1)
    }

    /// Makes one edit, of the running configuration and, unless transient, of the file.
    pub(crate) async fn edit(
        &mut self,
        edit: &Edit,
        permanence: Permanence,
        uid: u32,
    ) -> Result<Changed, ChangeError> {
        let (running, config) = edited(edit, &self.running)?;
        let file = match permanence {
            Permanence::Transient => None,
            Permanence::Written => Some(self.edited_file(edit)?),
        };
        self.change(running, config, file, uid).await
    }

    /// Returns the file with an edit: it lacks what was changed transiently, and gets this and nothing else.
    pub(super) fn edited_file(&self, edit: &Edit) -> Result<String, ChangeError> {
        self.file.check_unchanged()?;
        Ok(edited(edit, self.file.text())?.0)
    }

    /// Applies a whole configuration.
    pub(crate) async fn apply(
        &mut self,
        text: String,
        config: Config,
        permanence: Permanence,
        uid: u32,
    ) -> Result<Changed, ChangeError> {
        let file = match permanence {
            Permanence::Transient => None,
            Permanence::Written => Some(text.clone()),
        };
        self.change(text, config, file, uid).await
    }

    /// Puts a whole configuration in force, to be taken back unless it is confirmed in time.
    pub(crate) async fn try_out(
        &mut self,
        text: String,
        config: Config,
        patience: Duration,
        uid: u32,
    ) -> Result<Changed, ChangeError> {
        if !(Duration::from_secs(1)..=PATIENCE_MAX).contains(&patience) {
            return Err(ChangeError::Patience);
        }
        let file = text.clone();
        self.stand(text, file, config, patience, uid).await
    }

    /// Puts a configuration in force that waits for its confirmation, when `file` becomes the file's.
    pub(super) async fn stand(
        &mut self,
        text: String,
        file: String,
        config: Config,
        patience: Duration,
        uid: u32,
    ) -> Result<Changed, ChangeError> {
        self.check_settled()?;
        self.file.check_unchanged()?;
        let changes = diff(&self.config, &config);
        let secrets = Secrets::read(&config).whole()?;
        let ahead = self.listen_ahead(&config)?;
        let before = (self.running.clone(), self.config.clone());
        let state = self.state_dir();
        let candidate = Candidate::begin(state, (text.clone(), file), before, uid, patience)
            .map_err(|error| ChangeError::State(state.to_owned(), error))?;
        self.candidate = Some(candidate);
        self.adapters.ahead = ahead;
        self.put(text, config, secrets).await;
        let (changed, seconds) = (changes.len(), patience.as_secs());
        self.events.tell(Happening::ConfigTried { changes: changed, uid, seconds });
        Ok(self.changed(changes, None))
    }

    /// Makes the text that waits for its confirmation the file's.
    pub(crate) fn confirm(&mut self, uid: u32) -> Result<Changed, ChangeError> {
        let candidate = self.candidate.take().ok_or(ChangeError::NothingPending)?;
        let mut notes = self.config.notes();
        let written = match self.write(&candidate.file, uid, &mut notes) {
            Ok(written) => written,
            Err(error) => {
                self.candidate = Some(candidate);
                return Err(error.into());
            }
        };
        Candidate::forget(self.state_dir());
        self.events.tell(Happening::ConfigConfirmed { uid });
        let changes = diff(&candidate.before.1, &self.config);
        Ok(Changed { notes, ..self.changed(changes, written) })
    }

    /// Takes back what waits for its confirmation; nobody says so where its time is over.
    pub(crate) async fn take_back(&mut self, uid: Option<u32>) -> Result<Changed, ChangeError> {
        let candidate = self.candidate.take().ok_or(ChangeError::NothingPending)?;
        Candidate::forget(self.state_dir());
        let (text, config) = candidate.before;
        let changes = diff(&self.config, &config);
        let secrets = Secrets::read(&config);
        self.put(text, config, secrets).await;
        self.events.tell(Happening::ConfigTakenBack { uid });
        Ok(self.changed(changes, None))
    }

    /// Takes back what was not confirmed in time.
    pub(super) async fn take_back_overdue(&mut self) {
        if self.candidate.as_ref().is_some_and(|candidate| candidate.left().is_zero()) {
            // There is one.
            let _ = self.take_back(None).await;
        }
    }

    /// Returns the configurations that the file held before.
    pub(crate) fn formers(&self) -> Vec<Former> {
        self.history.list()
    }

    /// Returns one of them, where it is.
    pub(crate) fn former(&self, number: u64) -> Result<Option<FormerConfig>, ChangeError> {
        self.history
            .get(number)
            .map_err(|error| ChangeError::State(self.state_dir().to_owned(), error))
    }

    /// Says what a whole configuration would change.
    pub(crate) fn compare(&self, other: &Config) -> Changed {
        Changed { notes: other.notes(), ..self.changed(diff(&self.config, other), None) }
    }

    /// Takes the file as it is now for the configuration.
    pub(crate) async fn reload(&mut self) -> Result<Vec<Change>, ChangeError> {
        self.check_settled()?;
        let text = self.file.read_again()?;
        let name = self.file.path().display().to_string();
        let config = Config::parse(text.as_deref().unwrap_or_default())
            .map_err(|errors| errors.with_name(&name))?;
        let changes = diff(&self.config, &config);
        let secrets = Secrets::read(&config).whole()?;
        self.adapters.ahead = self.listen_ahead(&config)?;
        if let Some(Err(error)) = self.keep(text.as_deref().unwrap_or_default(), None) {
            tracing::warn!(%error, "the configuration before is not kept");
        }
        self.file.know(text.clone());
        self.put(text.unwrap_or_default(), config, secrets).await;
        self.tell_applied(&changes, None);
        Ok(changes)
    }

    async fn change(
        &mut self,
        running: String,
        config: Config,
        file: Option<String>,
        uid: u32,
    ) -> Result<Changed, ChangeError> {
        self.check_settled()?;
        let changes = diff(&self.config, &config);
        let secrets = Secrets::read(&config).whole()?;
        let ahead = self.listen_ahead(&config)?;
        let mut notes = config.notes();
        let written = match file {
            Some(text) => self.write(&text, uid, &mut notes)?,
            None => None,
        };
        self.adapters.ahead = ahead;
        self.put(running, config, secrets).await;
        self.tell_applied(&changes, Some(uid));
        Ok(Changed { notes, ..self.changed(changes, written) })
    }

    fn tell_applied(&self, changes: &[Change], uid: Option<u32>) {
        if !changes.is_empty() {
            self.events.tell(Happening::ConfigApplied { changes: changes.len(), uid });
        }
    }

    /// Writes the file and keeps what it held. Returns its path where it had to be written.
    fn write(
        &mut self,
        text: &str,
        uid: u32,
        notes: &mut Vec<String>,
    ) -> Result<Option<String>, FileError> {
        let kept = self.keep(text, Some(uid));
        let written = self.file.write(text);
        match kept {
            Some(Ok(number)) if written.is_err() => {
                // One that stays says what the file holds: going back to it changes nothing.
                let _ = self.history.drop(number);
            }
            Some(Err(error)) => notes.push(format!(
                "the configuration before was not kept, `weftctl rollback` cannot go back to it: {error}"
            )),
            _ => {}
        }
        Ok(written?.then(|| self.file.path().display().to_string()))
    }

    /// Keeps what the file holds, unless it holds `text`.
    fn keep(&self, text: &str, uid: Option<u32>) -> Option<io::Result<u64>> {
        let before = self.file.text();
        (before != text).then(|| self.history.keep(before, uid))
    }

    fn check_settled(&self) -> Result<(), ChangeError> {
        match &self.candidate {
            Some(candidate) => Err(ChangeError::ConfirmPending(candidate.left())),
            None => Ok(()),
        }
    }

    fn changed(&self, changes: Vec<Change>, written: Option<String>) -> Changed {
        Changed {
            changes,
            revision: self.revision(),
            written,
            candidate: self.candidate.as_ref().map(Candidate::view),
            notes: self.config.notes(),
        }
    }
}

/// Returns a text with an edit, and what it says.
pub(super) fn edited(edit: &Edit, text: &str) -> Result<(String, Config), ChangeError> {
    let text = edit.apply(text)?;
    let config = Config::parse(&text).map_err(ChangeError::Outcome)?;
    Ok((text, config))
}
