use std::slice::from_ref;

use super::*;

/// The pass of each step.
fn passes(steps: &[StepTable]) -> Vec<usize> {
    plan(steps).report().iter().map(|step| step.pass).collect()
}

#[test]
fn steps_that_touch_different_bytes_are_one_pass() {
    let steps = [
        step(&[("filter", ".country == \"DE\"")]),
        step(&[("drop", ".password")]),
        step(&[("mask", ".email")]),
        step(&[("set", ".source"), ("value", "$topic")]),
        step(&[("header", "country"), ("value", ".country")]),
        step(&[("route", "orders_{.country}")]),
    ];
    assert_eq!(passes(&steps), [1; 6]);
    let doc = r#"{"country":"DE","password":"x","email":"ab"}"#;
    let written = fates(&steps, &[value(doc)]).remove(0).unwrap().remove(0);
    assert_eq!(written.value.unwrap(), r#"{"country":"DE","email":"**","source":"orders"}"#);
    assert_eq!(written.topic.unwrap(), "orders_DE");
    assert_eq!(written.headers, [("country".into(), Some("DE".into()))]);
}

#[test]
fn what_was_written_is_read_in_a_new_pass() {
    let set = step(&[("set", ".a.b"), ("value", "1")]);
    assert_eq!(passes(&[set.clone(), step(&[("filter", ".a.b == 1")])]), [1, 2]);
    assert_eq!(passes(&[set.clone(), step(&[("filter", ".a == {}")])]), [1, 2]);
    assert_eq!(passes(&[set.clone(), step(&[("filter", ".a.c == 1")])]), [1, 1]);
    assert_eq!(passes(&[set.clone(), step(&[("filter", ". | length > 1")])]), [1, 2]);
    assert_eq!(passes(&[set.clone(), step(&[("drop", ".a")])]), [1, 2]);
    assert_eq!(passes(&[set.clone(), step(&[("jq", ".")]), set.clone()]), [1, 2, 3]);
    assert_eq!(passes(&[step(&[("hash", "."), ("to", ".h")]), set.clone()]), [1, 1]);
    assert_eq!(passes(&[set, step(&[("hash", "."), ("to", ".h")])]), [1, 2]);
}

#[test]
fn keep_goes_with_what_is_kept() {
    let keep = step(&[("keep", ".a")]);
    assert_eq!(passes(&[keep.clone(), step(&[("mask", ".a.b")])]), [1, 1]);
    assert_eq!(passes(&[step(&[("mask", ".a.b")]), keep.clone()]), [1, 1]);
    assert_eq!(passes(&[keep.clone(), step(&[("filter", ".b")])]), [1, 2]);
    assert_eq!(passes(&[step(&[("set", ".b"), ("value", "1")]), keep.clone()]), [1, 2]);
    let steps = [keep, step(&[("set", ".b"), ("value", ".b")])];
    assert_eq!(edited(&steps, r#"{"a":1,"b":2}"#), r#"{"a":1,"b":null}"#);
}

/// Planned together, any three of them give what each gives after the other.
#[test]
fn a_pass_does_what_its_steps_do_one_after_the_other() {
    let steps = [
        step(&[("filter", ".n > 1")]),
        step(&[("drop", ".a")]),
        step(&[("drop", ".o.x")]),
        step(&[("drop", ".i[].p")]),
        step(&[("keep", ".o")]),
        StepTable::default().with("keep", Given::List(vec![".a".into(), ".i[].p".into(), ".o.x".into()])),
        step(&[("rename", ".a"), ("to", "b")]),
        step(&[("rename", ".o.x"), ("to", ".o.z")]),
        step(&[("rename", ".o.x"), ("to", ".x")]),
        step(&[("set", ".a"), ("value", ".n")]),
        step(&[("set", ".new"), ("value", "1")]),
        step(&[("set", ".o.x"), ("value", ".a")]),
        step(&[("set", ".i[].q"), ("value", "\"q\"")]),
        step(&[("copy", ".o"), ("to", ".c")]),
        step(&[("mask", ".a")]),
        step(&[("mask", ".i[].p")]),
        step(&[("redact", ".o")]),
        step(&[("hash", ".o.x"), ("digest", "xxh3")]),
        step(&[("hash", ".a"), ("digest", "xxh3"), ("to", ".h")]),
        step(&[("jq", ".n += 1")]),
    ];
    let docs = [
        r#"{"a":"text","n":3,"o":{"x":"y","z":[1]},"i":[{"p":1},{"p":"2","q":3},4]}"#,
        r#"{"n":2,"x":9,"o":{},"b":7,"i":[]}"#,
        r#"{"n":5,"a":"1","o":{"x":null},"c":{},"h":0,"new":[],"i":[{"p":true}]}"#,
        r#" {"n" : 0} "#,
        r#"{"o":5,"n":2,"a":"x"}"#,
    ];
    for first in &steps {
        for second in &steps {
            for third in [&steps[4], &steps[10], &steps[17]] {
                let chain = [first.clone(), second.clone(), third.clone()];
                for doc in docs {
                    let at_once = fates(&chain, &[value(doc)]).remove(0);
                    let mut one_by_one = Ok(vec![doc.to_owned()]);
                    for step in &chain {
                        let Ok(docs) = &one_by_one else { break };
                        let each = docs.iter().map(|doc| fates(from_ref(step), &[value(doc)]).remove(0));
                        let each: Result<Vec<_>, _> = each.collect();
                        one_by_one = each.map(|each| {
                            each.into_iter().flatten().map(|written| written.value.unwrap()).collect()
                        });
                    }
                    let at_once =
                        at_once.map(|all| all.into_iter().map(|w| w.value.unwrap()).collect::<Vec<_>>());
                    let class = |error: (ErrorClass, String)| error.0;
                    assert_eq!(at_once.map_err(class), one_by_one.map_err(class), "{chain:?} {doc}");
                }
            }
        }
    }
}
