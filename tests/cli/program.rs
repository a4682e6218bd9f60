//! Runs the program with an environment of its own.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use tempfile::NamedTempFile;

/// What the program is started with.
#[derive(Default)]
pub struct Program {
    args: Vec<String>,
    environment: Vec<(String, String)>,
    file: Option<NamedTempFile>,
}

/// How it ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub fn new<'a>(args: impl IntoIterator<Item = &'a str>) -> Program {
        Program { args: args.into_iter().map(str::to_owned).collect(), ..Program::default() }
    }

    pub fn environment(mut self, name: &str, value: &str) -> Program {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Writes `toml` to a file that `--config` names.
    pub fn config(mut self, toml: &str) -> Program {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        self.args.extend(["--config".into(), file.path().to_str().unwrap().into()]);
        self.file = Some(file);
        self
    }

    pub fn run(self) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_topicmill"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TOPICMILL_") {
                command.env_remove(name);
            }
        }
        let output = command
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ended {
            code: output.status.code().expect("it ends by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Asserts the exit code and that every one of `parts` stands in what was said.
    pub fn expect(&self, code: i32, parts: &[&str]) -> &Ended {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} does not stand in:\n{said}");
        }
        self
    }
}
