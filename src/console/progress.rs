//! Progress of long work: a bar on a terminal, a plain line every few seconds elsewhere.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// How often a plain line is written.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows how far something is, on standard error.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    lines: Lines,
}

impl Progress {
    /// Progress of `what`, counted in `unit`, to `total` if that is known.
    pub fn new(what: &'static str, unit: &'static str, total: Option<u64>) -> Progress {
        let bar = io::stderr().is_terminal().then(|| bar(what, unit, total));
        Progress { bar, lines: Lines::new(what, unit, total, Instant::now()) }
    }

    /// Says that `done` units are done, with a `note` behind.
    pub fn update(&mut self, done: u64, note: impl fmt::Display) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(note.to_string());
            }
            None => {
                if let Some(line) = self.lines.line(done, note, Instant::now()) {
                    // Who closes standard error does not want to see it.
                    let _ = writeln!(io::stderr(), "{line}");
                }
            }
        }
    }

    /// Changes the total.
    pub fn set_total(&mut self, total: u64) {
        self.lines.total = Some(total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// Takes the bar away; what is left to say is the caller's.
    pub fn finish(self) {
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
        // What a terminal does not take is lost.
        let _ = write!(out, "{:.0}/s", state.per_sec());
    });
    bar.with_style(style).with_prefix(what)
}

/// Decides when a line is due and what it says.
#[derive(Debug)]
struct Lines {
    what: &'static str,
    unit: &'static str,
    total: Option<u64>,
    since: Instant,
    done: u64,
}

impl Lines {
    fn new(what: &'static str, unit: &'static str, total: Option<u64>, now: Instant) -> Lines {
        Lines { what, unit, total, since: now, done: 0 }
    }

    fn line(&mut self, done: u64, note: impl fmt::Display, now: Instant) -> Option<String> {
        let elapsed = now.duration_since(self.since);
        if elapsed < LINE_INTERVAL {
            return None;
        }
        let rate = done.saturating_sub(self.done) as f64 / elapsed.as_secs_f64();
        (self.since, self.done) = (now, done);
        let of = self.total.map_or(String::new(), |total| format!(" of {total}"));
        let line = format!("{}: {done}{of} {}, {rate:.0}/s {note}", self.what, self.unit);
        Some(line.trim_end().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_every_few_seconds_with_the_rate_since_the_last() {
        let start = Instant::now();
        let mut lines = Lines::new("generate", "events", None, start);
        assert_eq!(lines.line(100, "", start + LINE_INTERVAL / 2), None);
        let line = lines.line(1000, "", start + LINE_INTERVAL);
        assert_eq!(line.unwrap(), "generate: 1000 events, 200/s");
        assert_eq!(lines.line(2000, "", start + LINE_INTERVAL + LINE_INTERVAL / 2), None);
        lines.total = Some(6000);
        let line = lines.line(3000, "(lag 7)", start + LINE_INTERVAL * 2);
        assert_eq!(line.unwrap(), "generate: 3000 of 6000 events, 400/s (lag 7)");
    }
}
