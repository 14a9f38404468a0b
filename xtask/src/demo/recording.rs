//! What arrives at a device, kept in a file and searched.

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result};
use weft_bench::{
    clock::wait_until,
    ear,
    lab::{Lab, Namespace, Process},
    pcap,
};

use super::stage::COMMAND_LIMIT;

/// Bytes on a line of a frame that is shown.
const ROW: usize = 16;

/// A capture that grows until it is stopped.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Where it listens, in words.
    pub(crate) place: &'static str,
    process: Process,
    file: PathBuf,
}

impl Recording {
    /// Begins to record; nothing that arrives from here on is missed.
    ///
    /// # Errors
    /// When the device cannot be listened at.
    pub(crate) fn begin(
        lab: &Lab,
        place: &'static str,
        namespace: &Namespace,
        device: &str,
    ) -> Result<Self> {
        let name = format!("{}-{device}", namespace.name());
        let file = lab.dir().join(format!("{name}.pcap"));
        let mut ear = namespace.command(std::env::current_exe()?);
        let process =
            lab.spawn(ear.args(["record", device]).arg(&file), &format!("{name}.ear.log"))?;
        wait_until("recording", COMMAND_LIMIT, || {
            lab.ensure_running(&process)?;
            Ok(process.output()?.contains(ear::LISTENING))
        })?;
        Ok(Self { place, process, file })
    }

    /// Waits until something has been recorded, and with it all that arrived before.
    ///
    /// # Errors
    /// When it does not come.
    pub(crate) fn wait_for(&self, what: &[u8]) -> Result<()> {
        wait_until("the recording", COMMAND_LIMIT, || Ok(self.so_far()?.count(what) > 0))
            .with_context(|| self.place)
    }

    /// Ends it and returns what was recorded.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn end(&self, lab: &Lab) -> Result<Capture> {
        lab.stop(&self.process);
        self.so_far()
    }

    fn so_far(&self) -> Result<Capture> {
        let bytes =
            fs::read(&self.file).with_context(|| format!("read {}", self.file.display()))?;
        Ok(Capture { place: self.place, bytes })
    }
}

/// What was recorded.
#[derive(Debug)]
pub(crate) struct Capture {
    /// Where, in words.
    pub(crate) place: &'static str,
    bytes: Vec<u8>,
}

impl Capture {
    /// Returns how many frames hold some bytes.
    pub(crate) fn count(&self, what: &[u8]) -> usize {
        pcap::frames(&self.bytes).filter(|frame| holds(frame, what)).count()
    }

    /// Returns the longest of the frames that are wanted.
    pub(crate) fn longest(&self, wanted: impl Fn(&[u8]) -> bool) -> Option<&[u8]> {
        pcap::frames(&self.bytes).filter(|frame| wanted(frame)).max_by_key(|frame| frame.len())
    }
}

/// Tells whether a frame holds some bytes.
pub(crate) fn holds(frame: &[u8], what: &[u8]) -> bool {
    frame.windows(what.len()).any(|window| window == what)
}

/// Returns a frame as hexadecimal numbers and as text.
pub(crate) fn dump(frame: &[u8]) -> String {
    let mut text = String::new();
    for row in frame.chunks(ROW) {
        let numbers: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let printed =
            |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { *byte } else { b'.' };
        let letters: String = row.iter().map(|byte| char::from(printed(byte))).collect();
        let _ = writeln!(text, "{:<width$}  {letters}", numbers.join(" "), width = 3 * ROW - 1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_hold_a_text_are_counted_wherever_it_stands() {
        let mut bytes = Vec::new();
        let mut writer = pcap::Writer::new(&mut bytes).unwrap();
        for frame in [&b"secret"[..], b"a secret", b"a secret, a secret!", b"secre", b"t"] {
            writer.write(std::time::Duration::ZERO, frame).unwrap();
        }
        let capture = Capture { place: "here", bytes };
        assert_eq!(capture.count(b"secret"), 3);
        assert_eq!(capture.longest(|frame| !holds(frame, b"secret")), Some(&b"secre"[..]));
    }

    #[test]
    fn dump_has_numbers_and_letters() {
        let text = dump(b"0123456789abcdef\x00z");
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows[0], "30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef");
        assert_eq!(rows[1], format!("{:<47}  .z", "00 7a"));
    }
}
