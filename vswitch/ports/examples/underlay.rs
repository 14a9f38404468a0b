//! What the underlay carries without sealing: TCP super-frames are cut, laid out as records, sent over a veth pair between
//! two namespaces, received, merged. Makes its namespaces itself and needs root.
//! `underlay [kernel|none] [veth|cut|gro] [SECONDS]`

#![allow(clippy::disallowed_methods, reason = "an example measures by the real clock")]

use std::{
    io,
    net::SocketAddr,
    os::fd::AsRawFd,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use weft_core::DropReason;
use weft_offload::{Fit, VnetHeader, ecn::Codepoint};
use weft_ports::{
    Burst, Job, Scratch, Tally,
    udp::{self, Batch, Destination, Segmentation, Socket},
};
use weft_vlan::{Tags, Tci, Tpid, WireTag};
use zerocopy::{FromBytes, IntoBytes};

const PORT: u16 = 51_900;
const MTU: usize = 1500;
/// Header of a record, kind and padding; what a bundle says of a frame; the tag.
const RECORD: usize = 16 + 2;
const BUNDLE: usize = 4 + 5;
const SEAL: usize = 16;
const FRONT: usize = RECORD + BUNDLE;
const TAG: WireTag = WireTag::new(Tpid::Dot1Q, Tci::from_bits(10));
const MSS: u16 = 1448;
const PAYLOAD: usize = 45 * MSS as usize;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize| arguments.get(at).map_or("", String::as_str);
    let segmentation = match word(0) {
        "" | "kernel" => Segmentation::Kernel,
        "none" => Segmentation::None,
        _ => return usage(),
    };
    let seconds = if word(2).is_empty() { Ok(3) } else { word(2).parse() };
    let (Ok(seconds), "" | "veth" | "cut" | "gro") = (seconds, word(1)) else { return usage() };
    match run(segmentation, word(1), Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("underlay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: underlay [kernel|none] [veth|cut|gro] [SECONDS]");
    ExitCode::from(2)
}

fn run(segmentation: Segmentation, underlay: &str, time: Duration) -> Outcome<()> {
    let features = match underlay {
        "cut" => "tx-udp-segmentation off",
        "gro" => "tx-udp-segmentation off tso off gro on",
        _ => "",
    };
    enter_namespace()?;
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    let (tell, told) = channel();
    let (go, gone) = channel();
    let far = thread::Builder::new().spawn(move || {
        enter_namespace()?;
        // SAFETY: the call takes no memory.
        tell.send(unsafe { libc::gettid() })?;
        gone.recv()?;
        set_up("u1", [10, 9, 0, 2], features)?;
        let socket = bind([10, 9, 0, 2], segmentation)?;
        tell.send(0)?;
        receive(&socket, &ended)
    })?;
    command("ip", &format!("link add u0 type veth peer name u1 netns {}", told.recv()?))?;
    set_up("u0", [10, 9, 0, 1], features)?;
    go.send(())?;
    told.recv()?;
    let socket = bind([10, 9, 0, 1], segmentation)?;
    let sent = send(&socket, SocketAddr::from(([10, 9, 0, 2], PORT)), time)?;
    over.store(true, Ordering::Relaxed);
    let received = far.join().map_err(|_| "the receiver panicked")??;
    let gigabits = |bytes: u64| bytes as f64 * 8.0 / 1e9 / time.as_secs_f64();
    println!(
        "sent {:.1} Gb/s, {:.2} CPU s/GB; received {:.1} Gb/s in frames of {} bytes, {:.2} CPU s/GB",
        gigabits(sent.bytes),
        sent.cpu / (sent.bytes as f64 / 1e9),
        gigabits(received.bytes),
        received.bytes / received.frames.max(1),
        received.cpu / (received.bytes as f64 / 1e9),
    );
    println!("refused on the way out: {:?}; lost at the socket: {}", sent.drops, socket.lost()?);
    Ok(())
}

/// What one side did.
struct Done {
    frames: u64,
    bytes: u64,
    cpu: f64,
    drops: Vec<(DropReason, u64)>,
}

fn send(socket: &Socket, to: SocketAddr, time: Duration) -> Outcome<Done> {
    let frame = super_frame();
    let vnet = VnetHeader {
        flags: VnetHeader::NEEDS_CSUM,
        gso_type: VnetHeader::GSO_TCPV4,
        hdr_len: 66.into(),
        gso_size: MSS.into(),
        csum_start: 34.into(),
        csum_offset: 16.into(),
    };
    let mut scratch = Scratch::new();
    let mut sender = socket.sender();
    let mut to = Destination::new(to, 0);
    let mut tally = Tally::default();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let mut builder = scratch.builder();
        builder.push(&frame, Some(TAG), Some(&vnet));
        builder.push(&frame, Some(TAG), Some(&vnet));
        let burst = builder.finish();
        let mut batch = sender.batch(&mut to, &mut tally);
        for frame in 0..burst.frames().len() as u16 {
            lay_out(&burst, &Job { frame, tags: Tags::NONE }, &mut batch);
        }
        batch.send();
    }
    Ok(Done { frames: tally.frames, bytes: tally.bytes, cpu: cpu(), drops: tally.drops })
}

/// Cuts a frame to what a record takes and lays the records out.
fn lay_out(burst: &Burst<'_>, job: &Job, batch: &mut Batch<'_>) {
    // A whole record in a datagram of the MTU, padded to 16 bytes behind its header.
    let room = (MTU - 28 - SEAL - 16) / 16 * 16 - 2 - BUNDLE;
    let mut reader = burst.reader(job);
    let offload = burst.frames()[usize::from(job.frame)].head.offload().unwrap_or_default();
    let Fit::Pieces(mut cut) =
        Fit::of(reader.front(), reader.len(), offload, job.tags.wire_len(), room)
    else {
        return batch.drop_frame(DropReason::Oversize);
    };
    let len = reader.len();
    let mut headers_passed = false;
    while let Some(piece) = cut.next() {
        if !headers_passed {
            reader.skip(piece.headers.len());
            headers_passed = true;
        }
        let inner = VnetHeader::LEN + piece.headers.len() + piece.payload;
        let padded = (2 + BUNDLE + inner).next_multiple_of(16);
        let record = batch.room(16 + padded + SEAL);
        record[0] = 4;
        record[RECORD + 4..FRONT - 1].copy_from_slice(&(inner as u32).to_le_bytes());
        let (vnet, rest) = record[FRONT..].split_at_mut(VnetHeader::LEN);
        vnet.copy_from_slice(piece.vnet.as_bytes());
        let (headers, rest) = rest.split_at_mut(piece.headers.len());
        headers.copy_from_slice(piece.headers);
        reader.read(&mut rest[..piece.payload]);
        rest[piece.payload..].fill(0);
        batch.commit(16 + padded + SEAL, Codepoint::NotEct);
    }
    batch.frame(len);
}

fn receive(socket: &Socket, over: &AtomicBool) -> Outcome<Done> {
    let mut receiver = socket.receiver();
    let mut scratch = Scratch::new();
    let mut done = Done { frames: 0, bytes: 0, cpu: 0.0, drops: Vec::new() };
    while !over.load(Ordering::Relaxed) {
        if !receiver.fill()? {
            wait(&receiver);
            continue;
        }
        let mut builder = scratch.builder();
        let mut records = receiver.records();
        while !builder.is_full()
            && let Some(record) = records.next()
        {
            let bytes: &[u8] = record.bytes;
            if let Some((vnet, frame)) = frame_of(bytes) {
                builder.push(frame, Some(TAG), Some(&vnet));
            }
        }
        for frame in builder.finish().frames() {
            done.frames += 1;
            done.bytes += frame.head.untagged_len() as u64;
        }
    }
    done.cpu = cpu();
    Ok(done)
}

fn frame_of(record: &[u8]) -> Option<(VnetHeader, &[u8])> {
    let len = u32::from_le_bytes(*record.get(RECORD + 4..)?.first_chunk()?) as usize;
    let (vnet, frame) =
        record.get(FRONT..FRONT + len)?.split_first_chunk::<{ VnetHeader::LEN }>()?;
    Some((VnetHeader::read_from_bytes(vnet).ok()?, frame))
}

/// TCP from 10.0.0.1 to 10.0.0.2 with twelve bytes of options, as a stack hands it to a device that cuts.
fn super_frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0];
    let total = (20 + 32 + PAYLOAD) as u16;
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !weft_offload::sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend([0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.extend([1; 12]);
    frame.extend((0..PAYLOAD).map(|at| at as u8));
    frame
}

fn bind(ip: [u8; 4], segmentation: Segmentation) -> Outcome<Socket> {
    let mut sockets = udp::open(SocketAddr::from((ip, PORT)), 1, segmentation)?;
    Ok(sockets.remove(0))
}

fn enter_namespace() -> io::Result<()> {
    // SAFETY: the call takes no memory; it changes this thread's namespace only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn set_up(device: &str, ip: [u8; 4], features: &str) -> Outcome<()> {
    let [a, b, c, d] = ip;
    command("ip", &format!("addr add {a}.{b}.{c}.{d}/24 dev {device}"))?;
    command("ip", &format!("link set {device} up"))?;
    match features {
        "" => Ok(()),
        features => command("ethtool", &format!("-K {device} {features}")),
    }
}

fn command(program: &str, arguments: &str) -> Outcome<()> {
    let status = Command::new(program).args(arguments.split_whitespace()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{program} {arguments}: {status}").into()) }
}

fn wait(receiver: &udp::Receiver) {
    let mut ready =
        libc::pollfd { fd: receiver.fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the kernel reads and writes one entry, which is there.
    unsafe { libc::poll(&raw mut ready, 1, 50) };
}

/// Returns the seconds of CPU that this thread has used.
fn cpu() -> f64 {
    // SAFETY: all zero is a value of this structure of integers, and the kernel writes one.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
        time
    };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
