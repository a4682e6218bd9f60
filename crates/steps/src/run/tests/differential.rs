//! Steps on the bytes beside programs of jq that do the same.

use std::slice::from_ref;

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::Value;

use super::*;

/// Each way to write a step, and the program that means the same for a document that is an object without
/// duplicate keys.
fn pairs() -> Vec<(StepTable, &'static str)> {
    let list = |paths: &[&str]| Given::List(paths.iter().map(|path| (*path).to_owned()).collect());
    let mask = StepTable::of("mask", ".s").with("first", Given::Integer(1)).with("last", Given::Integer(2));
    vec![
        (step(&[("drop", ".a")]), "del(.a)"),
        (
            StepTable::default().with("drop", list(&[".o.a", ".b"])),
            "(if .o | type == \"object\" then del(.o.a) end) | del(.b)",
        ),
        (
            step(&[("drop", ".items[].a")]),
            "if .items | type == \"array\" or type == \"object\" then \
             .items |= map_values(if type == \"object\" then del(.a) end) end",
        ),
        (step(&[("drop", ".*")]), "{}"),
        (
            StepTable::default().with("keep", list(&[".a", ".s"])),
            "with_entries(select(.key == \"a\" or .key == \"s\"))",
        ),
        (step(&[("rename", ".a"), ("to", "b")]), "if has(\"a\") then .b = .a | del(.a) end"),
        (
            step(&[("rename", ".a"), ("to", ".o.c")]),
            "if has(\"a\") and (.o | type == \"object\") then .o.c = .a | del(.a) end",
        ),
        (step(&[("set", ".c"), ("value", ".s")]), ".c = .s"),
        (step(&[("set", ".c"), ("value", ".a == .b")]), ".c = (.a == .b)"),
        (step(&[("set", ".o.c"), ("value", "$offset")]), "if .o | type == \"object\" then .o.c = 10 end"),
        (
            step(&[("set", ".c"), ("value", "[.a, .b] | tojson | length")]),
            ".c = ([.a, .b] | tojson | length)",
        ),
        (step(&[("copy", ".a"), ("to", ".c")]), "if has(\"a\") then .c = .a end"),
        (
            step(&[("redact", ".items[]")]),
            "if .items | type == \"array\" or type == \"object\" then .items |= map_values(\"***\") end",
        ),
        (
            mask.with("when", text(".s | type == \"string\"")),
            "if .s | type == \"string\" then .s |= (length as $n | if $n <= 3 then \"*\" * $n // \"\" else \
             .[:1] + \"*\" * ($n - 3) + .[-2:] end) end",
        ),
        (
            StepTable::of("truncate", ".s").with("length", Given::Integer(3)),
            "if .s | type == \"string\" then .s |= .[:3] end",
        ),
        (
            step(&[("filter", ".a == .b or (.s | startswith(\"a\"))?")]),
            "select(.a == .b or (.s | startswith(\"a\"))?)",
        ),
        (step(&[("filter", ".o.a < .a")]), "select(.o.a < .a)"),
    ]
}

const KEYS: [&str; 7] = ["a", "b", "c", "s", "o", "items", "\\u0061\u{e9}"];
const TEXTS: [&str; 7] =
    ["", "a", "ab\\u00e9", "\u{1f600}x\\ud83d\\ude00", "a\\n\\\"quoted\\\"", "abcdefgh", "\\/"];
const NUMBERS: [&str; 6] = ["0", "-1", "1.50", "12345678901234567890123", "1e3", "2.0"];

fn blank(random: &mut StdRng) -> &'static str {
    ["", "", "", " ", "\n\t"].choose(random).unwrap()
}

fn write_value(random: &mut StdRng, depth: usize, out: &mut String) {
    match random.random_range(0..if depth < 3 { 8 } else { 5 }) {
        0 => out.push_str("null"),
        1 => out.push_str(["true", "false"].choose(random).unwrap()),
        2 => out.push_str(NUMBERS.choose(random).unwrap()),
        3 | 4 => *out += &format!("\"{}\"", TEXTS.choose(random).unwrap()),
        5 => {
            out.push('[');
            for index in 0..random.random_range(0..4) {
                out.push_str(if index > 0 { "," } else { blank(random) });
                write_value(random, depth + 1, out);
                out.push_str(blank(random));
            }
            out.push(']');
        }
        _ => write_object(random, depth + 1, out),
    }
}

fn write_object(random: &mut StdRng, depth: usize, out: &mut String) {
    let mut keys = KEYS.to_vec();
    out.push('{');
    for index in 0..random.random_range(0..KEYS.len()) {
        let key = keys.swap_remove(random.random_range(0..keys.len()));
        *out += &format!(
            "{}\"{key}\"{}:{}",
            if index > 0 { "," } else { blank(random) },
            blank(random),
            blank(random)
        );
        write_value(random, depth, out);
        out.push_str(blank(random));
    }
    out.push('}');
}

fn compare(documents: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let pairs = pairs();
    let kinds: Vec<_> = pairs
        .iter()
        .map(|(table, program)| (plan(from_ref(table)).kind(), plan(&[step(&[("jq", program)])]).kind()))
        .collect();
    for _ in 0..documents.div_ceil(100) {
        let docs: Vec<String> = (0..100)
            .map(|_| {
                let mut doc = blank(&mut random).to_owned();
                write_object(&mut random, 0, &mut doc);
                doc
            })
            .collect();
        for ((bytes, jq), (table, _)) in kinds.iter().zip(&pairs) {
            // Each is the first of its batch, so that it has the same offset.
            for doc in &docs {
                let parsed = |kind| {
                    let results = fates_of(kind, &[value(doc)]).remove(0);
                    results.map_err(|(class, _)| class).map(|results| {
                        let parse = |written: Written| {
                            serde_json::from_str::<Value>(&written.value.unwrap()).unwrap()
                        };
                        results.into_iter().map(parse).collect::<Vec<_>>()
                    })
                };
                assert_eq!(parsed(bytes), parsed(jq), "{table:?} {doc}");
            }
        }
    }
}

#[test]
fn steps_do_what_programs_of_jq_do() {
    compare(300, 1);
}

/// The same on a million documents, in half an hour or so.
#[test]
#[ignore = "takes long"]
fn steps_do_what_programs_of_jq_do_on_a_million_documents() {
    for seed in 0..100 {
        compare(10_000, seed + 100);
    }
}
