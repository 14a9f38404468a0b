//! An answer that goes on for as long as somebody listens.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::SendRequest,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time,
};

use super::{Client, Failure, Request, begin, broken, read_body, refusal_of};

/// The header that says which capture an answer is.
const NUMBER: &str = "weft-capture";

/// What comes next.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// The user wants it to end.
    Interrupted,
    /// No more.
    End,
}

/// An answer that goes on.
pub(crate) struct Stream {
    runtime: Runtime,
    body: Incoming,
    number: Option<String>,
    interrupt: Signal,
    terminate: Signal,
    /// The connection ends with it.
    #[expect(dead_code, reason = "held for what its end does")]
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Sends a request whose answer goes on. From here on the user's signals are told of rather than obeyed.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(crate) fn stream(&self, request: Request) -> Result<Stream, Failure> {
        let runtime = super::runtime()?;
        let (sender, response) = runtime.block_on(async {
            let stream = self.connect().await?;
            match time::timeout(self.limits.answer, begin(stream, request)).await {
                Ok(begun) => begun,
                Err(_) => Err(self.too_slow()),
            }
        })?;
        let status = response.status();
        let number = response.headers().get(NUMBER).and_then(|value| value.to_str().ok());
        let number = number.map(str::to_owned);
        let body = response.into_body();
        if !status.is_success() {
            let body = runtime.block_on(read_body(body, self.limits.body))?;
            return Err(refusal_of(status, &body));
        }
        let (interrupt, terminate) = runtime
            .block_on(async {
                Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
            })
            .map_err(|error: std::io::Error| {
                Failure::failed("io", format!("signals cannot be waited for: {error}"))
            })?;
        Ok(Stream { runtime, body, number, interrupt, terminate, sender })
    }
}

impl Stream {
    /// Returns the number of the capture.
    pub(crate) fn number(&self) -> Option<&str> {
        self.number.as_deref()
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// When the daemon hung up before the end.
    pub(crate) fn next(&mut self) -> Result<Piece, Failure> {
        let Self { runtime, body, interrupt, terminate, .. } = self;
        runtime.block_on(async {
            loop {
                let frame = tokio::select! {
                    biased;
                    _ = interrupt.recv() => return Ok(Piece::Interrupted),
                    _ = terminate.recv() => return Ok(Piece::Interrupted),
                    frame = body.frame() => frame,
                };
                match frame {
                    None => return Ok(Piece::End),
                    Some(Err(error)) => return Err(broken(&error)),
                    Some(Ok(frame)) => {
                        if let Ok(bytes) = frame.into_data() {
                            return Ok(Piece::Bytes(bytes));
                        }
                    }
                }
            }
        })
    }
}
