//! The guest's end of QEMU's `-netdev stream`: a Unix socket, each frame behind its length in four bytes.

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use crate::{PATIENCE, Wire, until_some};

/// A guest's end of a stream port.
#[derive(Debug)]
pub struct StreamGuest {
    socket: UnixStream,
    pending: Vec<u8>,
}

impl StreamGuest {
    /// Connects to a port that listens.
    ///
    /// # Panics
    /// When nobody listens there within [`PATIENCE`].
    #[track_caller]
    pub fn connect(path: &Path) -> Self {
        let what = format!("somebody listens at {}", path.display());
        Self::from_socket(until_some(&what, || UnixStream::connect(path).ok()))
    }

    /// Waits for a port that connects.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    #[track_caller]
    pub fn accept(listener: &UnixListener) -> Self {
        listener.set_nonblocking(true).expect("a listener can be made non-blocking");
        let socket = until_some("the port connects", || listener.accept().ok()).0;
        socket.set_nonblocking(false).expect("a socket can be made blocking");
        Self::from_socket(socket)
    }

    fn from_socket(socket: UnixStream) -> Self {
        socket.set_write_timeout(Some(PATIENCE)).expect("a socket has timeouts");
        Self { socket, pending: Vec::new() }
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the switch has hung up.
    pub fn write_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Tells whether the switch hangs up before the deadline; frames that come first are dropped.
    pub fn is_hung_up(&mut self, deadline: Instant) -> bool {
        let mut chunk = [0; 65536];
        loop {
            let Some(left) = remaining(deadline) else { return false };
            self.socket.set_read_timeout(Some(left)).expect("a socket has timeouts");
            match self.socket.read(&mut chunk) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => return false,
                Err(_) => return true,
            }
        }
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let len = u32::from_be_bytes(*self.pending.first_chunk()?) as usize;
        let frame = self.pending.get(4..4 + len)?.to_vec();
        self.pending.drain(..4 + len);
        Some(frame)
    }
}

impl Wire for StreamGuest {
    #[track_caller]
    fn send(&mut self, frame: &[u8]) {
        let len = u32::try_from(frame.len()).expect("a frame is shorter than 4 GiB");
        let record = [&len.to_be_bytes(), frame].concat();
        if let Err(error) = self.socket.write_all(&record) {
            panic!("the stream takes no frame of {} bytes: {error}", frame.len());
        }
    }

    fn receive(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        let mut chunk = [0; 65536];
        loop {
            if let Some(frame) = self.take() {
                return Some(frame);
            }
            self.socket
                .set_read_timeout(Some(remaining(deadline)?))
                .expect("a socket has timeouts");
            match self.socket.read(&mut chunk) {
                Ok(0) => panic!("the switch hung up"),
                Ok(len) => self.pending.extend_from_slice(&chunk[..len]),
                Err(error) if is_timeout(&error) => {}
                Err(error) => panic!("the stream broke: {error}"),
            }
        }
    }
}

fn remaining(deadline: Instant) -> Option<Duration> {
    deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
