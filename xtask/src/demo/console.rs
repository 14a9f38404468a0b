//! A guest's serial console: runs a command line in the guest and returns what it printed.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::say;

const END: &str = "::ended ";
const TICK: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_secs(2);

/// An open console with a shell at its other end that does not echo.
#[derive(Debug)]
pub(crate) struct Console {
    socket: UnixStream,
}

/// What a command line came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) output: String,
}

impl Console {
    /// Connects to the socket that QEMU listens on.
    pub(crate) fn connect(path: &Path) -> Result<Self> {
        let socket =
            UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
        socket.set_read_timeout(Some(TICK))?;
        Ok(Self { socket })
    }

    /// Runs a command line and waits for its end.
    pub(crate) fn run(&mut self, line: &str, limit: Duration) -> Result<Outcome> {
        self.socket.write_all(format!("{line}\necho \"{END}$?\"\n").as_bytes())?;
        let (begin, mut text) = (say::now(), String::new());
        let mut bytes = [0; 4096];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => bail!("the guest's console is closed"),
                Ok(length) => text.push_str(&String::from_utf8_lossy(&bytes[..length])),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("read the guest's console"),
            }
            if let Some(outcome) = outcome_in(&text) {
                return Ok(outcome);
            }
            if begin.elapsed() > limit {
                bail!(
                    "`{line}` did not end within {} s in the guest; it said: {text}",
                    limit.as_secs()
                );
            }
        }
    }
}

/// The outcome in what has arrived so far, once the line that tells the end is whole.
fn outcome_in(text: &str) -> Option<Outcome> {
    let (before, after) = text.split_once(END)?;
    let (code, _) = after.split_once('\n')?;
    Some(Outcome { success: code.trim() == "0", output: before.replace('\r', "") })
}

/// Joins the terminal to a guest's console until the console ends, or the input has and the guest is silent.
///
/// # Errors
/// When the console cannot be reached.
pub(crate) fn attach(path: &Path) -> Result<()> {
    let Console { mut socket } = Console::connect(path)?;
    let mut to = socket.try_clone()?;
    let typed_all = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&typed_all);
    thread::Builder::new().name("keyboard".into()).spawn(move || {
        // A console that is gone ends the session below; there is nobody else to tell.
        let _ = std::io::copy(&mut std::io::stdin(), &mut to);
        ended.store(true, Ordering::Release);
    })?;
    let (mut bytes, mut heard) = ([0; 4096], say::now());
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                std::io::stdout().write_all(&bytes[..length])?;
                std::io::stdout().flush()?;
                heard = say::now();
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if typed_all.load(Ordering::Acquire) && heard.elapsed() > SILENCE {
                    return Ok(());
                }
            }
            Err(error) => return Err(error).context("read the guest's console"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_waits_for_the_whole_line() {
        assert!(outcome_in("PING\r\n::ended 0").is_none());
        let outcome = outcome_in("PING\r\n::ended 1\r\n").unwrap();
        assert!(!outcome.success);
        assert_eq!(outcome.output, "PING\n");
    }
}
