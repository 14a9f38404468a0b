//! A configuration that waits for its confirmation, `STATE/candidate.json`: in force, but not in the file. Unless
//! somebody confirms it in time, what ran before comes back; a daemon that is started again meanwhile goes on waiting,
//! a machine that is does not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use weft_config::{Config, ConfigErrors, api::Candidate as View};

use crate::{clock, replace::replace};

/// How long a confirmation may take.
pub(crate) const PATIENCE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
const FILE: &str = "candidate.json";

/// What waits for its confirmation, and what comes back without one.
pub(super) struct Candidate {
    pub(super) text: String,
    /// What the file is to hold once it is confirmed: it may lack what was changed transiently.
    pub(super) file: String,
    /// What was running before.
    pub(super) before: (String, Config),
    /// Whose it is.
    pub(super) uid: u32,
    /// When it is over, since the machine's start.
    deadline: Duration,
}

/// A candidate in the form of its file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Kept {
    text: String,
    file: String,
    uid: u32,
    deadline_ms: u64,
    /// The start of the machine that the deadline counts from.
    boot: String,
}

/// Why a candidate of an earlier daemon is not put in force again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("its file is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("the machine was started anew")]
    Rebooted,
    #[error("its time was over while weftd did not run")]
    Over,
    #[error("it is no configuration: {}", .0.plain())]
    Invalid(#[from] ConfigErrors),
}

impl Candidate {
    /// Begins to wait, for so long; on disk when this returns.
    ///
    /// # Errors
    /// What the file system says; then there is none.
    pub(super) fn begin(
        state: &Path,
        (text, file): (String, String),
        before: (String, Config),
        uid: u32,
        patience: Duration,
    ) -> io::Result<Self> {
        let deadline = clock::since_boot() + patience;
        let kept = Kept {
            text,
            file,
            uid,
            deadline_ms: deadline.as_millis() as u64,
            boot: clock::boot()?,
        };
        replace(&path(state), &serde_json::to_vec(&kept)?, |_| Ok(()))?;
        Ok(Self { text: kept.text, file: kept.file, before, uid, deadline })
    }

    /// Goes on waiting where an earlier daemon ended; `file` is what the file holds.
    ///
    /// # Errors
    /// Why there is nothing to wait for although there was.
    pub(super) fn resume(
        state: &Path,
        file: (&str, &Config),
    ) -> Result<Option<(Self, Config)>, Lost> {
        let bytes = match fs::read(path(state)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let Kept { text, file: candidates, uid, deadline_ms, boot } =
            serde_json::from_slice(&bytes)?;
        // It was confirmed, and the daemon ended before it could forget it.
        if candidates == file.0 {
            return Ok(None);
        }
        if boot != clock::boot()? {
            return Err(Lost::Rebooted);
        }
        let deadline = Duration::from_millis(deadline_ms);
        if deadline <= clock::since_boot() {
            return Err(Lost::Over);
        }
        let config = Config::parse(&text)?;
        let before = (file.0.to_owned(), file.1.clone());
        Ok(Some((Self { text, file: candidates, before, uid, deadline }, config)))
    }

    /// Forgets what lies in the state directory, if anything does.
    pub(super) fn forget(state: &Path) {
        if let Err(error) = fs::remove_file(path(state))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the candidate's file stays: a weftd that is started before its time is over puts it in force");
        }
    }

    /// Returns how long it goes on waiting.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_sub(clock::since_boot())
    }

    pub(super) fn view(&self) -> View {
        View { seconds_left: self.left().as_secs_f64().ceil() as u64, uid: self.uid }
    }
}

fn path(state: &Path) -> PathBuf {
    state.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[switch.lab]\n";

    fn begin(state: &Path, patience: Duration) {
        Candidate::begin(state, (TEXT.into(), TEXT.into()), Default::default(), 0, patience)
            .unwrap();
    }

    fn resume(state: &Path, file: &str) -> Result<Option<(Candidate, Config)>, Lost> {
        Candidate::resume(state, (file, &Config::default()))
    }

    #[test]
    fn a_daemon_that_is_started_again_goes_on_waiting() {
        let state = tempfile::tempdir().unwrap();
        assert!(resume(state.path(), "").unwrap().is_none());
        begin(state.path(), Duration::from_secs(60));
        let (candidate, config) = resume(state.path(), "# file\n").unwrap().unwrap();
        assert_eq!((candidate.text.as_str(), candidate.before.0.as_str()), (TEXT, "# file\n"));
        assert!(config.switches.contains_key("lab"));
        assert!(candidate.left() <= Duration::from_secs(60));
        assert!((1..=60).contains(&candidate.view().seconds_left));
        Candidate::forget(state.path());
        assert!(resume(state.path(), "").unwrap().is_none());
    }

    #[test]
    fn what_was_confirmed_already_is_not_waited_for() {
        let state = tempfile::tempdir().unwrap();
        begin(state.path(), Duration::from_secs(60));
        assert!(resume(state.path(), TEXT).unwrap().is_none());
    }

    #[test]
    fn one_that_is_over_damaged_or_of_before_a_reboot_is_lost() {
        let state = tempfile::tempdir().unwrap();
        let lost = || resume(state.path(), "").map(|_| ()).unwrap_err();
        begin(state.path(), Duration::ZERO);
        assert!(matches!(lost(), Lost::Over));
        begin(state.path(), Duration::from_secs(60));
        let file = path(state.path());
        let kept = fs::read_to_string(&file).unwrap();
        fs::write(&file, kept.replace(&clock::boot().unwrap(), "another")).unwrap();
        assert!(matches!(lost(), Lost::Rebooted));
        fs::write(&file, kept.replace("[switch", "[swatch")).unwrap();
        assert!(matches!(lost(), Lost::Invalid(_)));
        for cut in 0..kept.len() {
            fs::write(&file, &kept[..cut]).unwrap();
            assert!(matches!(lost(), Lost::Damaged(_)), "{cut}");
        }
    }
}
