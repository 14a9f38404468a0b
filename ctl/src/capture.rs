//! `weftctl capture`: frames as they pass the ports, into a file, a pipe or lines of text.

mod destination;
mod line;

use std::io::{self, Write as _};

use clap::Args;
use serde::Serialize;
use weft_capture::{
    Filter, FilterError,
    pcapng::{Block, Blocks},
};
use weft_config::{
    api::{CaptureDirection, CaptureRequest},
    duration,
};

use self::destination::Destination;
use crate::{
    client::{Client, Piece, Request, Stream},
    failure::{Exit, Failure},
    output::{Format, Output},
    render::{clean_lines, compact_json, count},
};

/// What to capture, and where it goes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl capture --port web1
  weftctl capture -w all.pcapng
  weftctl capture --port web1 -w - tcp port 80 | wireshark -k -i -
  weftctl capture --vlan office -w - | tcpdump -n -r -
  weftctl capture --drops -w drops.pcapng --duration 60s
  weftctl capture --port host --direction in -s 128 'host 10.10.0.5 or arp'

Each port is two interfaces: web1:in for what comes from it, web1:out for what goes to
it. A dropped frame says why in its comment. The filter is written as for tcpdump; a tag
hides nothing from it, `vlan 10` asks for one. Without -w there is a line for each
frame. Ctrl-C ends it. What the disk or the reader is too slow for is lost to the
capture and counted, never to the switch. Only root and weftd's user see frames.")]
pub(crate) struct Capture {
    /// Only at this port; may be given several times
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    /// Only frames of this VLAN, by number or name; may be given several times
    #[arg(long, value_name = "VLAN")]
    vlan: Vec<String>,
    /// Only what comes in from a port, or goes out by it
    #[arg(long, value_name = "WAY", value_parser = ["in", "out"])]
    direction: Option<String>,
    /// Only dropped frames
    #[arg(long)]
    drops: bool,
    /// Bytes of a frame that are kept; all when absent
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    snaplen: Option<u32>,
    /// End after so many frames
    #[arg(short, long, value_name = "FRAMES", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so long, as in 90s, 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    duration: Option<u64>,
    /// Write pcapng into this new file, or - for standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<String>,
    /// Let the file take the place of one that is there
    #[arg(long, requires = "write")]
    overwrite: bool,
    /// Which frames, in the syntax of tcpdump
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,
}

/// What became of a capture.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    frames: u64,
    bytes: u64,
    lost: u64,
    #[serde(skip)]
    is_complete: bool,
}

impl Capture {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        let text = self.filter.join(" ");
        if let Err(error) = Filter::parse(&text) {
            return Err(wrong_filter(&error, &text, output));
        }
        let request = self.request(text);
        let mut destination = Destination::check(self.write.as_deref())?;
        // The file is made when there is something to write: a refusal leaves none behind.
        let mut stream = client.stream(Request::post("/v1/capture").body(&request))?;
        destination.open(self.overwrite, output)?;
        let mut summary = Summary { file: self.file(), ..Summary::default() };
        let ended = copy(client, &mut stream, &mut destination, &mut summary);
        drop(stream);
        summary.tell(output)?;
        ended
    }

    fn request(&self, filter: String) -> CaptureRequest {
        let direction = self.direction.as_deref().map(|way| match way {
            "in" => CaptureDirection::In,
            _ => CaptureDirection::Out,
        });
        CaptureRequest {
            ports: self.port.clone(),
            vlans: self.vlan.clone(),
            direction,
            drops: self.drops,
            filter: (!filter.is_empty()).then_some(filter),
            snaplen: self.snaplen,
            count: self.count,
            duration_seconds: self.duration,
        }
    }

    fn file(&self) -> Option<String> {
        self.write.clone().filter(|file| file != "-")
    }
}

/// Carries blocks from the daemon to where they belong until there are no more.
fn copy(
    client: &Client,
    stream: &mut Stream,
    destination: &mut Destination,
    summary: &mut Summary,
) -> Result<(), Failure> {
    let mut blocks = Blocks::default();
    let mut interruptions = 0;
    loop {
        let bytes = match stream.next() {
            Ok(Piece::Bytes(bytes)) => bytes,
            Ok(Piece::End) => break,
            Ok(Piece::Interrupted) => {
                interruptions += 1;
                // The daemon says at the end what was lost; who cannot wait for that asks twice.
                match stream.number() {
                    Some(number) if interruptions == 1 => stop(client, number)?,
                    _ => return Ok(()),
                }
                continue;
            }
            Err(failure) => return Err(cut_short(failure)),
        };
        blocks.feed(&bytes);
        while let Some((block, whole)) = blocks.next().map_err(|error| broken(&error))? {
            summary.note(&block);
            destination.put(&block, whole);
        }
        if destination.hand_over(summary.frames)? == destination::Reader::Gone {
            return Ok(());
        }
    }
    if summary.is_complete {
        return Ok(());
    }
    Err(cut_short(Failure::unreachable("no-answer", "weftd hung up")))
}

/// Has the daemon end a capture, if it has not ended by itself.
fn stop(client: &Client, number: &str) -> Result<(), Failure> {
    let request = Request::delete("/v1/captures").segment(number);
    match client.send::<()>(request) {
        Err(failure) if !failure.is("not-found") => Err(failure),
        _ => Ok(()),
    }
}

impl Summary {
    fn note(&mut self, block: &Block<'_>) {
        match block {
            Block::Packet { bytes, .. } => {
                self.frames += 1;
                self.bytes += bytes.len() as u64;
            }
            Block::Statistics { lost, .. } => {
                self.is_complete = true;
                self.lost += lost;
            }
            _ => {}
        }
    }

    /// Says on stderr, or as a document on stdout where that is free, what was captured.
    fn tell(&self, output: Output) -> Result<(), Failure> {
        let text = match output.format {
            Format::Json if self.file.is_some() => return output.value(self, |_| String::new()),
            Format::Json => compact_json(self) + "\n",
            Format::Human => self.words(),
        };
        // Nobody is left to tell when stderr is gone.
        let _ = io::stderr().lock().write_all(text.as_bytes());
        Ok(())
    }

    fn words(&self) -> String {
        let into = self.file.as_ref().map_or_else(String::new, |file| format!(" into {file}"));
        let mut text = format!("{} captured{into}", frames(self.frames));
        if self.lost > 0 {
            text += &format!(
                "\n{} not captured: the disk or the reader did not keep up; -s keeps less of each, a filter fewer",
                frames(self.lost)
            );
        }
        clean_lines(&text) + "\n"
    }
}

fn frames(number: u64) -> String {
    if number == 1 { "1 frame".to_owned() } else { format!("{} frames", count(number)) }
}

fn cut_short(mut failure: Failure) -> Failure {
    failure.body.message =
        format!("the capture ends here: {}; how much was lost is not known", failure.body.message);
    failure
}

fn broken(error: &impl std::fmt::Display) -> Failure {
    Failure::failed("bad-answer", format!("the answer is not one of weftd's: {error}"))
        .help("are weftctl and weftd of one version? `weftctl --version`, `weftd --version`")
}

/// Shows where in the filter the mistake is.
fn wrong_filter(error: &FilterError, text: &str, output: Output) -> Failure {
    let mut failure = Failure::usage(error.to_string());
    failure.body.code = "invalid-filter".to_owned();
    failure.exit = Exit::Usage;
    let mut picture =
        format!("{} {}\n", output.stderr_paint().error("error:"), clean_lines(&error.to_string()));
    for line in error.picture(text).lines() {
        picture += &format!("  {line}\n");
    }
    if let Some(help) = &error.help {
        picture += &format!("  help: {}\n", clean_lines(help));
        failure.body.help = Some(help.clone());
    }
    failure.picture = Some(picture);
    failure
}

fn parse_seconds(text: &str) -> Result<u64, &'static str> {
    let time = duration(text).map(|time| time.as_secs()).filter(|&seconds| seconds > 0);
    time.ok_or("a number with its unit: 90s, 5m or 1h")
}
