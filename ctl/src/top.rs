//! `weftctl top`: rates of ports and peers, live.

mod rates;
mod screen;

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustix::time::{ClockId, clock_gettime};
use weft_config::api::{Peer, Port};

use self::{
    rates::{Rates, Reading},
    screen::{Screen, View},
};
use crate::{
    client::{Client, Request},
    failure::Failure,
    output::{Format, Output, Paint},
};

/// How often to look.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weftctl top
  weftctl top --interval 5

Keys: left and right choose the column to sort by, r turns the order round, tab
shows peers instead of ports, up and down scroll, space stops the clock, q ends it.
For programs: `weftctl --json port list` has the counters.")]
pub(crate) struct Top {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
}

impl Top {
    /// Does it.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), Failure> {
        if output.format == Format::Json || !io::stdout().is_terminal() {
            return Err(Failure::usage("this draws on a terminal")
                .help("`weftctl --json port list` has the counters, `weftctl drops --follow` what is dropped"));
        }
        let mut screen = Screen::new(output.paint() == Paint::Color);
        // Before the terminal is taken: why there is nothing to see must stay to be read.
        let mut rates = Rates::new(read(client)?);
        let mut terminal = ratatui::try_init().map_err(|error| broken(&error))?;
        let ended = live(client, &mut terminal, &mut screen, &mut rates, self.interval);
        ratatui::restore();
        ended
    }
}

fn live(
    client: &Client,
    terminal: &mut ratatui::DefaultTerminal,
    screen: &mut Screen,
    rates: &mut Rates,
    interval: u64,
) -> Result<(), Failure> {
    let interval = Duration::from_secs(interval);
    let mut next = now() + interval;
    loop {
        terminal.draw(|frame| screen.draw(frame, rates)).map_err(|error| broken(&error))?;
        if event::poll(next.saturating_sub(now())).map_err(|error| broken(&error))? {
            if let Event::Key(key) = event::read().map_err(|error| broken(&error))?
                && key.kind == KeyEventKind::Press
                && press(screen, key) == Goes::Ends
            {
                return Ok(());
            }
            continue;
        }
        if !screen.is_paused() {
            rates.take(read(client)?);
        }
        next = now() + interval;
    }
}

/// What becomes of the program at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goes {
    On,
    Ends,
}

fn press(screen: &mut Screen, key: KeyEvent) -> Goes {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return Goes::Ends,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Goes::Ends,
        KeyCode::Left | KeyCode::Char('h') => screen.sort_by(-1),
        KeyCode::Right | KeyCode::Char('l') => screen.sort_by(1),
        KeyCode::Up | KeyCode::Char('k') => screen.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => screen.scroll(1),
        KeyCode::PageUp => screen.scroll(-20),
        KeyCode::PageDown => screen.scroll(20),
        KeyCode::Char('r') => screen.reverse(),
        KeyCode::Char(' ') => screen.pause(),
        KeyCode::Tab => screen.show(match screen.view() {
            View::Ports => View::Peers,
            View::Peers => View::Ports,
        }),
        _ => {}
    }
    Goes::On
}

fn read(client: &Client) -> Result<Reading, Failure> {
    let ports = client.send::<Vec<Port>>(Request::get("/v1/ports"))?.value()?;
    let peers = client.send::<Vec<Peer>>(Request::get("/v1/peers"))?.value()?;
    Ok(Reading { at: now(), ports, peers })
}

/// Returns the time on a clock that only goes forward.
fn now() -> Duration {
    // The kernel's are never negative.
    clock_gettime(ClockId::Monotonic).try_into().unwrap_or_default()
}

fn broken(error: &io::Error) -> Failure {
    Failure::failed("io", format!("the terminal fails: {error}"))
}
