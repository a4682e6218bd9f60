//! Any text as a configuration file, and any properties: whatever is wrong is a problem, never a panic,
//! and what `check` prints of a sound one can be saved and means the same.
//!
//! The file comes first, then after a zero byte each line is a `-X KEY=VALUE`.
#![no_main]

use std::{path::PathBuf, sync::LazyLock};

use clap::Parser;
use libfuzzer_sys::{Corpus, fuzz_target};
use topicmill::internal::{Cli, Command, Config, ConfigError};

static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let shared = PathBuf::from("/dev/shm");
    let folder = if shared.is_dir() { shared } else { std::env::temp_dir() };
    folder.join(format!("topicmill-fuzz-{}.toml", std::process::id()))
});

/// `check` with one property, of which each input's are made: to parse a command line takes longer than
/// all the rest.
static COMMAND: LazyLock<Command> =
    LazyLock::new(|| Cli::parse_from(["topicmill", "check", "-X", "acks=all"]).command);

fuzz_target!(|input: &[u8]| -> Corpus {
    // A secret's file is read; some of those never end.
    if input.windows(4).any(|bytes| bytes == b"/dev" || bytes == b"/pro") {
        return Corpus::Reject;
    }
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let properties = String::from_utf8_lossy(parts.next().unwrap_or_default());
    match read(file, &properties) {
        Ok(config) => {
            let shown = config.to_string();
            // A secret is shown as a comment, and missing afterwards.
            if !shown.contains("\"***\"") {
                match read(shown.as_bytes(), "") {
                    Ok(again) => assert_eq!(again.to_string(), shown),
                    Err(error) => panic!("{error}\nin\n{shown}"),
                }
            }
        }
        Err(ConfigError { problems, .. }) => {
            assert!(!problems.is_empty(), "a configuration is refused for a reason");
            problems.iter().for_each(|problem| assert!(problem.to_string().starts_with("config: ")));
        }
    }
    Corpus::Keep
});

fn read(file: &[u8], properties: &str) -> Result<Config, ConfigError> {
    std::fs::write(&*FILE, file).expect("the file can be written");
    let Command::Check(check) = &*COMMAND else { unreachable!("check was parsed") };
    let mut arguments = check.run.clone();
    let template = arguments.connection.properties.remove(0);
    arguments.connection.config = Some(FILE.clone());
    arguments.connection.properties.extend(properties.lines().map(|line| {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let mut property = template.clone();
        (property.key, property.value) = (key.to_owned(), value.to_owned());
        property
    }));
    Config::for_run(&arguments)
}
