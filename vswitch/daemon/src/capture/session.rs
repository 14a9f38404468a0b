//! A capture: from the rings through the filter into pcapng.

use std::{collections::HashMap, sync::Arc, thread, time::Duration};

use arc_swap::{ArcSwap, Cache};
use axum::body::Bytes;
use tokio::sync::mpsc::{Sender, error::TrySendError};
use weft_capture::{
    Filter, View, Way,
    pcapng::{
        Interface, Packet, Statistics, put_interface, put_packet, put_section, put_statistics,
    },
};
use weft_core::PortId;

use super::{Names, Outcome, PATIENCE, PERIOD, Plot, Stop, record::About, rings::Rings};
use crate::clock;

/// Bytes that are handed to the client at a time.
const PIECE: usize = 128 << 10;
const APPLICATION: &str = concat!("weftd ", env!("CARGO_PKG_VERSION"));

/// When a capture is over.
pub(super) struct End {
    frames_left: Option<u64>,
    deadline: Option<Duration>,
    stop: Stop,
}

impl End {
    pub(super) fn new(count: Option<u64>, duration: Option<Duration>, stop: Stop) -> Self {
        let deadline = duration.map(|duration| clock::elapsed().saturating_add(duration));
        Self { frames_left: count, deadline, stop }
    }

    fn is_come(&self) -> bool {
        self.stop.is_stopped()
            || self.frames_left == Some(0)
            || self.deadline.is_some_and(|deadline| clock::elapsed() >= deadline)
    }
}

/// A capture that runs.
pub(super) struct Session {
    rings: Rings,
    names: Cache<Arc<ArcSwap<Names>>, Arc<Names>>,
    /// The names by which `known` goes.
    current: Arc<Names>,
    filter: Filter,
    filter_text: String,
    snaplen: u32,
    way: Option<Way>,
    end: End,
    begin: u64,
    /// Number of each interface.
    interfaces: HashMap<(Arc<str>, Way), u32>,
    /// The same by what records call it, as long as the names are the same.
    known: HashMap<(PortId, Way), u32>,
    /// The same, whatever ports were called before.
    places: HashMap<(PortId, Way), u32>,
    counts: Vec<Counts>,
    out: Vec<u8>,
    output: Sender<Bytes>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    seen: u64,
    written: u64,
}

/// The client is gone.
struct Gone;

impl Session {
    pub(super) fn new(
        rings: Rings,
        names: Arc<ArcSwap<Names>>,
        plot: &Plot,
        end: End,
        output: Sender<Bytes>,
    ) -> Self {
        let (filter, filter_text) = plot.filter.clone();
        Self {
            rings,
            current: names.load_full(),
            names: Cache::new(names),
            filter,
            filter_text,
            snaplen: plot.snaplen,
            way: plot.way,
            end,
            begin: now(),
            interfaces: HashMap::new(),
            known: HashMap::new(),
            places: HashMap::new(),
            counts: Vec::new(),
            out: Vec::new(),
            output,
            outcome: Outcome::default(),
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        put_section(&mut self.out, APPLICATION);
        self.name_ports();
        // Who has gone needs no more.
        let _ = self.write();
        self.outcome.lost = self.rings.lost_in_all();
        self.outcome
    }

    fn write(&mut self) -> Result<(), Gone> {
        loop {
            self.hand_over()?;
            let last = self.end.is_come().then(now);
            let mut more = self.take(last)?;
            while more && last.is_some() {
                more = self.take(last)?;
            }
            if self.end.frames_left == Some(0) || last.is_some() {
                break;
            }
            if !more {
                thread::sleep(PERIOD);
            }
        }
        self.put_statistics();
        self.hand_over()
    }

    /// Writes what the rings hold, up to a moment where there is one; tells whether more waits.
    fn take(&mut self, until: Option<u64>) -> Result<bool, Gone> {
        let more = self.rings.fill();
        if !Arc::ptr_eq(self.names.load(), &self.current) {
            self.current = self.names.load().clone();
            self.known.clear();
        }
        // The rings are borrowed by each record.
        let mut rings = std::mem::take(&mut self.rings);
        let mut taken = Ok(more);
        while self.end.frames_left != Some(0)
            && let Some((about, bytes)) = rings.next()
        {
            if until.is_some_and(|until| about.time > until) {
                taken = Ok(false);
                break;
            }
            self.put(&about, bytes);
            if self.out.len() >= PIECE && self.hand_over().is_err() {
                taken = Err(Gone);
                break;
            }
        }
        self.rings = rings;
        taken
    }

    fn put(&mut self, about: &About, bytes: &[u8]) {
        // Of these there is nothing to show.
        if about.len == 0 {
            return;
        }
        let interface = self.interface(about.port, about.way);
        let counts = &mut self.counts[interface as usize];
        counts.seen += 1;
        if !self.filter.matches(&View::new(bytes, about.len, about.way)) {
            return;
        }
        counts.written += 1;
        self.outcome.frames += 1;
        self.end.frames_left = self.end.frames_left.map(|left| left.saturating_sub(1));
        let comment = about.reason.map(|reason| match about.vlan {
            Some(vlan) => format!("dropped: {reason} (VLAN {vlan})"),
            None => format!("dropped: {reason}"),
        });
        let packet = Packet {
            interface,
            time: about.time,
            len: about.len,
            bytes: &bytes[..bytes.len().min(self.snaplen as usize)],
            way: about.way,
            comment: comment.as_deref(),
        };
        put_packet(&mut self.out, &packet);
    }

    /// Writes the interfaces of the ports that there are.
    fn name_ports(&mut self) {
        let names = self.current.clone();
        for (port, _) in names.chosen() {
            for way in [Way::In, Way::Out] {
                if self.way.is_none_or(|wanted| wanted == way) {
                    self.interface(port, way);
                }
            }
        }
    }

    /// Returns the number of an interface; writes it before its first frame.
    fn interface(&mut self, port: PortId, way: Way) -> u32 {
        if let Some(&number) = self.known.get(&(port, way)) {
            return number;
        }
        let name = self.current.name(port).cloned().unwrap_or_else(|| "gone".into());
        let next = self.interfaces.len() as u32;
        let number = *self.interfaces.entry((name.clone(), way)).or_insert(next);
        if number == next {
            let (text, what) = match way {
                Way::In => ("in", "what came from it into the switch"),
                Way::Out => ("out", "what left the switch by it, or should have"),
            };
            put_interface(
                &mut self.out,
                &Interface {
                    name: &format!("{name}:{text}"),
                    description: &format!("port {name}, {text}: {what}"),
                    snaplen: self.snaplen,
                    filter: &self.filter_text,
                },
            );
            self.counts.push(Counts::default());
        }
        self.known.insert((port, way), number);
        self.places.insert((port, way), number);
        number
    }

    fn put_statistics(&mut self) {
        let lost: Vec<(u32, u64)> = self
            .places
            .iter()
            .map(|(&(port, way), &interface)| (interface, self.rings.lost(port, way)))
            .collect();
        for (interface, counts) in (0_u32..).zip(&self.counts) {
            let lost = lost.iter().filter(|&&(of, _)| of == interface).map(|&(_, lost)| lost).sum();
            let statistics = Statistics {
                start: self.begin,
                end: now(),
                received: counts.seen + lost,
                lost,
                accepted: counts.written,
            };
            put_statistics(&mut self.out, interface, &statistics);
        }
    }

    /// Gives the client what is written, and waits while it does not take it: meanwhile the rings fill.
    fn hand_over(&mut self) -> Result<(), Gone> {
        if self.out.is_empty() {
            return if self.output.is_closed() { Err(Gone) } else { Ok(()) };
        }
        let mut piece = Bytes::from(std::mem::take(&mut self.out));
        let mut overdue = None;
        loop {
            piece = match self.output.try_send(piece) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(Gone),
                Err(TrySendError::Full(piece)) => piece,
            };
            if self.end.is_come() {
                let deadline = *overdue.get_or_insert_with(|| clock::elapsed() + PATIENCE);
                if clock::elapsed() >= deadline {
                    return Err(Gone);
                }
            }
            thread::sleep(PERIOD);
        }
    }
}

fn now() -> u64 {
    u64::try_from(clock::wall().as_nanos()).unwrap_or(u64::MAX)
}
