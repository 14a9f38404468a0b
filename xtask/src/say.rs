//! What the commands print, so that all sound alike.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

/// Prints the heading of a step.
pub(crate) fn heading(text: &str) {
    println!("\n{}", bold(&format!("== {text}")));
}

/// Prints what is going on.
pub(crate) fn note(text: &str) {
    println!("   {text}");
}

/// Prints something that is as it must be.
pub(crate) fn good(text: &str) {
    println!(" {} {text}", paint("32", "✓"));
}

/// Prints something that is not as it must be.
pub(crate) fn bad(text: &str) {
    println!(" {} {text}", paint("31", "✗"));
}

/// Prints the text of a file or a program, set off from our own words.
pub(crate) fn quote(text: &str) {
    for line in text.trim_end().lines() {
        println!("   {} {line}", paint("2", "│"));
    }
}

/// Prints a duration in seconds, or minutes and seconds.
pub(crate) fn duration(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", length.as_secs() / 60, length.as_secs() % 60)
    }
}

/// Returns the time of now, for durations that are told to a person.
pub(crate) fn now() -> Instant {
    weft_bench::clock::now()
}

fn bold(text: &str) -> String {
    paint("1", text)
}

fn paint(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
