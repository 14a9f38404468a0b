//! The other side of vhost-user, played by a test: a front-end that sends whatever messages it is told, and a driver
//! that lays out its rings as it likes.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    sync::mpsc::{Receiver, channel},
    thread::JoinHandle,
};

use weft_ports::{
    Opened,
    vhost::{self, Ended, Line, News},
};

use super::memory::{Memory, REGION, REGIONS};

/// Entries of a test's rings.
pub(crate) const SIZE: u16 = 256;
/// Where a ring's parts begin, from the place of the ring.
const AVAIL: u64 = 0x2000;
const USED: u64 = 0x3000;
/// From one ring to the next.
const RING: u64 = 0x5000;
/// Where indirect tables and buffers begin.
const TABLES: u64 = 0x10_0000;
/// Where the buffers of all rings begin in each region.
const BUFFERS: u64 = 0x20_0000;
/// From one ring's buffers to the next one's: small buffers, then large ones.
const AREA: u64 = 0x10_0000;
/// Bytes of a small buffer.
const SMALL: u64 = 0x1000;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// Feature bits that tests speak of.
pub(crate) mod feature {
    pub(crate) const GUEST_CSUM: u64 = 1 << 1;
    pub(crate) const GUEST_TSO4: u64 = 1 << 7;
    pub(crate) const MRG_RXBUF: u64 = 1 << 15;
    pub(crate) const LOG_ALL: u64 = 1 << 26;
    pub(crate) const INDIRECT: u64 = 1 << 28;
    pub(crate) const EVENT_IDX: u64 = 1 << 29;
    pub(crate) const PROTOCOL: u64 = 1 << 30;
    pub(crate) const VERSION_1: u64 = 1 << 32;
    pub(crate) const IN_ORDER: u64 = 1 << 35;
}

/// A front-end with its guest.
pub(crate) struct Driver {
    pub(crate) socket: UnixStream,
    pub(crate) memory: Memory,
    pub(crate) features: u64,
    pub(crate) rings: Vec<DriverRing>,
}

/// The driver's side of one ring.
pub(crate) struct DriverRing {
    place: u64,
    pub(crate) avail: u16,
    pub(crate) used: u16,
    /// The descriptor that the next buffer begins with.
    next: u16,
    /// Where the buffer of each descriptor is.
    buffers: Vec<u64>,
    pub(crate) kick: File,
    pub(crate) call: File,
}

/// How a buffer is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) pieces: usize,
    pub(crate) indirect: bool,
}

/// The port's side, as a daemon would hold it.
pub(crate) struct Port {
    pub(crate) opened: Opened,
    pub(crate) line: Option<Line>,
    pub(crate) news: Receiver<String>,
    session: Option<JoinHandle<Ended>>,
}

impl Port {
    /// Waits until the session has ended.
    pub(crate) fn ended(&mut self) -> Ended {
        self.session.take().expect("it ends once").join().unwrap()
    }
}

/// Connects a front-end with fresh memory to a port.
pub(crate) fn connect(pairs: usize, features: u64) -> (Port, Driver) {
    connect_with(Memory::new(), pairs, features)
}

pub(crate) fn connect_with(memory: Memory, pairs: usize, features: u64) -> (Port, Driver) {
    let (near, far) = UnixStream::pair().unwrap();
    let vhost::Attached { opened, session, line } = vhost::attach(near.into(), pairs).unwrap();
    let (tell, news) = channel();
    let session = std::thread::spawn(move || {
        session.run(|news| {
            let text = match news {
                News::Message => return,
                News::Refused(reason) => reason.to_string(),
                News::Broken { ring, reason } => format!("ring {ring}: {reason}"),
            };
            let _ = tell.send(text);
        })
    });
    let rings = (0..2 * pairs as u64)
        .map(|ring| DriverRing {
            place: ring * RING,
            avail: 0,
            used: 0,
            next: 0,
            buffers: vec![0; SIZE.into()],
            kick: event(),
            call: event(),
        })
        .collect();
    let driver = Driver { socket: far, memory, features, rings };
    (Port { opened, line: Some(line), news, session: Some(session) }, driver)
}

/// Makes an event counter.
pub(crate) fn event() -> File {
    // SAFETY: the call takes no memory; the descriptor is new.
    unsafe { File::from_raw_fd(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)) }
}

/// Tells whether an event was signalled since this was last asked.
pub(crate) fn was_signalled(mut event: &File) -> bool {
    event.read(&mut [0; 8]).is_ok()
}

impl Driver {
    /// Sends a message, with a reply wanted or not.
    pub(crate) fn send(&mut self, code: u32, flags: u32, payload: &[u8], fds: &[RawFd]) {
        let mut bytes = Vec::new();
        for value in [code, 1 | flags, payload.len() as u32] {
            bytes.extend(value.to_ne_bytes());
        }
        bytes.extend(payload);
        self.send_raw(&bytes, fds).unwrap();
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
        let mut control = [0_u64; 128];
        let mut piece =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: all zero is a value; everything that the kernel reads lives until the call is over, and the control
        // block has room for the descriptors of every test.
        let sent = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut piece;
            message.msg_iovlen = 1;
            if !fds.is_empty() {
                let len = size_of_val(fds) as u32;
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = libc::CMSG_SPACE(len) as _;
                let first = libc::CMSG_FIRSTHDR(&raw const message);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(len) as _;
                let data = libc::CMSG_DATA(first).cast::<RawFd>();
                std::ptr::copy_nonoverlapping(fds.as_ptr(), data, fds.len());
            }
            libc::sendmsg(self.socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for the reply to a request; returns its payload.
    pub(crate) fn reply(&mut self, code: u32) -> Vec<u8> {
        let mut header = [0; 12];
        self.socket.read_exact(&mut header).unwrap();
        let number = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!((number(0), number(4)), (code, 5), "the reply to another request");
        let mut payload = vec![0; number(8) as usize];
        self.socket.read_exact(&mut payload).unwrap();
        payload
    }

    /// Waits for the reply to a request that brings a descriptor.
    pub(crate) fn reply_with_fd(&mut self, code: u32) -> (Vec<u8>, File) {
        let mut bytes = [0_u8; 36];
        let mut control = [0_u64; 8];
        let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: all zero is a value; the kernel writes into blocks that live until the call is over, and the first
        // control message is the one descriptor.
        let (read, file) = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut piece;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control) as _;
            let read =
                libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC);
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            assert!(!first.is_null(), "a descriptor comes with the reply");
            let fd = libc::CMSG_DATA(first).cast::<RawFd>().read_unaligned();
            (read, File::from_raw_fd(fd))
        };
        assert_eq!(bytes[0], code as u8);
        (bytes[12..read as usize].to_vec(), file)
    }

    pub(crate) fn word(&mut self, code: u32, word: u64) {
        self.send(code, 0, &word.to_ne_bytes(), &[]);
    }

    pub(crate) fn ask_word(&mut self, code: u32) -> u64 {
        self.send(code, 0, &[], &[]);
        u64::from_ne_bytes(self.reply(code).try_into().unwrap())
    }

    /// Sends a request and returns what the port says became of it.
    pub(crate) fn acknowledged(&mut self, code: u32, payload: &[u8], fds: &[RawFd]) -> u64 {
        self.send(code, 8, payload, fds);
        u64::from_ne_bytes(self.reply(code).try_into().unwrap())
    }

    /// Waits until everything that was sent has been carried out.
    pub(crate) fn sync(&mut self) {
        self.ask_word(1);
    }

    pub(crate) fn state(&mut self, code: u32, ring: usize, value: u32) {
        self.send(code, 0, &pair(ring as u32, value), &[]);
    }

    /// Describes the whole memory.
    pub(crate) fn table(&self) -> Vec<u8> {
        let mut table = pair(2, 0);
        for guest in REGIONS {
            table.extend(self.region(guest, REGION));
        }
        table
    }

    /// Describes a region.
    pub(crate) fn region(&self, guest: u64, size: u64) -> Vec<u8> {
        let user = self.memory.user(guest);
        [guest, size, user, Memory::offset(guest)]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect()
    }

    /// Says where a ring lies.
    pub(crate) fn addresses(&self, ring: usize, flags: u32) -> Vec<u8> {
        let place = self.rings[ring].place;
        let mut payload = pair(ring as u32, flags);
        for part in [0, USED, AVAIL] {
            payload.extend(self.memory.user(place + part).to_ne_bytes());
        }
        payload.extend((place + USED).to_ne_bytes());
        payload
    }

    /// Agrees on features and memory.
    pub(crate) fn greet(&mut self) {
        self.send(3, 0, &[], &[]);
        assert_eq!(self.ask_word(1) & self.features, self.features, "not all is offered");
        if self.features & feature::PROTOCOL != 0 {
            let offered = self.ask_word(15);
            self.word(16, offered);
        }
        self.word(2, self.features);
        let fd = self.memory.file.as_raw_fd();
        let table = self.table();
        self.send(5, 0, &table, &[fd, fd]);
    }

    /// Goes on where an earlier connection of the same guest ended.
    pub(crate) fn go_on_from(&mut self, earlier: &Self) {
        for (ring, earlier) in self.rings.iter_mut().zip(&earlier.rings) {
            (ring.avail, ring.used, ring.next) = (earlier.avail, earlier.used, earlier.next);
            ring.buffers.clone_from(&earlier.buffers);
        }
    }

    /// Starts a ring where the driver stands.
    pub(crate) fn start_ring(&mut self, ring: usize) {
        self.state(8, ring, SIZE.into());
        let base = self.rings[ring].used;
        self.state(10, ring, base.into());
        let addresses = self.addresses(ring, 0);
        self.send(9, 0, &addresses, &[]);
        let (call, kick) = (self.rings[ring].call.as_raw_fd(), self.rings[ring].kick.as_raw_fd());
        self.send(13, 0, &(ring as u64).to_ne_bytes(), &[call]);
        self.send(12, 0, &(ring as u64).to_ne_bytes(), &[kick]);
    }

    /// Starts everything, as a front-end does that keeps to the order of the specification.
    pub(crate) fn start(&mut self) {
        self.greet();
        for ring in 0..self.rings.len() {
            self.start_ring(ring);
            if self.features & feature::PROTOCOL != 0 {
                self.state(18, ring, 1);
            }
        }
        self.sync();
        for ring in &self.rings {
            was_signalled(&ring.call);
        }
    }

    /// Writes a descriptor.
    pub(crate) fn descriptor(&self, at: u64, address: u64, len: u32, flags: u16, next: u16) {
        let mut entry = address.to_le_bytes().to_vec();
        entry.extend(len.to_le_bytes());
        entry.extend(flags.to_le_bytes());
        entry.extend(next.to_le_bytes());
        self.memory.write(at, &entry);
    }

    /// Returns the place of a descriptor in its ring.
    pub(crate) fn descriptor_place(&self, ring: usize, number: u16) -> u64 {
        self.rings[ring].place + u64::from(number) * 16
    }

    pub(crate) fn available_place(&self, ring: usize) -> u64 {
        self.rings[ring].place + AVAIL
    }

    pub(crate) fn used_place(&self, ring: usize) -> u64 {
        self.rings[ring].place + USED
    }

    /// Returns a place for a buffer; one in two lies in each region.
    fn buffer_place(&self, ring: usize, number: u16, len: usize) -> u64 {
        let begin = REGIONS[usize::from(number % 2)] + BUFFERS + ring as u64 * AREA;
        if len <= SMALL as usize {
            begin + u64::from(number / 2) * SMALL
        } else {
            begin + AREA / 2 + u64::from(number % 8 / 2) * (AREA / 8)
        }
    }

    /// Makes one buffer available without saying so, laid out in a shape; returns where it is.
    pub(crate) fn put(&mut self, ring: usize, len: usize, flags: u16, shape: Shape) -> u64 {
        let number = self.rings[ring].next;
        let place = self.buffer_place(ring, number, len);
        let table = TABLES + ring as u64 * 0x4000 + u64::from(number % 16) * 0x400;
        let first = if shape.indirect { 0 } else { number };
        let step = len.div_ceil(shape.pieces).max(1);
        for piece in 0..shape.pieces {
            let begin = (piece * step).min(len);
            let bytes = (len - begin).min(step) as u32;
            let this = (first + piece as u16) % SIZE;
            let at = if shape.indirect {
                table + u64::from(this) * 16
            } else {
                self.descriptor_place(ring, this)
            };
            let more = if piece + 1 == shape.pieces { 0 } else { NEXT };
            self.descriptor(at, place + begin as u64, bytes, flags | more, (this + 1) % SIZE);
        }
        if shape.indirect {
            let at = self.descriptor_place(ring, number);
            self.descriptor(at, table, 16 * shape.pieces as u32, INDIRECT, 0);
        }
        self.make_available(ring, number);
        let taken = if shape.indirect { 1 } else { shape.pieces as u16 };
        self.rings[ring].buffers[usize::from(number)] = place;
        self.rings[ring].next = (number + taken) % SIZE;
        place
    }

    /// Writes a head into the available ring without saying so.
    pub(crate) fn make_available(&mut self, ring: usize, head: u16) {
        let entry = u64::from(self.rings[ring].avail % SIZE);
        self.memory.write16(self.available_place(ring) + 4 + 2 * entry, head);
        self.rings[ring].avail = self.rings[ring].avail.wrapping_add(1);
    }

    /// Shows the port what was put, and kicks when it wants that.
    pub(crate) fn show(&mut self, ring: usize) -> bool {
        let at = self.available_place(ring) + 2;
        let (old, new) = (self.memory.read16(at), self.rings[ring].avail);
        self.memory.write16(at, new);
        let used = self.used_place(ring);
        let wanted = if self.features & feature::EVENT_IDX != 0 {
            let event = self.memory.read16(used + 4 + 8 * u64::from(SIZE));
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.memory.read16(used) & 1 == 0
        };
        if wanted {
            self.kick(ring);
        }
        wanted
    }

    pub(crate) fn kick(&mut self, ring: usize) {
        self.rings[ring].kick.write_all(&1_u64.to_ne_bytes()).unwrap();
    }

    /// Takes what was given back: head and written bytes.
    pub(crate) fn reap(&mut self, ring: usize) -> Vec<(u32, u32)> {
        let place = self.used_place(ring);
        let end = self.memory.read16(place + 2);
        let mut used = Vec::new();
        while self.rings[ring].used != end {
            let entry = place + 4 + 8 * u64::from(self.rings[ring].used % SIZE);
            used.push((self.memory.read32(entry), self.memory.read32(entry + 4)));
            self.rings[ring].used = self.rings[ring].used.wrapping_add(1);
        }
        used
    }

    /// Has a frame sent by the guest.
    pub(crate) fn send_frame(&mut self, pair: usize, header: &[u8], frame: &[u8], shape: Shape) {
        let ring = 2 * pair + 1;
        let place = self.put(ring, header.len() + frame.len(), 0, shape);
        self.memory.write(place, header);
        self.memory.write(place + header.len() as u64, frame);
        self.show(ring);
    }

    /// Offers receive buffers.
    pub(crate) fn offer(&mut self, pair: usize, buffers: usize, len: usize) {
        for _ in 0..buffers {
            self.put(2 * pair, len, WRITE, Shape { pieces: 1, indirect: false });
        }
        self.show(2 * pair);
    }

    /// Takes the frames that came, with their headers.
    pub(crate) fn received(&mut self, pair: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let header_len = self.header_len();
        let mut frames = Vec::new();
        let mut used = self.reap(2 * pair).into_iter();
        while let Some((head, len)) = used.next() {
            let mut bytes = self.written(2 * pair, head, len);
            let rest = bytes.split_off(header_len);
            let merged =
                if header_len == 12 { u16::from_le_bytes([bytes[10], bytes[11]]) } else { 1 };
            let mut frame = rest;
            for _ in 1..merged {
                let (head, len) = used.next().expect("all buffers of a frame are shown together");
                frame.extend(self.written(2 * pair, head, len));
            }
            frames.push((bytes, frame));
        }
        frames
    }

    fn written(&self, ring: usize, head: u32, len: u32) -> Vec<u8> {
        self.memory.read(self.rings[ring].buffers[head as usize], len as usize)
    }

    pub(crate) fn header_len(&self) -> usize {
        let long = feature::VERSION_1 | feature::MRG_RXBUF;
        if self.features & long != 0 { 12 } else { 10 }
    }

    /// Stops a ring; returns where it stands.
    pub(crate) fn stop_ring(&mut self, ring: usize) -> u32 {
        self.state(11, ring, 0);
        let reply = self.reply(11);
        u32::from_ne_bytes(reply[4..8].try_into().unwrap())
    }
}

/// Two numbers, as most messages begin.
pub(crate) fn pair(first: u32, second: u32) -> Vec<u8> {
    [first.to_ne_bytes(), second.to_ne_bytes()].concat()
}

/// Keeps a descriptor for a message.
pub(crate) fn raw(fd: &OwnedFd) -> RawFd {
    fd.as_raw_fd()
}
