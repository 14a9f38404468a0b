//! A terminal that a command believes to be its user's.

use std::{
    ffi::OsStr,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::ffi::OsStrExt,
    process::{Command, ExitStatus, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// What a terminal has shown.
#[derive(Debug)]
pub struct Shown {
    /// All of it, lines as the command has written them.
    pub text: String,
    /// How the command has ended.
    pub status: ExitStatus,
}

/// Runs a command on a terminal: its input, output and errors.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn on_terminal(command: Command) -> Shown {
    typed_to(command, "")
}

/// Runs a command on a terminal as [`on_terminal`] does, at which somebody types ahead.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn typed_to(mut command: Command, text: &str) -> Shown {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("the kernel has terminals");
    grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal is its maker's");
    let name = ptsname(&ours, Vec::new()).expect("a terminal has a name");
    let theirs = OpenOptions::new().read(true).write(true).open(OsStr::from_bytes(name.as_bytes()));
    let theirs = theirs.expect("a terminal can be opened");
    let end = || Stdio::from(theirs.try_clone().expect("a file can be cloned"));
    command.stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().expect("the command can be started");
    // It ends for the reader when nobody has the other end any more.
    drop((command, theirs));
    let (mut bytes, mut screen) = (Vec::new(), File::from(ours));
    screen.write_all(text.as_bytes()).expect("a terminal takes a few characters");
    let mut some = [0; 4096];
    loop {
        match screen.read(&mut some) {
            Ok(0) => break,
            Ok(len) => bytes.extend(&some[..len]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Linux says EIO of a terminal that nobody writes to any more.
            Err(_) => break,
        }
    }
    let status = child.wait().expect("the command ends");
    Shown { text: String::from_utf8_lossy(&bytes).replace("\r\n", "\n"), status }
}
