use std::slice::from_ref;

use super::*;

/// Those that do most are one pass.
#[test]
fn ordinary_steps_are_one_pass() {
    let steps = [
        step(&[("filter", ".status == \"open\"")]),
        step(&[("hash", ".customer.email")]),
        step(&[("mask", ".customer.phone")]),
        step(&[("rename", ".customer.name"), ("to", "who")]),
        step(&[("drop", ".note")]),
        step(&[("set", ".source"), ("value", "$topic")]),
        step(&[("key", ".id")]),
        step(&[("route", "orders_{.country}")]),
    ];
    assert_eq!(passes(&steps), [1; 8]);
    let kept = failing(list("keep", &[".id", ".customer", ".country"]));
    let last = [&steps[..3], &[kept]].concat();
    assert_eq!(passes(&last), [1; 4]);
}

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

/// A step with a list of paths.
fn list(name: &str, paths: &[&str]) -> StepTable {
    StepTable::default().with(name, Given::List(paths.iter().map(|path| (*path).to_owned()).collect()))
}

fn failing(step: StepTable) -> StepTable {
    step.with("on_missing", text("fail"))
}

/// What an index leads to depends on what was removed from its array.
#[test]
fn an_index_counts_what_is_left() {
    let drop = step(&[("drop", ".b[0]")]);
    let mask = step(&[("mask", ".b[1]")]);
    assert_eq!(edited(&[drop.clone(), mask], r#"{"b":["five","sixx","sevn"]}"#), r#"{"b":["sixx","****"]}"#);
    for (reads, becomes) in [
        (step(&[("set", ".b[1]"), ("value", "0")]), r#"{"b":[6,0]}"#),
        (step(&[("set", ".c"), ("text", "{.b[1]}")]), r#"{"b":[6,7],"c":"7"}"#),
        (step(&[("copy", ".b[1]"), ("to", ".c")]), r#"{"b":[6,7],"c":7}"#),
        (drop.clone(), r#"{"b":[7]}"#),
        (step(&[("filter", ".b[1] == 7")]), r#"{"b":[6,7]}"#),
        (step(&[("keep", ".b[1]")]), r#"{"b":[7]}"#),
    ] {
        assert_eq!(edited(&[drop.clone(), reads.clone()], r#"{"b":[5,6,7]}"#), becomes, "{reads:?}");
        assert_eq!(passes(&[drop.clone(), reads]), [1, 2]);
    }
    let nested = [drop, step(&[("redact", ".b[1].k")])];
    assert_eq!(edited(&nested, r#"{"b":[0,{"k":1},{"k":2}]}"#), r#"{"b":[{"k":1},{"k":"***"}]}"#);
    // `keep` removes elements as well, even of those that it leads through.
    let keep = step(&[("keep", ".b[1]")]);
    let first = [keep.clone(), step(&[("set", ".b[0]"), ("value", "0")])];
    assert_eq!(edited(&first, r#"{"b":[5,6,7]}"#), r#"{"b":[0]}"#);
    let written = fates(&[keep, step(&[("filter", ".b[1] == 6")])], &[value(r#"{"b":[5,6,7]}"#)]).remove(0);
    assert_eq!(written, Ok(Vec::new()));
    let through = [step(&[("keep", ".b[].k")]), step(&[("mask", ".b[0].k")])];
    assert_eq!(edited(&through, r#"{"b":[1,{"k":2}]}"#), r#"{"b":[{"k":"*"}]}"#);
    // What is beside the array, or in an element, moves nothing.
    assert_eq!(passes(&[step(&[("drop", ".b[0]")]), step(&[("mask", ".c[1]")])]), [1, 1]);
    assert_eq!(passes(&[step(&[("drop", ".b[0].k")]), step(&[("mask", ".b[1].k")])]), [1, 1]);
    assert_eq!(passes(&[step(&[("keep", ".b")]), step(&[("mask", ".b[1]")])]), [1, 1]);
}

#[test]
fn what_is_missing_is_so_after_the_steps_before() {
    let keep = failing(list("keep", &[".id", ".source"]));
    for step in [
        step(&[("set", ".source"), ("value", "$topic")]),
        step(&[("copy", ".id"), ("to", ".source")]),
        step(&[("hash", ".id"), ("digest", "xxh3"), ("to", ".source")]),
    ] {
        let kept = edited(&[step.clone(), keep.clone()], r#"{"id":1,"junk":2}"#);
        assert!(kept.starts_with(r#"{"id":1,"source":"#) && !kept.contains("junk"), "{step:?}: {kept}");
    }
    let gone = [step(&[("keep", ".c")]), failing(step(&[("drop", ".b")]))];
    assert_eq!(refused(&gone, r#"{"c":1,"b":2}"#).0, ErrorClass::Missing);
    let gone = [step(&[("drop", ".a")]), failing(step(&[("keep", ".a")]))];
    assert_eq!(refused(&gone, r#"{"a":1}"#).0, ErrorClass::Missing);
    // What only takes another value, or is beneath, is still there.
    let keep = failing(step(&[("keep", ".a")]));
    assert_eq!(passes(&[step(&[("mask", ".a")]), keep.clone()]), [1, 1]);
    assert_eq!(passes(&[step(&[("drop", ".a.b")]), keep]), [1, 1]);
}

#[test]
fn what_keep_removes_on_its_way_is_not_seen_behind_it() {
    let keep = list("keep", &[".id", ".customer.country"]);
    let filter = step(&[("filter", ".customer.country == \"DE\"")]);
    let fate = fates(&[keep, filter], &[value(r#"{"id":1,"customer":"x"}"#)]).remove(0);
    assert_eq!(fate, Ok(Vec::new()), "the customer is gone, and no text any more");
    let keep = step(&[("keep", ".a.b")]);
    let filter = step(&[("filter", ".a.b == 7")]);
    assert_eq!(edited(&[keep.clone(), filter], r#"{"a":{"b":7},"a":1.5}"#), r#"{"a":{"b":7}}"#);
    let key = failing(step(&[("key", ".a.b")]));
    assert_eq!(refused(&[keep, key], r#"{"a":1}"#).0, ErrorClass::Missing);
    let fate = fates(&[step(&[("keep", ".a")]), step(&[("filter", ".a == null")])], &[value("5")]).remove(0);
    assert_eq!(fate.unwrap()[0].value.as_deref(), Some("null"));
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

#[test]
fn what_a_pass_costs_follows_its_steps() {
    let step_of = |text: &str| {
        let (name, value) = text.split_once(' ').unwrap();
        step(&[(name, value)])
    };
    let (tenths, record) = ("about 0.", "µs for a record of 350 bytes");
    for (steps, cost) in [
        (&["mask .a"][..], format!("{tenths}2 {record}")),
        (&["hash .a"], format!("{tenths}3 {record}")),
        (&["mask .a", "hash .b", "drop .c"], format!("{tenths}5 {record}")),
        (&["route {$topic}_x", "mask .a"], format!("{tenths}2 {record}")),
        (&["route {$topic}_x"], "nothing is read of the value".into()),
        (&["jq {a, b}"], format!("{tenths}2 {record}")),
        (&["jq walk(.)"], format!("about 4 {record}, by jaq")),
        (
            &["filter any(.a; .)", "filter any(.c; .)", "mask .b"],
            format!("about 8.4 {record}, 8 of it by jaq"),
        ),
    ] {
        let steps: Vec<StepTable> = steps.iter().copied().map(step_of).collect();
        let reports = plan(&steps).report();
        assert!(reports.iter().all(|report| report.cost == cost), "{cost}: {reports:?}");
    }
    let to = [step(&[("hash", ".a"), ("to", ".h"), ("when", "any(.c; .)")])];
    assert_eq!(plan(&to).report()[0].cost, format!("about 4.3 {record}, 4 of it by jaq"));
    let name_event = StepTable::default().with("name-event", Given::Boolean(true));
    let both = plan(&[step(&[("mask", ".a")]), name_event]).report();
    assert_eq!(both[1].cost, "a transform, which reads the value itself");
}

#[test]
fn a_condition_that_sets_something_is_warned_of() {
    let warning = |settings: &[(&str, &str)]| plan(&[step(settings)]).report()[0].warning;
    for condition in [".x = 1", ".x |= 1", ".x += 1", ".x //= 1", "(.x = 1)", ".x = 1 and .y"] {
        for settings in [[("filter", condition)].as_slice(), &[("mask", ".a"), ("when", condition)]] {
            let warning = warning(settings).unwrap_or_default();
            assert!(warning.contains("'==' compares"), "{settings:?}: {warning}");
        }
    }
    let meant: [&[(&str, &str)]; 4] = [
        &[("filter", ".x == 1")],
        &[("filter", ".x")],
        &[("jq", ".x = 1")],
        &[("set", ".a"), ("value", ".x = 1")],
    ];
    for settings in meant {
        assert_eq!(warning(settings), None, "{settings:?}");
    }
}
