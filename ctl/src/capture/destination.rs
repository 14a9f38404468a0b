//! Where captured frames go. Into a file whole blocks alone, also when the disk is full; never over what is there.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal as _, Seek as _, Write as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;
use weft_capture::pcapng::Block;

use super::line::Lines;
use crate::{failure::Failure, output::Output, render::count};

/// Where frames go.
pub(super) struct Destination {
    name: Option<String>,
    to: To,
    /// Whole blocks that are to be written.
    blocks: Vec<u8>,
    /// Where each of them ends, in all that was ever to be written.
    ends: Vec<u64>,
    written: u64,
}

enum To {
    Nothing,
    Stdout,
    /// A file, whose end can be cut off.
    Regular(File),
    /// A pipe or a device.
    Special(File),
    Lines(Lines),
}

/// Whether anybody still reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    There,
    Gone,
}

impl Destination {
    /// Takes note of a file's name; lines of text where there is none.
    pub(super) fn check(name: Option<&str>) -> Result<Self, Failure> {
        if name == Some("-") && io::stdout().is_terminal() {
            return Err(Failure::usage("pcapng is nothing for a terminal to show").help(
                "`weftctl capture … -w - | wireshark -k -i -`, `-w FILE`, or no -w for lines of text",
            ));
        }
        let name = name.map(str::to_owned);
        Ok(Self { name, to: To::Nothing, blocks: Vec::new(), ends: Vec::new(), written: 0 })
    }

    /// Opens it.
    pub(super) fn open(&mut self, overwrite: bool, output: Output) -> Result<(), Failure> {
        self.to = match self.name.as_deref() {
            None => To::Lines(Lines::new(output)),
            Some("-") => To::Stdout,
            Some(name) => open(name, overwrite)?,
        };
        Ok(())
    }

    /// Takes a block.
    pub(super) fn put(&mut self, block: &Block<'_>, whole: &[u8]) {
        if let To::Lines(lines) = &mut self.to {
            return lines.put(block);
        }
        self.blocks.extend_from_slice(whole);
        self.ends.push(self.written + self.blocks.len() as u64);
    }

    /// Writes what was taken.
    pub(super) fn hand_over(&mut self, frames: u64) -> Result<Reader, Failure> {
        let written = match &mut self.to {
            To::Nothing => Ok(()),
            To::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.blocks).and_then(|()| stdout.flush())
            }
            To::Regular(file) | To::Special(file) => file.write_all(&self.blocks),
            To::Lines(lines) => lines.hand_over(),
        };
        self.written += self.blocks.len() as u64;
        self.blocks.clear();
        match written {
            Ok(()) => {
                self.ends.clear();
                Ok(Reader::There)
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
            Err(error) => Err(self.full(&error, frames)),
        }
    }

    /// Says that no more can be written; a file is cut behind its last whole block.
    fn full(&mut self, error: &io::Error, frames: u64) -> Failure {
        let name = self.name.as_deref().unwrap_or("-");
        let mut help = "the switch goes on as before".to_owned();
        if let To::Regular(file) = &mut self.to {
            let end = file.stream_position().unwrap_or(0);
            let whole = self.ends.iter().copied().filter(|&whole| whole <= end).max();
            // Where it cannot even be cut, what reads it stops at the broken block.
            let _ = file.set_len(whole.unwrap_or(end));
            help = format!("what it holds can be read; {help}");
        }
        Failure::failed(
            "io",
            format!("{name} takes no more than the first of {} frames: {error}", count(frames)),
        )
        .help(help)
    }
}

fn open(name: &str, overwrite: bool) -> Result<To, Failure> {
    let path = Path::new(name);
    let failed =
        |error: &io::Error| Failure::failed("io", format!("{name} cannot be written: {error}"));
    let is_special = path.metadata().is_ok_and(|meta| {
        let kind = meta.file_type();
        kind.is_fifo() || kind.is_char_device()
    });
    if is_special {
        let file = OpenOptions::new().write(true).open(path);
        return file.map(To::Special).map_err(|error| failed(&error));
    }
    let mut options = OpenOptions::new();
    // Frames hold what people say to each other.
    options.write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
    if !overwrite {
        return match options.create_new(true).open(path) {
            Ok(file) => Ok(To::Regular(file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::failed("exists", format!("{name} is there already"))
                    .help("another name, or --overwrite"))
            }
            Err(error) => Err(failed(&error)),
        };
    }
    let file = options.create(true).open(path).map_err(|error| failed(&error))?;
    let emptied = file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600));
    emptied.and_then(|()| file.set_len(0)).map_err(|error| failed(&error))?;
    Ok(To::Regular(file))
}
