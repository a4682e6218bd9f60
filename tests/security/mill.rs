//! The program, with properties and secrets.

use std::process::Command;

use crate::{
    broker::{Kafka, Listener, USER},
    support::{
        Names, command,
        program::{Running, SOON},
    },
};

/// What the program is started with.
#[derive(Clone)]
pub struct Mill {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

/// What a program said, and how it ended.
pub struct Said {
    pub code: i32,
    pub text: String,
}

impl Mill {
    pub fn new(arguments: &[&str]) -> Mill {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Mill { arguments, environment: Vec::new() }
    }

    /// `run` to the end offsets of now, through a listener of a broker that is trusted.
    pub fn through(kafka: &Kafka, listener: Listener, names: &Names) -> Mill {
        Mill::at(&kafka.address(listener), names)
            .set("security.protocol", if listener.is_login() { "sasl_ssl" } else { "ssl" })
            .set("ssl.ca.location", &kafka.authority.certificate)
    }

    /// The same at any address, with the properties that are set.
    pub fn at(brokers: &str, names: &Names) -> Mill {
        Mill::new(&[
            "run",
            "--until-caught-up",
            "--brokers",
            brokers,
            "--source",
            &names.source,
            "--destination",
            &names.destination,
            "--dead-letter",
            &names.dead_letter,
            "--group",
            &names.group,
            "--transform",
            "name-event",
            "--admin",
            "off",
        ])
    }

    /// Another command with the same arguments.
    pub fn command(mut self, name: &str) -> Mill {
        name.clone_into(&mut self.arguments[0]);
        self
    }

    /// The steps of this configuration instead of the transform.
    pub fn steps(mut self, config: &str) -> Mill {
        let place = self.arguments.iter().position(|argument| argument == "--transform").unwrap();
        self.arguments.splice(place..place + 2, ["--config".to_owned(), config.to_owned()]);
        self
    }

    /// Goes on until it is stopped, with an admin server.
    pub fn for_ever(mut self) -> Mill {
        self.arguments.retain(|argument| argument != "--until-caught-up");
        let place = self.arguments.iter().position(|argument| argument == "off").unwrap();
        "127.0.0.1:0".clone_into(&mut self.arguments[place]);
        self
    }

    pub fn with(mut self, arguments: &[&str]) -> Mill {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets a property by `-X`.
    pub fn set(self, property: &str, value: &str) -> Mill {
        self.with(&["-X", &format!("{property}={value}")])
    }

    /// Sets a secret property by its variable.
    pub fn secret(self, property: &str, value: &str) -> Mill {
        self.variable(&format!("TOPICMILL_KAFKA_{}", property.to_uppercase().replace('.', "_")), value)
    }

    pub fn variable(mut self, name: &str, value: &str) -> Mill {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Logs in as the user, by a mechanism with a password.
    pub fn login(self, mechanism: &str, password: &str) -> Mill {
        self.set("sasl.mechanism", mechanism).set("sasl.username", USER).secret("sasl.password", password)
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Running::of(command(&arguments).envs(self.environment))
    }

    /// Runs a program to its end that is told the arguments by a variable, one a line.
    pub fn run_by(self, program: &mut Command, variable: &str) -> Said {
        let program = program.env(variable, self.arguments.join("\n")).envs(self.environment);
        Said::at_the_end(Running::of(program))
    }

    /// Runs it to its end.
    pub fn run(self) -> Said {
        Said::at_the_end(self.start())
    }
}

impl Said {
    pub fn at_the_end(running: Running) -> Said {
        let (code, _, lines) = running.end(SOON);
        Said { code, text: lines.join("\n") }
    }

    /// Fails unless it ended with this code and has said all of these.
    pub fn expect(self, code: i32, parts: &[&str]) -> Said {
        assert_eq!(self.code, code, "{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "{part:?} is not said:\n{}", self.text);
        }
        self
    }
}
