//! The progress of long work: a bar on a terminal, occasional log events elsewhere.

use std::{
    fmt,
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tracing::info;

/// The time until the first event.
const FIRST_AFTER: Duration = Duration::from_secs(10);

/// The least time between two events.
const EVERY: Duration = Duration::from_secs(60);

/// Shows progress.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    unit: &'static str,
    total: Option<u64>,
    bar: Option<ProgressBar>,
    pace: Pace,
}

impl Progress {
    /// Progress of `what`, counted in `unit`, towards `total` if that is known.
    pub(crate) fn new(what: &'static str, unit: &'static str, total: Option<u64>) -> Progress {
        let bar = io::stderr().is_terminal().then(|| bar(what, unit, total));
        Progress { what, unit, total, bar, pace: Pace::new(Instant::now()) }
    }

    /// Shows that `done` units are done, followed by `note`.
    pub(crate) fn update(&mut self, done: u64, note: impl fmt::Display) {
        if self.draw(done, &note) {
            return;
        }
        if let Some(rate) = self.pace.due(done, Instant::now()) {
            let note = note.to_string();
            let note = (!note.is_empty()).then_some(note);
            let (what, unit, total) = (self.what, self.unit, self.total);
            info!(what, unit, done, total, per_second = rate, note, "progress");
        }
    }

    /// Draws the bar, if there is one. Without one, the caller decides what to log and when.
    pub(crate) fn draw(&self, done: u64, note: impl fmt::Display) -> bool {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(note.to_string());
        }
        self.bar.is_some()
    }

    /// Changes the total.
    pub(crate) fn set_total(&mut self, total: u64) {
        self.total = Some(total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// Removes the bar; the caller reports the result.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, unit: &'static str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => {
            (ProgressBar::new(total), "{prefix} {wide_bar} {human_pos}/{human_len} {unit}, {rate} {msg}")
        }
        None => (ProgressBar::no_length(), "{prefix} {spinner} {human_pos} {unit}, {rate} {msg}"),
    };
    let template = template.replace("{unit}", unit);
    let style = ProgressStyle::with_template(&template).expect("the template is constant");
    let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // A terminal that takes no output loses it.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    });
    bar.with_style(style).with_prefix(what)
}

/// Decides when an event is due: from time to time, if there is progress.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    next: Instant,
    done: u64,
}

impl Pace {
    /// Nothing is done yet.
    pub(crate) fn new(now: Instant) -> Pace {
        Pace { since: now, next: now + FIRST_AFTER, done: 0 }
    }

    /// The units per second since the last event, if one is due now that `done` units are done.
    pub(crate) fn due(&mut self, done: u64, now: Instant) -> Option<u64> {
        if now < self.next || done == self.done {
            return None;
        }
        let rate = done.saturating_sub(self.done) as f64 / now.duration_since(self.since).as_secs_f64();
        *self = Pace { since: now, next: now + EVERY, done };
        Some(rate.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_due_once_a_minute_if_anything_has_moved() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.due(100, start + FIRST_AFTER / 2), None);
        assert_eq!(pace.due(1000, start + FIRST_AFTER), Some(100));
        let last = start + FIRST_AFTER;
        assert_eq!(pace.due(2000, last + EVERY / 2), None);
        assert_eq!(pace.due(1000, last + EVERY * 2), None, "it stands still");
        assert_eq!(pace.due(13_000, last + EVERY * 2), Some(100));
    }
}
