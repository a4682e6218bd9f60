//! The project's habits, checked: where names may stand, how long files may be, what must be
//! documented.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use topicmill::{
    cli::Cli,
    metrics::{Exposition, Metrics},
};

/// No file is longer.
const MOST_LINES: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below the project's folders, with their path from the root.
fn sources() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["src", "tests", "benches", "examples"].iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(files.len() > 50, "the sources are found");
    files
}

#[test]
fn only_its_engine_names_rdkafka() {
    for (path, text) in sources() {
        let may =
            path.starts_with("src/engine/librdkafka") || path == Path::new("tests/librdkafka_engine.rs");
        let names = text.contains(concat!("rdkafka", "::")) && !text.contains(concat!("librdkafka", "::"));
        let names = names || text.contains(concat!("use rd", "kafka"));
        assert!(may || !names, "{} names the crate rdkafka", path.display());
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines; the most is {MOST_LINES}", path.display());
    }
}

#[test]
fn unsafe_stands_only_in_codec_and_kernels() {
    for (path, text) in sources() {
        let may = path.starts_with("src/records") || path.starts_with("src/transform");
        let stands = text
            .lines()
            .any(|line| line.contains(concat!("unsafe", " {")) || line.contains(concat!("unsafe", " fn")));
        assert!(may || !stands, "{} holds unsafe code", path.display());
    }
}

#[test]
fn every_metric_is_in_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = Metrics::new().render(Exposition::OpenMetrics);
    let names: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
        .collect();
    assert!(names.len() > 10, "{shown}");
    for name in names {
        assert!(readme.contains(&format!("`{name}")), "{name} is not in the README");
    }
}

#[test]
fn every_command_is_in_the_readme_and_every_flag_has_help() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name} says what it does");
        assert!(readme.contains(&format!("`{name}")) || name == "help", "{name} is not in the README");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
        }
    }
}
