//! What a panic says, backtrace included, has no secret in it.

use std::sync::Arc;

use topicmill::{
    internal,
    transform::{Output, Transform, TransformSpec, Values, registry},
};

use crate::{
    Trial,
    broker::PASSWORD,
    secrets::{Keys, assert_silent},
    support::apart,
};

/// Panics at the first record.
struct Panics;

impl Transform for Panics {
    fn apply(&mut self, _: &Values<'_>, _: &mut Output<'_>) {
        panic!("on purpose");
    }
}

static PANICS: TransformSpec = TransformSpec {
    name: "panics",
    doc: "Nothing is transformed",
    settings: &[],
    make: |_| Arc::new(|| Box::new(Panics)),
};

/// What [`the_program`] is told to do.
const ARGUMENTS: &str = "PANICS_ARGUMENTS";

/// The program with this transform, as a process that the test below starts; otherwise it does nothing.
#[test]
fn the_program() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    registry::register(&PANICS).unwrap();
    std::process::exit(internal::program(["topicmill"].into_iter().chain(arguments.lines())));
}

#[test]
fn a_panic_tells_none() {
    let keys = Keys::with_steps("panics.toml", "[[step]]\npanics = true\n");
    for strategy in ["serial", "pipeline", "worker"] {
        let mill = keys.talkative(&Trial::new("panics")).with(&["--strategy", strategy]);
        let mill = mill.login("SCRAM-SHA-512", PASSWORD).variable("RUST_BACKTRACE", "full");
        let mut program = apart(std::env::current_exe().unwrap());
        let said = mill.run_by(program.args(["--exact", "panics::the_program", "--nocapture"]), ARGUMENTS);
        let said = said.expect(1, &["panicked at", "on purpose", "stack backtrace", "panics.rs", "TRACE"]);
        assert_silent("a panic", &said.text, &keys.secrets(&[PASSWORD]));
    }
}
