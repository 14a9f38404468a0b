//! What `weftctl top` draws.

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Cell, Row, Table},
};
use weft_config::api::{PeerState, PortState};

use super::rates::{Both, Rates};
use crate::render::{clean, count, state_word, vlan_mode};

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Ports,
    Peers,
}

/// The columns of both views: what it is, how it is, and its rates.
const COLUMNS: [&str; 10] = [
    "NAME", "VLAN", "STATE", "RX/s", "RX bit/s", "DROP/s", "TX/s", "TX bit/s", "DROP/s", "DROPPED",
];
/// The second and third column where peers are shown.
const OF_PEERS: [&str; 2] = ["ROUND TRIP", "STATE"];
/// From this column on there are numbers.
const NUMBERS: usize = 3;

/// What is chosen.
#[derive(Debug)]
pub(super) struct Screen {
    view: View,
    column: usize,
    is_reversed: bool,
    is_paused: bool,
    first: usize,
    is_coloured: bool,
}

/// A row before it is drawn: the words of its first columns, then its numbers.
struct Entry {
    words: [String; NUMBERS],
    tone: Color,
    numbers: [f64; COLUMNS.len() - NUMBERS],
}

impl Screen {
    /// Begins with the ports, those first whose names come first.
    pub(super) fn new(is_coloured: bool) -> Self {
        Self {
            view: View::Ports,
            column: 0,
            is_reversed: false,
            is_paused: false,
            first: 0,
            is_coloured,
        }
    }

    pub(super) fn view(&self) -> View {
        self.view
    }

    pub(super) fn show(&mut self, view: View) {
        (self.view, self.first) = (view, 0);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn pause(&mut self) {
        self.is_paused = !self.is_paused;
    }

    pub(super) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
    }

    /// Sorts by a column further to the left or to the right.
    pub(super) fn sort_by(&mut self, further: isize) {
        self.column = self.column.saturating_add_signed(further).min(COLUMNS.len() - 1);
    }

    pub(super) fn scroll(&mut self, further: isize) {
        self.first = self.first.saturating_add_signed(further);
    }

    /// Draws it all.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, rates: &Rates) {
        let [title, body, keys] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
                .areas(frame.area());
        let mut entries = match self.view {
            View::Ports => ports(rates),
            View::Peers => peers(rates),
        };
        self.sort(&mut entries);
        self.first = self.first.min(entries.len().saturating_sub(1));
        frame.render_widget(self.title(entries.len()), title);
        frame.render_widget(self.table(&entries[self.first..]), body);
        let help = "←→ sort by  r turn round  tab ports/peers  ↑↓ scroll  space stop  q end";
        frame.render_widget(Line::styled(help, self.style(Color::DarkGray)), keys);
    }

    fn title(&self, entries: usize) -> Line<'static> {
        let what = match self.view {
            View::Ports => "ports",
            View::Peers => "peers",
        };
        let stopped = if self.is_paused { ", stopped" } else { "" };
        let text = format!("weftctl top: {entries} {what}{stopped}");
        Line::styled(text, Style::new().add_modifier(Modifier::BOLD))
    }

    /// Numbers begin with the largest, words with the first.
    fn sort(&self, entries: &mut [Entry]) {
        entries.sort_by(|a, b| {
            let order = match self.column.checked_sub(NUMBERS) {
                None => a.words[self.column].cmp(&b.words[self.column]),
                Some(number) => b.numbers[number].total_cmp(&a.numbers[number]),
            };
            let order = if self.is_reversed { order.reverse() } else { order };
            order.then_with(|| a.words[0].cmp(&b.words[0]))
        });
    }

    fn table(&self, entries: &[Entry]) -> Table<'static> {
        let mut heads = COLUMNS;
        if self.view == View::Peers {
            heads[1..NUMBERS].copy_from_slice(&OF_PEERS);
        }
        let head = heads.iter().enumerate().map(|(at, &head)| {
            let style = match at == self.column {
                true => Style::new().add_modifier(Modifier::REVERSED),
                false => Style::new().add_modifier(Modifier::BOLD),
            };
            cell(at, head.to_owned()).style(style)
        });
        let longest = |at: usize| {
            let words = entries.iter().map(|entry| entry.words[at].chars().count());
            let most = words.chain([heads[at].len()]).max().unwrap_or_default();
            Constraint::Length(u16::try_from(most.min(40)).unwrap_or(40))
        };
        let widths = (0..NUMBERS)
            .map(longest)
            .chain((NUMBERS..COLUMNS.len()).map(|_| Constraint::Length(8)));
        Table::new(entries.iter().map(|entry| self.row(entry)), widths)
            .header(Row::new(head))
            .column_spacing(2)
    }

    fn row(&self, entry: &Entry) -> Row<'static> {
        let words = entry.words.iter().enumerate().map(|(at, word)| {
            let style = if at == 2 { self.style(entry.tone) } else { Style::new() };
            cell(at, word.clone()).style(style)
        });
        let numbers = entry.numbers.iter().enumerate().map(|(at, &number)| {
            // Drops are what one looks for.
            let is_drop = matches!(at, 2 | 5) && number > 0.0;
            let style = if is_drop { self.style(Color::Red) } else { Style::new() };
            cell(NUMBERS + at, count(number.round() as u64)).style(style)
        });
        Row::new(words.chain(numbers))
    }

    fn style(&self, color: Color) -> Style {
        if self.is_coloured { Style::new().fg(color) } else { Style::new() }
    }
}

fn cell(at: usize, text: String) -> Cell<'static> {
    let line = Line::from(text);
    Cell::from(if at < NUMBERS { line } else { line.right_aligned() })
}

fn ports(rates: &Rates) -> Vec<Entry> {
    let entry = |(port, both): (&weft_config::api::Port, Both)| Entry {
        words: [clean(&port.name), vlan_mode(&port.vlan), state_word(port.state).to_owned()],
        tone: match port.state {
            PortState::Up => Color::Green,
            PortState::Down => Color::DarkGray,
            PortState::Waiting => Color::Yellow,
            PortState::Failed => Color::Red,
        },
        numbers: numbers(both, port.rx.drops.values().chain(port.tx.drops.values()).sum()),
    };
    rates.ports().map(entry).collect()
}

fn peers(rates: &Rates) -> Vec<Entry> {
    let entry = |(peer, both): (&weft_config::api::Peer, Both)| {
        let (state, tone) = match peer.state {
            PeerState::Up => ("up", Color::Green),
            PeerState::Handshaking => ("handshaking", Color::Yellow),
            PeerState::Down => ("down", Color::Red),
        };
        let round_trip = peer.rtt_ms.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.3} ms"));
        Entry {
            words: [clean(&peer.name), round_trip, state.to_owned()],
            tone,
            numbers: numbers(both, peer.rx.drops.values().chain(peer.tx.drops.values()).sum()),
        }
    };
    rates.peers().map(entry).collect()
}

fn numbers(both: Both, dropped: u64) -> [f64; COLUMNS.len() - NUMBERS] {
    let Both { rx, tx } = both;
    [rx.frames, rx.bits, rx.drops, tx.frames, tx.bits, tx.drops, dropped as f64]
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::{
        super::rates::tests::{port, reading},
        *,
    };

    fn drawn(screen: &mut Screen, rates: &Rates) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(110, 8)).unwrap();
        terminal.draw(|frame| screen.draw(frame, rates)).unwrap();
        let buffer = terminal.backend().buffer();
        let lines = buffer.content.chunks(usize::from(buffer.area.width));
        lines.map(|line| line.iter().map(ratatui::buffer::Cell::symbol).collect()).collect()
    }

    fn rates() -> Rates {
        let ports = |a, b| vec![port("a", a, 0), port("b", b, a / 10), port("c\x1b[31m", 0, 0)];
        let mut rates = Rates::new(reading(0, ports(0, 0)));
        rates.take(reading(1, ports(100, 2_500_000)));
        rates
    }

    fn names(lines: &[String]) -> Vec<&str> {
        lines[2..5].iter().map(|line| line.split(' ').next().unwrap()).collect()
    }

    #[test]
    fn rates_are_drawn_and_sorted() {
        let (mut screen, rates) = (Screen::new(false), rates());
        let lines = drawn(&mut screen, &rates);
        assert!(lines[0].contains("3 ports"), "{lines:#?}");
        assert_eq!(&names(&lines)[..2], ["a", "b"]);
        let words: Vec<&str> = lines[3].split_whitespace().collect();
        assert_eq!(
            words,
            ["b", "access", "10", "up", "2.50M", "2.00G", "10", "1.25M", "1.00G", "0", "10"]
        );
        (0..3).for_each(|_| screen.sort_by(1));
        assert_eq!(&names(&drawn(&mut screen, &rates))[..2], ["b", "a"]);
        screen.reverse();
        assert_eq!(names(&drawn(&mut screen, &rates))[2], "b");
        (0..50).for_each(|_| screen.sort_by(-1));
        screen.scroll(2);
        assert_eq!(names(&drawn(&mut screen, &rates))[0], "a", "reversed names, the last of them");
        screen.scroll(1000);
        screen.show(View::Peers);
        let lines = drawn(&mut screen, &rates);
        assert!(lines[0].contains("0 peers") && lines[1].contains("ROUND TRIP"), "{lines:#?}");
    }

    #[test]
    fn names_from_elsewhere_command_no_terminal() {
        let lines = drawn(&mut Screen::new(true), &rates());
        assert!(!lines.iter().any(|line| line.contains('\x1b')), "{lines:#?}");
    }

    #[test]
    fn the_smallest_terminal_is_large_enough() {
        for (width, height) in [(1, 1), (20, 2), (40, 3)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| Screen::new(true).draw(frame, &rates())).unwrap();
        }
    }
}
