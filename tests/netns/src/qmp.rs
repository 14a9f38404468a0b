//! QEMU's own control socket, for what only a VMM can do to a guest. QEMU `docs/interop/qmp-spec.rst`.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
};

use serde_json::{Value, json};

use crate::{PATIENCE, until_some};

/// A conversation with QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    socket: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects to a QEMU that listens, or soon does.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub(crate) fn connect(path: &Path) -> Self {
        let socket = until_some("QEMU opens its control socket", || UnixStream::connect(path).ok());
        socket.set_read_timeout(Some(PATIENCE)).expect("a read can have an end");
        let mut qmp = Self { socket: BufReader::new(socket) };
        qmp.message();
        qmp.run("qmp_capabilities", &json!({}));
        qmp
    }

    /// Runs a command that must succeed, and returns its result.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub(crate) fn run(&mut self, command: &str, arguments: &Value) -> Value {
        let line = json!({"execute": command, "arguments": arguments});
        writeln!(self.socket.get_mut(), "{line}").expect("QEMU takes a command");
        loop {
            let mut answer = self.message();
            if answer.get("event").is_none() {
                assert!(answer.get("error").is_none(), "{command}: {answer}");
                return answer["return"].take();
            }
        }
    }

    #[track_caller]
    fn message(&mut self) -> Value {
        let mut line = String::new();
        self.socket.read_line(&mut line).expect("QEMU answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("QEMU said `{line}`: {error}"))
    }
}
