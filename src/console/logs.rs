//! The log on standard error: text on a terminal, JSON elsewhere.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    sync::OnceLock,
};

use clap::ValueEnum;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    cli::{LogFormat, LogLevel},
    config::{ConfigError, Origin, Problem},
    exit::{Ended, Exit},
};

/// The environment variable that sets the level when no flag does.
const VARIABLE: &str = "TOPICMILL_LOG";

/// Whether the log of this process is text; unset before it is set up.
static IS_TEXT: OnceLock<bool> = OnceLock::new();

/// Sets up the log of this process; later calls change nothing.
///
/// # Errors
/// When the environment names an unknown level; the log then has the default one.
pub(crate) fn set_up(level: Option<LogLevel>, format: LogFormat) -> Result<(), ConfigError> {
    match level.map_or_else(from_environment, |level| Ok(Some(level))) {
        Ok(level) => start(level.unwrap_or_default(), format),
        Err(error) => {
            start(LogLevel::default(), format);
            return Err(error);
        }
    }
    Ok(())
}

/// Who reads a command's standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A log: the command runs for long and reports its progress.
    Log,
    /// A person: the command answers a question.
    Person,
}

/// Reports why a command failed: as text to people, as an event where the log is JSON.
pub(crate) fn failed(ended: &Ended, reader: Reader) {
    let Ended { exit, message } = ended;
    let is_text = reader == Reader::Person || IS_TEXT.get().copied().unwrap_or(true);
    match (exit, is_text) {
        (Exit::Done, _) => {}
        (Exit::Config, true) => eprintln!("{message}"),
        (_, true) => eprintln!("error: {message}"),
        // One event for each problem.
        (Exit::Config, false) => message.lines().for_each(|line| failure(line, *exit)),
        (_, false) => failure(message, *exit),
    }
}

fn failure(error: &str, exit: Exit) {
    tracing::error!(error, exit_code = exit as i32, "failed");
}

fn start(level: LogLevel, format: LogFormat) {
    let text = match format {
        LogFormat::Auto => io::stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let _ = IS_TEXT.set(text);
    let escapes = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    let colours = colours(escapes, std::env::var_os("NO_COLOR"));
    let layer = fmt::layer().with_writer(move || stderr(escapes));
    let layer = if text {
        layer.with_ansi(colours).with_target(false).boxed()
    } else {
        layer.json().flatten_event(true).boxed()
    };
    // Before all layers rather than as the filter of one: such a filter notes for each event whether it is wanted,
    // and a library that only asks whether a message would be leaves that note behind, for the next event to find.
    // It fails only when a log is set up already, which then stays.
    let _ = tracing_subscriber::registry().with(targets(filter(level))).with(layer).try_init();
}

/// Standard error; on a terminal a line replaces the progress bar, which is drawn again below it.
fn stderr(escapes: bool) -> io::StderrLock<'static> {
    let mut stderr = io::stderr().lock();
    if escapes {
        // Nobody reads a standard error that is closed.
        let _ = stderr.write_all(b"\r\x1b[2K");
    }
    stderr
}

/// Whether to colour, as <https://no-color.org> has it.
fn colours(escapes: bool, no_color: Option<OsString>) -> bool {
    escapes && no_color.is_none_or(|value| value.is_empty())
}

/// Of other crates only warnings: their details may hold payload or secrets.
fn targets(level: LevelFilter) -> Targets {
    Targets::new().with_target("topicmill", level).with_default(level.min(LevelFilter::WARN))
}

fn from_environment() -> Result<Option<LogLevel>, ConfigError> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
    let level = text.to_str().and_then(|text| LogLevel::from_str(text.trim(), true).ok());
    level.map(Some).ok_or_else(|| ConfigError {
        problems: vec![Problem {
            subject: VARIABLE.into(),
            message: "must be one of `off`, `error`, `warn`, `info`, `debug`, `trace`".into(),
            origin: Origin::Environment(VARIABLE.into()),
        }],
    })
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_and_may_be_unwanted() {
        assert!(colours(true, None) && colours(true, Some("".into())));
        assert!(!colours(true, Some("1".into())) && !colours(false, None));
    }
}
