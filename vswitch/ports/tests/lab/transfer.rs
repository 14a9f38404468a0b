//! Bytes between the stacks of two hosts, compared at the far end.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Host, PATIENCE};

/// A TCP stream of known content from one host to another.
pub(crate) struct Transfer {
    client: JoinHandle<()>,
    server: JoinHandle<()>,
    deadline: Instant,
}

impl Transfer {
    /// Begins to send `bytes` bytes to an address of the server.
    pub(crate) fn begin(client: &Host, server: &Host, to: &str, bytes: usize) -> Self {
        let to: IpAddr = to.parse().unwrap();
        let listener = server.run(move || TcpListener::bind((to, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        let content = Arc::new(content_of(bytes));
        let sent = content.clone();
        let server = server.begin(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut received = 0;
            let mut buffer = vec![0; 1 << 16];
            loop {
                match stream.read(&mut buffer).unwrap() {
                    0 => break,
                    len => {
                        assert!(
                            content.get(received..received + len) == Some(&buffer[..len]),
                            "other bytes arrived"
                        );
                        received += len;
                    }
                }
            }
            assert_eq!(received, bytes);
        });
        let client = client.begin(move || {
            let mut stream = TcpStream::connect_timeout(&(to, port).into(), PATIENCE).unwrap();
            stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(&sent).unwrap();
        });
        Self { client, server, deadline: Instant::now() + 2 * PATIENCE }
    }

    /// Tells whether both ends are through, whatever came of it.
    pub(crate) fn is_over(&self) -> bool {
        assert!(Instant::now() < self.deadline, "the transfer stands still");
        self.client.is_finished() && self.server.is_finished()
    }

    /// Fails when a side failed.
    pub(crate) fn check(self) {
        self.client.join().expect("the client is content");
        self.server.join().expect("the server is content");
    }
}

/// Makes bytes that repeat themselves nowhere near the length of a segment or a super-frame.
fn content_of(bytes: usize) -> Vec<u8> {
    let period: Vec<u8> = (0..999_983_u32)
        .map(|position| position.wrapping_mul(0x9e37_79b9).to_be_bytes()[0])
        .collect();
    period.iter().copied().cycle().take(bytes).collect()
}
