//! What a write changed, or would change, in words.

use weft_config::api::{Candidate, Change, ChangeKind, Changed};

use crate::{
    client::{Persistence, Removed},
    failure::Failure,
    output::{Output, Paint},
    render::{clean_lines, duration},
};

/// What became of the changes that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// They were made.
    Done(Persistence),
    /// They would be made.
    DryRun,
    /// Two configurations differ so.
    Difference,
}

/// Returns a line or more for each change, and where they were written.
pub(crate) fn tell(changed: &Changed, told: Told, paint: Paint) -> String {
    if changed.changes.is_empty() {
        let mut text = match told {
            Told::Difference => "no difference\n".to_owned(),
            Told::Done(_) | Told::DryRun => "nothing changes\n".to_owned(),
        };
        text.push_str(&written(changed));
        return text + &noted(changed);
    }
    let mut text: String = changed.changes.iter().map(|change| tell_one(change, paint)).collect();
    match told {
        Told::Done(Persistence::Transient) => {
            text.push_str(
                "running, not written to the file: a restart or reload of weftd takes it back\n",
            );
        }
        Told::Done(Persistence::Written) => {
            text.push_str(&written(changed));
            text.push_str(&waiting(changed.candidate));
        }
        Told::DryRun => text.push_str("nothing was changed: this was a dry run\n"),
        Told::Difference => {}
    }
    text + &noted(changed)
}

/// Prints the outcome of a removal.
pub(crate) fn show_removed(
    output: Output,
    removed: &Removed,
    what: &str,
    persistence: Persistence,
) -> Result<(), Failure> {
    let paint = output.paint();
    match removed {
        Removed::Was(answer) => {
            output.show(answer, |changed| tell(changed, Told::Done(persistence), paint))
        }
        Removed::WasNot(changed) => output
            .value(changed, |_| format!("{} is not there; nothing changes\n", clean_lines(what))),
    }
}

fn written(changed: &Changed) -> String {
    changed
        .written
        .as_deref()
        .map_or_else(String::new, |path| format!("written to {}\n", clean_lines(path)))
}

/// Says until when a configuration waits for its confirmation.
pub(crate) fn waiting(candidate: Option<Candidate>) -> String {
    candidate.map_or_else(String::new, |Candidate { seconds_left, uid }| {
        let left = duration(seconds_left);
        format!(
            "running, not written: uid {uid} has {left} to say `weftctl confirm`, then what ran before comes back\n"
        )
    })
}

fn noted(changed: &Changed) -> String {
    changed.notes.iter().map(|note| format!("note: {}\n", clean_lines(note))).collect()
}

fn tell_one(change: &Change, paint: Paint) -> String {
    let verb = match change.kind {
        ChangeKind::Added => paint.good("added   "),
        ChangeKind::Removed => paint.bad("removed "),
        ChangeKind::Changed => paint.notice("changed "),
    };
    let head = format!("{verb} {}", clean_lines(&change.path));
    let (old, new) =
        (change.old.as_deref().map(str::trim_end), change.new.as_deref().map(str::trim_end));
    let lines = [(old, "-"), (new, "+")];
    let is_long = lines.iter().any(|(value, _)| value.is_some_and(|value| value.contains('\n')));
    if is_long {
        let mut text = head + "\n";
        for (value, sign) in lines {
            for line in value.unwrap_or_default().lines() {
                let line = format!("{sign} {}", clean_lines(line));
                text.push_str("    ");
                text.push_str(&if sign == "-" { paint.bad(&line) } else { paint.good(&line) });
                text.push('\n');
            }
        }
        return text;
    }
    match (old, new) {
        (Some(old), Some(new)) => format!("{head}: {} -> {}\n", clean_lines(old), clean_lines(new)),
        (Some(value), None) | (None, Some(value)) => format!("{head}: {}\n", clean_lines(value)),
        (None, None) => head + "\n",
    }
}
