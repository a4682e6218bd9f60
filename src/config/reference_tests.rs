//! The reference file against the tables.

use std::collections::BTreeSet;

use super::{
    Config,
    keys::{self, Form, Section},
};
use crate::{cli::RunArgs, engine::native::properties};

fn reference() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/reference.toml");
    std::fs::read_to_string(path).unwrap()
}

/// The lines of a section, without what comments an entry out.
fn section(reference: &str, section: Section) -> Vec<String> {
    let head = format!("[{}]", section.name());
    let lines = reference.lines().skip_while(|line| *line != head).skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .map(|line| line.trim_start_matches("# ").to_owned())
        .collect()
}

#[test]
fn the_reference_has_every_property_with_its_description_and_its_default() {
    let reference = reference();
    let lines = section(&reference, Section::Kafka);
    let mut missing = String::new();
    for property in properties::all() {
        let (description, entry) = (property.description(), property.entry());
        let stands = lines.windows(2).any(|pair| pair[0] == description && pair[1].starts_with(&entry));
        if !stands {
            missing += &format!("# {description}\n# {entry}\n\n");
        }
    }
    assert!(missing.is_empty(), "examples/reference.toml lacks in [kafka]:\n{missing}");
}

#[test]
fn the_reference_has_every_key_with_its_default_and_its_flag() {
    let reference = reference();
    for key in keys::all() {
        let entry = format!("{} = ", key.name);
        let lines = section(&reference, key.section);
        let line = lines.iter().find(|line| line.starts_with(&entry));
        let line = line.unwrap_or_else(|| panic!("examples/reference.toml lacks {}", key.subject()));
        assert!(line.contains(key.default), "{}: its default is {}, not {line}", key.subject(), key.default);
        let same = key.flag.replace('-', "_") == key.name || key.section == Section::Run;
        assert!(same || line.contains(&format!("--{}", key.flag)), "{}: --{}", key.subject(), key.flag);
    }
}

#[test]
fn the_effective_configuration_has_every_key() {
    let config = Config::for_run(&RunArgs::default()).unwrap();
    let shown: BTreeSet<_> = config.shown().iter().map(|(key, _)| (key.section, key.name)).collect();
    for key in keys::all().into_iter().filter(|key| !matches!(key.form, Form::Setting(_))) {
        assert!(shown.contains(&(key.section, key.name)), "{} is not shown", key.subject());
    }
}
