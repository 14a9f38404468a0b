//! What happened, for whoever asks what did and waits for what does next. Bounded: who comes too late is told how much
//! is lost.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use tokio::sync::watch;
use weft_config::api::{self, Event, Happening};

use crate::clock;

/// How many are known.
const KNOWN: usize = 1024;

/// The last events.
pub(crate) struct Events {
    known: Mutex<VecDeque<Event>>,
    /// The number of the last one.
    last: watch::Sender<u64>,
}

impl Events {
    pub(super) fn new() -> Self {
        Self { known: Mutex::default(), last: watch::channel(0).0 }
    }

    /// Notes that something happened, here and in the log.
    pub(super) fn tell(&self, happening: Happening) {
        tracing::info!("{happening}");
        let mut known = self.lock();
        let number = *self.last.borrow() + 1;
        let time_ms = clock::wall().as_millis() as u64;
        if known.len() == KNOWN {
            known.pop_front();
        }
        known.push_back(Event { number, time_ms, happening });
        self.last.send_replace(number);
    }

    /// Returns what happened after the event with this number, once something did or the time is over.
    pub(crate) async fn after(&self, number: u64, patience: Duration) -> api::Events {
        let mut last = self.last.subscribe();
        // Whoever waits when it is over is told so by finding none.
        let _ = tokio::time::timeout(patience, last.wait_for(|&last| last > number)).await;
        let known = self.lock();
        let last = *self.last.borrow();
        // A number that is yet to come was another daemon's.
        let number = if number > last { 0 } else { number };
        let events: Vec<Event> =
            known.iter().filter(|event| event.number > number).cloned().collect();
        let lost = last - number - events.len() as u64;
        api::Events { events, last, lost }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Event>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(number: usize) -> Happening {
        Happening::PortUp { port: format!("p{number}") }
    }

    #[tokio::test]
    async fn what_happened_is_told_at_once_and_what_comes_is_waited_for() {
        let events = Events::new();
        let long = Duration::from_secs(30);
        assert_eq!(events.after(0, Duration::ZERO).await, api::Events::default());
        events.tell(up(1));
        events.tell(up(2));
        let told = events.after(0, long).await;
        assert_eq!((told.events.len(), told.last, told.lost), (2, 2, 0));
        let (told, ()) = tokio::join!(events.after(2, long), async { events.tell(up(3)) });
        assert_eq!(told.events[0].happening, up(3));
        assert_eq!((told.events[0].number, told.last), (3, 3));
    }

    #[tokio::test]
    async fn who_comes_late_is_told_how_much_is_lost() {
        let events = Events::new();
        (0..KNOWN + 7).for_each(|number| events.tell(up(number)));
        let told = events.after(2, Duration::ZERO).await;
        assert_eq!((told.events.len(), told.lost), (KNOWN, 5));
        // The daemon was started anew meanwhile.
        let told = events.after(1_000_000, Duration::ZERO).await;
        assert_eq!((told.events.len(), told.lost), (KNOWN, 7));
    }
}
