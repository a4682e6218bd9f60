//! Nothing hangs, overflows the stack or takes memory without end.

use std::time::{Duration, Instant};

use super::*;

/// With what is on at the same time, and without optimisation.
const LONG: Duration = Duration::from_secs(300);

fn limits() -> Limits {
    Limits { time: Duration::from_millis(200), ..Limits::default() }
}

#[track_caller]
fn are_stopped(texts: &[&str], doc: &str) {
    let went_on = texts.iter().filter_map(|text| {
        let began = Instant::now();
        let outcome = run_within(limits(), text, doc);
        let is_stopped =
            outcome.as_ref().is_err_and(|error| matches!(error.class, ErrorClass::Limit | ErrorClass::Depth));
        let took = began.elapsed();
        (!is_stopped || took > LONG).then(|| format!("{text}: {outcome:.200?} after {took:?}"))
    });
    assert_eq!(went_on.collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_has_no_end_is_stopped() {
    let texts = [
        "def f: f; f",
        "def f: ., f; f | empty",
        "def f: f, 1; f",
        "[range(1e12)]",
        "[range(1000000000000)]",
        "range(1000000000000) | select(false)",
        "range(1000000000000) as $x | empty",
        "reduce range(1000000000000) as $x (0; 1)",
        "[foreach range(1000000000000) as $x (0; 1)]",
        "[range(0; 1; 0)]",
        "[repeat(1)]",
        "repeat(1)",
        "last(repeat(.))",
        "last(range(1000000000000))",
        "isempty(range(1000000000000) | empty)",
        "until(false; .)",
        "[while(true; .)]",
        "[recurse(.)]",
        "try (def f: f; f) catch .",
        "(def f: f; try f catch f)",
        "def f: try f catch .; f",
        "def f: (try error(1) catch 0) | f; f",
        "def f: label $x | f; f",
        "def f(g): f(g); f(.)",
        "def f(g): g | f(g); f(.)",
        "def f($x): f($x + 1); f(0)",
        "def a: def b: a; b; a",
        "first(range(1000000000000) | if . < 0 then . else empty end)",
        "[limit(1000000000000; repeat(1))]",
        "path(repeat(.))",
        "[path(..)] | .[0] | until(false; .)",
        "any(range(1000000000000); . < 0)",
    ];
    are_stopped(&texts, "null");
}

#[test]
fn what_is_nested_without_end_is_stopped() {
    let texts = [
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f: 1 + f; f",
        "def f: f | f; f",
        "def f: f + f; f",
        "def f: -f; f",
        "def f: if f then 1 else 2 end; f",
        "def f: \"\\(f)\"; f",
        "def f: f as $x | 1; f",
        "def f: 1, (f | . + 1); [f]",
        "def f: first(f); f",
        "def f: {a: .} | .a |= f; f",
        "def f(g): if . > 1000000 then g else . + 1 | f([g]) end; 0 | f(1)",
        "def f(g): def h: f(h | g); h; f(.)",
        "reduce range(1000000) as $i (0; [.])",
        "reduce range(1000000) as $i ({}; {a: .})",
        "reduce range(1000000) as $i ([0]; group_by(.))",
        "reduce range(1000000) as $i ({}; .a = .)",
        "reduce range(1000000) as $i ([0]; .[0] |= [.])",
        "reduce range(1000000) as $i ([[0]]; . as $x | .. |= if . == 0 then $x else . end)",
        "reduce range(1000000) as $i ([1]; walk([.]))",
        "def f: [.] | f; f",
        "def f($x): f([$x]); f(0)",
        "last(recurse([.]))",
        "[.] | until(false; [.])",
    ];
    are_stopped(&texts, "null");
}

#[test]
fn what_takes_more_and_more_is_stopped() {
    let texts = [
        "\"x\" * 1000000000 * 1000",
        "\"x\" * 2000000000",
        "2000000000 * \"x\"",
        ".a *= 2000000000",
        "reduce range(60) as $i (\"x\"; . + .)",
        "reduce range(60) as $i (\"x\"; \"\\(.)\\(.)\")",
        "reduce range(60) as $i ([1]; . + .)",
        "reduce range(60) as $i ([1]; [., .])",
        "reduce range(60) as $i ([1]; [., .]) | tojson",
        "reduce range(60) as $i ({}; {a: ., b: .}) | . == {}",
        "reduce range(60) as $i ([1, 1]; . as $x | .[0] = $x | .[1] = $x) | length",
        "def d: [., .]; def e: d | d; def f: e | e; def g: f | f; def h: g | g; def i: h | h; def j: i | i; 1 | j",
        "reduce range(40) as $i (1; ., .)",
        "def d: ., .; def e: d | d; def f: e | e; def g: f | f; def h: g | g; def i: h | h; [1 | i]",
        "[range(10000)] | .[] as $a | .[] as $b | .[] as $c | empty",
        "[range(10000)] | [combinations(4)]? // 1",
        "[range(30000)] | contains([range(30000)])",
        "[range(100000)] | indices([range(50000)])",
        "reduce range(1000000) as $i (2; . * .)",
        "[range(100000) | \"\\(\"x\" * 10000)\"]",
        "[range(100000) as $i | \"x\" * 10000 | @uri]",
        "[range(100000) as $i | \"x\" * 10000 | explode]",
        "[range(100000) as $i | \"x\" * 10000 / \"\"]",
        "\"x\" * 1000000 | [range(1000) as $i | ascii_upcase]",
        "[range(100000) as $i | [range(100)] | sort]",
    ];
    are_stopped(&texts, r#"{"a":"x"}"#);
    let few = Limits { results: 3, output: 10, ..Limits::default() };
    assert_eq!(run_within(few.clone(), "range(4)", "0").unwrap_err().class, ErrorClass::Limit);
    assert_eq!(run_within(few.clone(), "\"x\" * 10", "0").unwrap_err().class, ErrorClass::Limit);
    assert_eq!(run_within(few, "1, 2, 3", "0").unwrap().len(), 3);
}

#[test]
fn comparisons_count_what_they_compare() {
    let patient = Limits { time: 10 * LONG, ..Limits::default() };
    let text = "[range(500000)] as $a | [range(500000)] as $b | range(1000000000) | select($a != $b)";
    let began = Instant::now();
    assert_eq!(run_within(patient, text, "null").unwrap_err().class, ErrorClass::Limit);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[test]
fn deep_documents_are_no_danger() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let deep = nested(10_000);
    for text in [
        ".",
        "[..] | length",
        "tojson | length",
        "[paths] | length",
        ". == .",
        "walk(.)",
        ".. |= .",
        "sort",
        "flatten",
        "[leaf_paths?] | length",
        "tojson | fromjson",
        "contains([])",
        "{(tojson): 1} | length",
        "unique",
        "[.[] | .. | numbers]",
        "del(.. | numbers)",
        "getpath([range(9999) | 0])",
        "[getpath(paths)] | length",
        "map(tojson) | length",
        "def f: .[0]? // . | if isarray then f else . end; f",
    ] {
        let began = Instant::now();
        match run(text, &deep) {
            Ok(_) => {}
            Err(error) => assert!(
                matches!(error.class, ErrorClass::Limit | ErrorClass::Depth | ErrorClass::Jq),
                "{text}: {error}"
            ),
        }
        assert!(began.elapsed() < LONG, "{text}: {:?}", began.elapsed());
    }
    assert_eq!(run(".", &deep).unwrap(), [deep.as_str()]);
    assert_eq!(run("[.]", &nested(9_999)).unwrap(), [deep.as_str()]);
    assert_eq!(class_of("[.]", &deep), ErrorClass::Depth);
    assert_eq!(class_of(".", &nested(10_001)), ErrorClass::Depth);
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    assert_eq!(run(".", &objects).unwrap(), [objects.as_str()]);
    assert_eq!(class_of("fromjson", &format!("\"{}\"", nested(10_001))), ErrorClass::Depth);
}

#[test]
fn recursion_that_ends_is_allowed() {
    for (text, result) in [
        ("def f: if . >= 100000 then . else . + 1 | f end; 0 | f", "100000"),
        ("def f(g): if . >= 10000 then g else . + 1 | f(g) end; 0 | f(.)", "10000"),
        ("def f: if . == 0 then 0 else (. - 1 | f) + 1 end; 1000 | f", "1000"),
        ("reduce range(1000) as $i (0; [.]) | tojson | length", "2001"),
        ("[range(100000)] | length", "100000"),
        ("[range(1000)] | map({a: ., b: [.]}) | group_by(.a % 7) | length", "7"),
        ("reduce range(1000) as $i ({}; .[\"k\\($i)\"] = {i: $i}) | length", "1000"),
    ] {
        let patient = Limits { time: Duration::from_secs(100), ..Limits::default() };
        assert_eq!(run_within(patient, text, "null").as_deref(), Ok(&[result.to_owned()][..]), "{text}");
    }
}
