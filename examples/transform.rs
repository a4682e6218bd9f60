//! A transform of your own in the program topicmill: chosen by name, with the flags and the keys that it
//! declares.
//!
//! `echo 'a stream' | cargo run --example transform -- dry-run --transform upper-case --mark '!'`
//!
//! How to run one in a program of your own, without the command line, is in the documentation of the crate.

use std::{process::ExitCode, sync::Arc};

use topicmill::transform::{
    ErrorClass, Output, Transform, TransformSpec, ValueError, Values,
    registry::{self, SettingForm, SettingSpec},
};

/// With this, `--transform upper-case` and `[transform] kind = "upper-case"` choose it.
static UPPER_CASE: TransformSpec = TransformSpec {
    name: "upper-case",
    doc: "Text is written in upper case",
    settings: &[SettingSpec {
        name: "mark",
        flag: "mark",
        value: "TEXT",
        takes: SettingForm::Text(|_| Ok(())),
        default: "",
        doc: "What `upper-case` appends to each value",
    }],
    make: |chosen| {
        let mark = chosen.get("mark").to_owned();
        Arc::new(move || Box::new(UpperCase { mark: mark.clone() }))
    },
};

/// Writes each value in upper case, with a mark, and refuses what is not text.
struct UpperCase {
    mark: String,
}

impl Transform for UpperCase {
    fn apply(&mut self, values: &Values<'_>, out: &mut Output<'_>) {
        for (index, value) in values.iter() {
            match std::str::from_utf8(value) {
                Ok(text) => out.write(index, &[text.to_uppercase().as_bytes(), self.mark.as_bytes()]),
                Err(error) => out.fail(index, ValueError::new(ErrorClass::Other, error.to_string())),
            }
        }
    }
}

fn main() -> ExitCode {
    // Before the command line is read.
    registry::register(&UPPER_CASE).expect("no other transform has the name");
    topicmill::program()
}
