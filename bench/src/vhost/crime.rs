//! What a hostile guest or front-end does at its port, again and again until it is killed; and a busy one that keeps the
//! rules, to compare with.

use std::{
    convert::Infallible,
    fmt,
    io::Write as _,
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::front::{Ring, TX, ask, code, introduce, pair, set_up};
use crate::{clock, report::Rival, sys::SharedMemory};

/// From one crime to the next: a thousand a second.
const PACE: Duration = Duration::from_millis(1);
/// From one look at what came back to the next, for those that send all the while.
const BETWEEN_LOOKS: Duration = Duration::from_micros(50);

const MEMORY: usize = 1 << 20;
const SIZE: u16 = 1024;
/// Bytes that the ring takes, whatever is in it.
const RINGS: usize = 0x8000;
const TABLE: usize = 0x1_0000;
const FRAME: usize = 0x2_0000;
/// Header of offloads and frame.
const LEN: u32 = 12 + 64;
/// As long as the longest chain that a port takes.
const CHAIN: u16 = 1024;
const NEXT: u16 = 1;
const INDIRECT: u16 = 4;
/// The protocol's own, indirect descriptors, virtio 1.
const FEATURES: u64 = 1 << 30 | 1 << 28 | 1 << 32;
/// Frames for it go no further than the first bridge. IEEE 802.1Q 8.6.3.
const NOBODY: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0];
const MESSAGES: usize = 16;
const LONGEST: u32 = 64;
const SCRIBBLES: usize = 64;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crime {
    /// A thousand connections a second.
    Connections,
    /// Conversations of messages that make no sense.
    Messages,
    /// Buffers that lie in no memory.
    Descriptors,
    /// An available index that jumps.
    Indices,
    /// Anything at all over the rings.
    Scribbles,
    /// None: as many small frames as the port takes.
    Frames,
    /// The same in chains as long as a port takes them.
    Chains,
}

/// What a port of a switch has of somebody's crimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// Connections that it hung up on.
    None,
    /// Frames dropped for this reason.
    Drops(&'static str),
}

impl Crime {
    /// Tells what has to be seen of it.
    pub(super) fn trace(self) -> Trace {
        match self {
            Self::Connections | Self::Messages => Trace::None,
            Self::Descriptors | Self::Indices | Self::Scribbles => Trace::Drops("malformed"),
            Self::Frames | Self::Chains => Trace::Drops("reserved-address"),
        }
    }

    /// Commits it at a switch's socket for good.
    ///
    /// # Errors
    /// When nobody is there.
    pub fn commit(self, socket: &Path) -> Result<Infallible> {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut next = clock::now();
        let mut culprit = None;
        loop {
            match self {
                Self::Connections => drop(connect(socket)?),
                // It hangs up in the midst of them.
                Self::Messages => drop(babble(&connect(socket)?, &mut dice)),
                _ => {
                    let mut card = match culprit.take() {
                        Some(card) => card,
                        None => Culprit::connect(socket)?,
                    };
                    // Whatever the switch made of it, one may come again.
                    if self.misuse(&mut card, &mut dice).is_ok() {
                        culprit = Some(card);
                    }
                }
            }
            next = pause_until(next + PACE);
        }
    }

    /// Has a ring set up, and does with it what is not done.
    fn misuse(self, card: &mut Culprit, dice: &mut Dice) -> Result<()> {
        card.begin()?;
        let memory = &card.memory;
        match self {
            Self::Descriptors => {
                card.describe(0, (MEMORY as u64 * 2, LEN), 0);
                card.ring.put(memory, 0);
                card.ring.show_and_kick(memory);
            }
            Self::Indices => {
                card.ring.show_and_kick(memory);
                memory.store(card.ring.available_place() + 2, SIZE + 1 + dice.below(30000) as u16);
            }
            Self::Scribbles => {
                for _ in 0..SCRIBBLES {
                    let place = dice.below(RINGS as u32 - 8) as usize;
                    memory.write(place, &dice.roll().to_ne_bytes());
                    memory.store(card.ring.available_place() + 2, dice.roll() as u16);
                    card.ring.show_and_kick(memory);
                }
            }
            Self::Frames | Self::Chains => {
                for head in 0..SIZE {
                    match self {
                        Self::Chains => {
                            let bytes = u32::from(CHAIN) * 16;
                            card.describe(head, (TABLE as u64, bytes), INDIRECT);
                        }
                        _ => card.describe(head, (FRAME as u64, LEN), 0),
                    }
                    card.ring.put(&card.memory, head);
                }
                card.ring.show_and_kick(&card.memory);
                card.send_for_good();
            }
            Self::Connections | Self::Messages => {}
        }
        thread::sleep(PACE / 2);
        card.end()
    }
}

impl Rival for Crime {
    fn title(self) -> &'static str {
        match self {
            Self::Connections => "a thousand connections a second",
            Self::Messages => "messages that make no sense",
            Self::Descriptors => "buffers in no memory",
            Self::Indices => "indices that jump",
            Self::Scribbles => "rings written over",
            Self::Frames => "a busy guest: as many small frames as go",
            Self::Chains => "the same frames, each in 1024 pieces",
        }
    }
}

impl fmt::Display for Crime {
    /// Writes the name that the command line takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// A card whose driver misbehaves.
struct Culprit {
    socket: UnixStream,
    memory: SharedMemory,
    ring: Ring,
}

impl Culprit {
    fn connect(path: &Path) -> Result<Self> {
        // A port takes nobody while it has not noticed that the last one went.
        loop {
            let memory = SharedMemory::new(MEMORY)?;
            let socket = connect(path)?;
            if introduce(&socket, &memory, FEATURES).is_ok() {
                return Ok(Self { socket, memory, ring: Ring::new(0, SIZE)? });
            }
            thread::sleep(PACE);
        }
    }

    /// Has the ring by which a guest sends begin anew, and lays out a frame and a long chain that has it.
    fn begin(&mut self) -> Result<()> {
        self.memory.write(0, &[0; RINGS]);
        self.ring = Ring::new(0, SIZE)?;
        self.memory.write(FRAME + 12, &NOBODY);
        self.memory.write(FRAME + 18, &[2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
        let chain = (0..CHAIN).flat_map(|number| {
            let (len, more) = if number == 0 { (LEN, NEXT) } else { (1, NEXT) };
            let more = if number + 1 == CHAIN { 0 } else { more };
            descriptor((FRAME as u64, len), more, number + 1)
        });
        self.memory.write(TABLE, &chain.collect::<Vec<u8>>());
        set_up(&self.socket, &self.memory, TX, &self.ring)
    }

    /// Stops the ring.
    fn end(&self) -> Result<()> {
        ask(&self.socket, code::GET_VRING_BASE, &pair(TX, 0)).map(drop)
    }

    fn describe(&self, number: u16, piece: (u64, u32), flags: u16) {
        self.memory.write(16 * usize::from(number), &descriptor(piece, flags, 0));
    }

    /// Sends again whatever comes back.
    fn send_for_good(&mut self) {
        loop {
            while let Some((head, _)) = self.ring.next_used(&self.memory) {
                self.ring.put(&self.memory, head);
            }
            self.ring.show_and_kick(&self.memory);
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

fn descriptor((place, len): (u64, u32), flags: u16, next: u16) -> Vec<u8> {
    let mut bytes = place.to_le_bytes().to_vec();
    bytes.extend(len.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}

fn connect(path: &Path) -> Result<UnixStream> {
    UnixStream::connect(path).with_context(|| format!("the switch at {}", path.display()))
}

/// Says anything until nobody listens.
fn babble(mut socket: &UnixStream, dice: &mut Dice) -> Result<()> {
    for _ in 0..MESSAGES {
        let words = [dice.below(48), 1 | dice.below(2) << 3, dice.below(LONGEST)];
        let mut message = words.map(u32::to_ne_bytes).concat();
        message.extend((0..words[2]).map(|_| dice.roll() as u8));
        socket.write_all(&message)?;
    }
    Ok(())
}

/// Waits until a moment; when it has passed, the pace goes on from now.
fn pause_until(at: Instant) -> Instant {
    let now = clock::now();
    thread::sleep(at.saturating_duration_since(now));
    at.max(now)
}

/// Numbers that look like chance, the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u32) -> u32 {
        (self.roll() % u64::from(end)) as u32
    }
}
