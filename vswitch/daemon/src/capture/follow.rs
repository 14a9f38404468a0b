//! Drops as they happen: like ones of a second become one line, and lines beyond what people can read a number.

use std::{collections::HashMap, net::IpAddr, sync::Arc, thread, time::Duration};

use arc_swap::{ArcSwap, Cache};
use axum::body::Bytes;
use tokio::sync::mpsc::{Sender, error::TrySendError};
use weft_capture::{View, Way};
use weft_config::api::{Drop, DropNews};
use weft_core::{DropReason, PortId};
use weft_vlan::{MacAddr, VlanId};

use super::{Names, Outcome, PERIOD, Stop, record::About, rings::Rings};
use crate::clock;

/// How often new ones are told.
const TICK: Duration = Duration::from_millis(50);
/// How long like ones are added up.
const WINDOW: Duration = Duration::from_secs(1);
/// Sorts of drops that are told apart in a second.
const SORTS: usize = 1024;

/// What drops have in common that become one line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sort {
    port: PortId,
    way: Way,
    reason: DropReason,
    vlan: Option<VlanId>,
    source: Option<MacAddr>,
    destination: Option<MacAddr>,
    addresses: Option<(IpAddr, IpAddr)>,
    ethertype: Option<u16>,
}

/// Drops of one sort in this second.
struct Many {
    /// When the last one happened, in nanoseconds since 1970.
    last: u64,
    /// How many there were since the last line.
    untold: u64,
    was_told: bool,
}

/// A client that is told.
pub(super) struct Follow {
    rings: Rings,
    names: Cache<Arc<ArcSwap<Names>>, Arc<Names>>,
    lines: usize,
    stop: Stop,
    output: Sender<Bytes>,
    window: Window,
    outcome: Outcome,
    /// Frames that found no room in the rings, as far as it was told.
    lost: u64,
}

/// A second.
#[derive(Default)]
struct Window {
    sorts: HashMap<Sort, Many>,
    /// The same in the order in which they came up first.
    order: Vec<Sort>,
    lines: usize,
    left_out: u64,
}

impl Follow {
    pub(super) fn new(
        rings: Rings,
        names: Arc<ArcSwap<Names>>,
        lines: usize,
        stop: Stop,
        output: Sender<Bytes>,
    ) -> Self {
        Self {
            rings,
            names: Cache::new(names),
            lines,
            stop,
            output,
            window: Window::default(),
            outcome: Outcome::default(),
            lost: 0,
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        let mut window_ends = clock::elapsed() + WINDOW;
        loop {
            thread::sleep(TICK);
            self.take();
            let mut news = self.tell_new();
            if clock::elapsed() >= window_ends {
                news.extend(self.end_window());
                window_ends = clock::elapsed() + WINDOW;
            }
            if self.stop.is_stopped() || self.hand_over(&news).is_err() {
                self.outcome.lost = self.rings.lost_in_all();
                return self.outcome;
            }
        }
    }

    /// Adds up what the rings hold.
    fn take(&mut self) {
        let mut more = true;
        while more {
            more = self.rings.fill();
            while let Some((about, bytes)) = self.rings.next() {
                self.outcome.frames += about.frames;
                self.window.add(&about, bytes);
            }
        }
    }

    /// Tells of sorts that came up for the first time in this second.
    fn tell_new(&mut self) -> Vec<DropNews> {
        let mut news = Vec::new();
        let names = self.names.load().clone();
        let Window { sorts, order, lines, .. } = &mut self.window;
        for sort in &*order {
            let Some(many) = sorts.get_mut(sort).filter(|many| !many.was_told) else { continue };
            if *lines >= self.lines {
                break;
            }
            *lines += 1;
            many.was_told = true;
            news.push(sort.told(&names, many.last, std::mem::take(&mut many.untold)));
        }
        news
    }

    /// Tells of those that came up again, and of how many nothing was told.
    fn end_window(&mut self) -> Vec<DropNews> {
        let mut news = Vec::new();
        let names = self.names.load().clone();
        let mut window = std::mem::take(&mut self.window);
        for sort in &window.order {
            let Some(many) = window.sorts.get(sort).filter(|many| many.untold > 0) else {
                continue;
            };
            if window.lines >= self.lines {
                window.left_out += many.untold;
                continue;
            }
            window.lines += 1;
            news.push(sort.told(&names, many.last, many.untold));
        }
        let lost = self.rings.lost_in_all();
        window.left_out += lost.saturating_sub(self.lost);
        self.lost = lost;
        if window.left_out > 0 {
            let time_ms = clock::wall().as_millis() as u64;
            news.push(DropNews::LeftOut { time_ms, frames: window.left_out });
        }
        news
    }

    /// Gives the client lines, unless it has some to read already: what is not told then is not told at all, but counted.
    fn hand_over(&mut self, news: &[DropNews]) -> Result<(), Gone> {
        if news.is_empty() {
            return if self.output.is_closed() { Err(Gone) } else { Ok(()) };
        }
        let mut lines = Vec::new();
        for line in news {
            // There is nothing in them that JSON could not hold.
            lines.extend(serde_json::to_vec(line).unwrap_or_default());
            lines.push(b'\n');
        }
        match self.output.try_send(lines.into()) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Gone),
            Err(TrySendError::Full(_)) => {
                self.window.left_out += news.iter().map(DropNews::frames).sum::<u64>();
                thread::sleep(PERIOD);
                Ok(())
            }
        }
    }
}

/// The client is gone.
struct Gone;

impl Window {
    fn add(&mut self, about: &About, bytes: &[u8]) {
        let Some(sort) = Sort::of(about, bytes) else { return };
        if let Some(many) = self.sorts.get_mut(&sort) {
            many.untold += about.frames;
            many.last = about.time;
        } else if self.order.len() < SORTS {
            self.order.push(sort.clone());
            let many = Many { last: about.time, untold: about.frames, was_told: false };
            self.sorts.insert(sort, many);
        } else {
            self.left_out += about.frames;
        }
    }
}

impl Sort {
    fn of(about: &About, bytes: &[u8]) -> Option<Self> {
        let view = View::new(bytes, about.len, about.way);
        Some(Self {
            port: about.port,
            way: about.way,
            reason: about.reason?,
            vlan: about.vlan,
            source: view.source(),
            destination: view.destination(),
            addresses: view.addresses(),
            ethertype: view.ethertype(),
        })
    }

    fn told(&self, names: &Names, time: u64, frames: u64) -> DropNews {
        let (source_ip, destination_ip) = self.addresses.unzip();
        DropNews::Drop(Drop {
            time_ms: time / 1_000_000,
            port: names.name(self.port).map_or_else(|| "gone".to_owned(), ToString::to_string),
            direction: match self.way {
                Way::In => "rx".to_owned(),
                Way::Out => "tx".to_owned(),
            },
            reason: self.reason.as_str().to_owned(),
            frames,
            vlan: self.vlan.map(VlanId::get),
            source: self.source.map(|mac| mac.to_string()),
            destination: self.destination.map(|mac| mac.to_string()),
            source_ip,
            destination_ip,
            ethertype: self.ethertype,
        })
    }
}
