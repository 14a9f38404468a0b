//! A frame as a line of text: when, where, which way, between whom, and why it was dropped.

use std::io::{self, Write as _};

use serde::Serialize;
use weft_capture::{View, pcapng::Block};

use crate::{
    output::{Format, Output},
    render::{Fraction, clean, clock, compact_json},
};

/// Lines for standard output.
pub(super) struct Lines {
    output: Output,
    /// The names of the interfaces so far.
    interfaces: Vec<String>,
    text: String,
}

/// A frame for programs.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Frame<'a> {
    time_ns: u64,
    port: &'a str,
    direction: &'static str,
    length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ethertype: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

impl Lines {
    pub(super) fn new(output: Output) -> Self {
        Self { output, interfaces: Vec::new(), text: String::new() }
    }

    /// Takes a block.
    pub(super) fn put(&mut self, block: &Block<'_>) {
        match *block {
            Block::Interface { name } => self.interfaces.push(name.to_owned()),
            Block::Packet { interface, time, len, bytes, way, comment } => {
                let name = self.interfaces.get(interface as usize).map_or("?", String::as_str);
                let port = name.rsplit_once(':').map_or(name, |(port, _)| port);
                let frame = Frame::new(&View::new(bytes, len, way), port, time, len, comment);
                self.text += &match self.output.format {
                    Format::Json => compact_json(&frame),
                    Format::Human => frame.words(),
                };
                self.text.push('\n');
            }
            _ => {}
        }
    }

    /// Prints what was taken.
    pub(super) fn hand_over(&mut self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(self.text.as_bytes())?;
        self.text.clear();
        stdout.flush()
    }
}

impl<'a> Frame<'a> {
    fn new(
        view: &View<'_>,
        port: &'a str,
        time_ns: u64,
        length: u32,
        comment: Option<&'a str>,
    ) -> Self {
        let (source_ip, destination_ip) = view.addresses().unzip();
        Self {
            time_ns,
            port,
            direction: view.way().as_str(),
            length,
            tag: view.tag().map(|tag| tag.tci.vid()),
            source: view.source().map(|mac| mac.to_string()),
            destination: view.destination().map(|mac| mac.to_string()),
            source_ip: source_ip.map(|ip| ip.to_string()),
            destination_ip: destination_ip.map(|ip| ip.to_string()),
            ethertype: view.ethertype(),
            comment,
        }
    }

    fn words(&self) -> String {
        let mut words = format!(
            "{}  {:<15}  {:<3}",
            clock(self.time_ns, Fraction::Nanoseconds),
            clean(self.port),
            self.direction
        );
        if let (Some(source), Some(destination)) = (&self.source, &self.destination) {
            words += &format!("  {source} > {destination}");
        }
        if let Some(vid) = self.tag {
            words += &format!("  tag {vid}");
        }
        match (self.ethertype, &self.source_ip, &self.destination_ip) {
            (Some(0x0806), Some(source), Some(destination)) => {
                words += &format!("  ARP {source} > {destination}");
            }
            (_, Some(source), Some(destination)) => words += &format!("  {source} > {destination}"),
            (Some(ethertype), ..) => words += &format!("  {ethertype:#06x}"),
            _ => {}
        }
        words += &format!("  {} bytes", self.length);
        if let Some(comment) = self.comment {
            words += &format!("  {}", clean(comment));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use weft_capture::Way;

    use super::*;

    #[test]
    fn a_frame_is_told_in_one_line_of_harmless_characters() {
        let mut bytes = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 10, 8, 6].to_vec();
        bytes.extend([
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
        ]);
        let view = View::new(&bytes, 64, Way::In);
        let frame = Frame::new(&view, "a\u{1b}[2J", 5, 64, Some("dropped: spoofed\n"));
        let words = frame.words();
        assert!(
            words.ends_with(
                "in   02:00:00:00:00:01 > 02:00:00:00:00:02  tag 10  ARP 10.0.0.1 > 10.0.0.2  64 bytes  dropped: spoofed\\n"
            ),
            "{words}"
        );
        assert!(!words.chars().any(char::is_control), "{words}");
        let short = Frame::new(&View::new(&[1, 2], 2, Way::Out), "web1", 5, 2, None).words();
        assert!(short.ends_with("web1             out  2 bytes"), "{short}");
    }
}
