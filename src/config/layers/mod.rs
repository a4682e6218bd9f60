//! The layers of the configuration: the file, the environment, the flags.

mod environment;
mod file;
mod flags;
pub(super) mod kafka;

use std::path::Path;

pub(super) use flags::Flags;

use super::settings::Settings;

/// Merges the file (if any), the environment and the flags.
pub(super) fn load(file: Option<&Path>, flags: &impl Flags) -> Settings {
    let mut settings = Settings::default();
    if let Some(path) = file {
        file::load(path, &mut settings);
    }
    environment::load(std::env::vars_os(), &mut settings);
    flags.put(&mut settings);
    settings
}
