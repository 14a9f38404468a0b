//! What crosses the underlay between sites, seen from the path itself: a card on its bridge, which hands out a copy of
//! every frame and can send any in anybody's name.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::{
    Namespace, Nic, Site, Wire,
    frame::{self, Frame, Mac},
};

/// Frames that wait for the test at most.
const QUEUE: u32 = 20_000;
/// The port of what proves that everything before it has been seen; nobody listens there.
const MARKER_PORT: u16 = 9;

/// A card on the path.
#[derive(Debug)]
pub struct Watch {
    nic: Nic,
    marks: u32,
}

/// A UDP datagram on the path.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// The MAC addresses of its sender and its receiver.
    pub link: (Mac, Mac),
    /// Who sent it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Watch {
    /// Puts a card onto the bridge of a path, which floods everything from now on.
    #[track_caller]
    pub(crate) fn open(path: &Namespace) -> Self {
        path.run("ip link set bridge type bridge ageing_time 0 fdb_flush");
        let nic = Nic::open(path, "watch");
        path.run(&format!("ip link set watch txqueuelen {QUEUE} mtu 65000 master bridge up"));
        Self { nic, marks: 0 }
    }

    /// Returns every frame since the last time, up to all that a site has sent before this call.
    ///
    /// # Panics
    /// When the site's own word does not come.
    #[track_caller]
    pub fn seen(&mut self, from: &Site) -> Vec<Vec<u8>> {
        self.marks += 1;
        let mark = format!("weft-watch {} {}", from.name(), self.marks);
        let deadline = Instant::now() + crate::PATIENCE;
        let mut frames = Vec::new();
        loop {
            say(from, mark.as_bytes());
            let round = Instant::now() + Duration::from_millis(200);
            while let Some(frame) = self.nic.receive(round) {
                if contains(&frame, mark.as_bytes()) {
                    return frames;
                }
                frames.push(frame);
            }
            assert!(Instant::now() < deadline, "{mark} never crossed the path");
        }
    }

    /// Returns the next datagram that is wanted; what comes before it is dropped.
    ///
    /// # Panics
    /// When none comes.
    #[track_caller]
    pub fn expect(&mut self, what: &str, wanted: impl Fn(&Datagram) -> bool) -> Datagram {
        let frame =
            self.nic.expect(what, &|frame| Datagram::read(frame).is_some_and(|it| wanted(&it)));
        Datagram::read(&frame).expect("it was read before")
    }

    /// Sends a frame as it stands.
    #[track_caller]
    pub fn send_frame(&mut self, frame: &[u8]) {
        self.nic.send(frame);
    }

    /// Sends a datagram in its sender's name.
    #[track_caller]
    pub fn send(&mut self, datagram: &Datagram) {
        self.nic.send(&datagram.frame());
    }
}

impl Datagram {
    /// Reads the datagram of a frame; `None` where it carries none, or a part of one.
    pub fn read(frame: &[u8]) -> Option<Self> {
        if is_fragment(frame) {
            return None;
        }
        let ip = frame::verified_ip(frame).filter(|ip| ip.protocol == frame::UDP)?;
        let port = |at: usize| u16::from_be_bytes([ip.payload[at], ip.payload[at + 1]]);
        Some(Self {
            link: (*frame[6..].first_chunk()?, *frame.first_chunk()?),
            from: SocketAddr::new(ip.source, port(0)),
            to: SocketAddr::new(ip.destination, port(2)),
            payload: ip.payload[8..].to_vec(),
        })
    }

    /// Returns the frame that carries it.
    pub fn frame(&self) -> Vec<u8> {
        let (source, destination) = self.link;
        Frame::new(source, destination).datagram(self.from, self.to, &self.payload).bytes()
    }
}

/// Tells whether a frame carries a part of an IP packet.
pub fn is_fragment(frame: &[u8]) -> bool {
    match frame::behind_tags(frame) {
        // More fragments, or an offset.
        Some((frame::IPV4, packet)) => packet[6] & 0x3f != 0 || packet[7] != 0,
        Some((frame::IPV6, packet)) => packet[6] == 44,
        _ => false,
    }
}

/// Tells whether bytes contain others.
pub fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Has a site's own stack say something to all.
#[track_caller]
fn say(from: &Site, words: &[u8]) {
    let address = from.address();
    let to: IpAddr = match address {
        IpAddr::V4(_) => [10, 99, 0, 255].into(),
        IpAddr::V6(_) => [0xff05, 0, 0, 0, 0, 0, 0, 1].into(),
    };
    from.space().enter(|| {
        let socket = UdpSocket::bind((address, 0)).expect("a site has its address");
        socket.set_broadcast(true).expect("a socket may send to all");
        socket.send_to(words, (to, MARKER_PORT)).expect("the underlay takes a datagram");
    });
}
