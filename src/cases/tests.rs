use std::{io::Cursor, time::Instant};

use super::*;
use crate::transform::NameEvent;

/// The outcome of the cases in `text` with the transform of name events: what is printed, and what JUnit reads.
fn outcome(text: &str) -> (Result<Exit, CasesError>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (file, junit) = (folder.path().join("orders.test.toml"), folder.path().join("junit.xml"));
    fs::write(&file, text).unwrap();
    let config = CasesConfig {
        transform: NameEvent::kind(),
        source: None,
        destination: None,
        files: Vec::new(),
        config: Some(folder.path().join("orders.toml")),
        junit: Some(junit.clone()),
    };
    let mut out = Cursor::new(Vec::new());
    let exit = command(&config, &mut out);
    let text = String::from_utf8(out.into_inner()).unwrap();
    (
        exit,
        text.replace(&format!("{}/", folder.path().display()), ""),
        fs::read_to_string(junit).unwrap_or_default(),
    )
}

const GOOD: &str = r#"
[[case]]
name = "a name"
value = '{"first_name":"Ada"}'
key = "k"
headers = { trace = "7" }
[[case.output]]
key = "k"
headers = { trace = "7" }
value = '{"first_name":"Ada","last_name":"","hash":"a9c1d2de4f91f1be24a54c9c2c8bb0a0"}'

[[case]]
tombstone = true
[[case.output]]
tombstone = true

[[case]]
name = "no JSON"
value = "{"
dead_letter = "eof"
"#;

#[test]
fn what_is_as_expected_passes() {
    let (exit, text, junit) = outcome(&GOOD.replace("a9c1d2de4f91f1be24a54c9c2c8bb0a0", &digest()));
    assert_eq!(exit.unwrap(), Exit::Done, "{text}");
    assert!(text.starts_with("3 cases: 3 passed, 0 failed; "), "{text}");
    assert!(junit.contains(r#"tests="3" skipped="0" errors="0" failures="0""#), "{junit}");
}

/// Of the first value above.
fn digest() -> String {
    let batch = trial::batch_of(
        &trial::Plain { value: Some(br#"{"first_name":"Ada"}"#.to_vec()), ..Default::default() },
        TopicPartition::new("t", 0),
        0,
    );
    let outcomes = trial::outcomes(NameEvent::kind().build().as_mut(), &batch).unwrap();
    let trial::Outcome::Written(all) = &outcomes[0] else { panic!("{outcomes:?}") };
    let value: serde_json::Value = serde_json::from_slice(all[0].record.value.as_ref().unwrap()).unwrap();
    value["hash"].as_str().unwrap().to_owned()
}

#[test]
fn a_difference_is_told_where_it_is() {
    let (exit, text, junit) = outcome(GOOD);
    assert_eq!(exit.unwrap(), Exit::Failed);
    assert!(text.starts_with("FAILED orders.test.toml: a name\n    output 1: value:\n"), "{text}");
    assert!(
        text.contains("\n    -   \"hash\": \"a9c1d2de4f91f1be24a54c9c2c8bb0a0\",\n    +   \"hash\": \""),
        "{text}"
    );
    assert!(text.contains("\n3 cases: 2 passed, 1 failed; "), "{text}");
    assert!(junit.contains(r#"failures="1""#) && junit.contains("output 1: value"), "{junit}");
}

#[test]
fn each_part_is_compared() {
    for (part, case) in [
        (
            "header trace:\n    - 7\n    + (none)",
            "value = '{}'\n[[case.output]]\nheaders = { trace = \"7\" }",
        ),
        ("key:\n    - k\n    + (null)", "value = '{}'\n[[case.output]]\nkey = \"k\""),
        ("topic:\n    - other\n    + (the destination)", "value = '{}'\n[[case.output]]\ntopic = \"other\""),
        ("partition:\n    - 3\n    + (that of the source)", "value = '{}'\n[[case.output]]\npartition = 3"),
        ("value:\n    - (null)\n    + {", "value = '{}'\n[[case.output]]\ntombstone = true"),
        (
            "output 1: value:\n    - {\"a\":1}\n    + (null)",
            "tombstone = true\n[[case.output]]\njson = '{\"a\": 1}'",
        ),
        ("expected to be filtered, but there is 1 output record:\n      {", "value = '{}'\nfiltered = true"),
        (
            "expected a dead letter of class type, but it becomes a dead letter: empty: ",
            "value = ''\ndead_letter = 'type'",
        ),
        ("expected a dead letter of class type, but there is 1 output", "value = '{}'\ndead_letter = 'type'"),
        (
            "expected 2 output records, but there is 1 output",
            "value = '{}'\n[[case.output]]\n[[case.output]]",
        ),
    ] {
        let (exit, text, _) = outcome(&format!("[[case]]\n{case}"));
        assert_eq!(exit.unwrap(), Exit::Failed, "{case}");
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
}

#[test]
fn what_must_not_be_there_is_missed_or_told() {
    let output = "[[case.output]]\nno_key = true\nno_headers = ['trace', 'x']";
    let (exit, text, _) =
        outcome(&format!("[[case]]\nvalue = '{{}}'\nheaders = {{ other = '7' }}\n{output}"));
    assert_eq!(exit.unwrap(), Exit::Done, "{text}");
    let case = "[[case]]\nvalue = '{}'\nkey = 'k'\nheaders = { trace = '7' }\n";
    let (exit, text, _) = outcome(&format!("{case}{output}"));
    assert_eq!(exit.unwrap(), Exit::Failed);
    for part in ["key:\n    - (null)\n    + k", "header trace:\n    - (none)\n    + 7"] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    assert!(!text.contains("header x"), "{text}");
}

/// What is shown in the same way may be something else.
#[test]
fn bytes_are_compared_not_what_is_shown_of_them() {
    let mismatches = |output: &str, record: trial::Plain| {
        let text = format!("[[case]]\nvalue = '1'\n[[case.output]]\n{output}");
        let written = vec![trial::Written { place: Default::default(), record }];
        let expected = read(&text, None).unwrap().remove(0).expected;
        compare::compare(&expected, &trial::Outcome::Written(written), None).len()
    };
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let key = |text| trial::Plain { key: bytes(text), ..Default::default() };
    let value = |text| trial::Plain { value: bytes(text), ..Default::default() };
    let header = |value| trial::Plain { headers: vec![(b"h".to_vec(), value)], ..Default::default() };
    for (output, record, count) in [
        (r#"key = "a\tb""#, key("a\tb"), 0),
        (r#"key = "a\tb""#, key("a\\tb"), 1),
        ("no_key = true", key("(null)"), 1),
        ("key = '(null)'", trial::Plain::default(), 1),
        (r#"headers = { h = "a\nb" }"#, header(bytes("a\nb")), 0),
        (r#"headers = { h = '(none)' }"#, trial::Plain::default(), 1),
        (r#"headers = { h = '(null)' }"#, header(None), 1),
        ("no_headers = ['h']", header(bytes("(none)")), 1),
        ("no_headers = ['h']", header(None), 1),
        ("tombstone = true", value("(null)"), 1),
        ("value = '(null)'", trial::Plain::default(), 1),
        (r"value = '\x01'", value("\u{1}"), 1),
    ] {
        assert_eq!(mismatches(output, record.clone()), count, "{output} {record:?}");
    }
}

#[test]
fn the_report_is_xml_whatever_is_in_it() {
    let name = r#"name = "a\uFFFE\u0001\u001b[1mb\uFFFF<\"&""#;
    let output = r#"value = "\uFFFE]]>\"<""#;
    let case = format!("[[case]]\n{name}\nvalue = '{{}}'\n");
    let (exit, _, junit) = outcome(&format!("{case}filtered = true\n{case}[[case.output]]\n{output}"));
    assert_eq!(exit.unwrap(), Exit::Failed);
    let name = "name=\"a\u{fffd}\u{fffd}\u{fffd}[1mb\u{fffd}&lt;&quot;&amp;\"";
    assert_eq!(junit.matches(name).count(), 2, "{junit}");
    assert!(junit.contains("- \u{fffd}]]&gt;&quot;&lt;"), "{junit}");
    let is_xml = |c: char| matches!(c, '\n' | ' '..='\u{fffd}' | '\u{10000}'..);
    assert!(junit.chars().all(is_xml), "{junit:?}");
}

#[test]
fn without_its_file_nothing_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = |files: &[&str]| CasesConfig {
        transform: NameEvent::kind(),
        source: None,
        destination: None,
        files: files.iter().map(|name| folder.path().join(name)).collect(),
        config: Some(folder.path().join("orders.toml")),
        junit: None,
    };
    for (files, said) in [(&[][..], "no cases: name a file, or write them into "), (&["a.test.toml"], "")] {
        let error = command(&config(files), &mut Vec::new()).unwrap_err();
        let (exit, error) = (error.exit(), error.to_string());
        let file = files.first().unwrap_or(&"orders.test.toml");
        assert_eq!(exit, Exit::Config, "{error}");
        assert!(error.starts_with(said) && error.contains(file), "{error}");
    }
}

#[test]
fn a_file_that_says_no_case_clearly_is_refused() {
    for (message, text) in [
        ("case 1 (case 1): exactly one of `value`", "[[case]]\nfiltered = true"),
        ("case 1 (a): exactly one of `[[case.output]]`", "[[case]]\nname = 'a'\nvalue = '{}'"),
        ("exactly one of `[[case.output]]`", "[[case]]\nvalue = '{}'\nfiltered = true\ndead_letter = 'eof'"),
        ("`dead_letter` must be one of empty, eof", "[[case]]\nvalue = '{}'\ndead_letter = 'poison'"),
        ("output 1: `json`: EOF", "[[case]]\nvalue = '{}'\n[[case.output]]\njson = '{'"),
        (
            "output 1: at most one of",
            "[[case]]\nvalue = '{}'\n[[case.output]]\nvalue = '{'\ntombstone = true",
        ),
        ("unknown field `vaule`", "[[case]]\nvaule = '{}'"),
        ("no cases", ""),
        ("at most one of `key`", "[[case]]\nvalue = '{}'\n[[case.output]]\nkey = 'a'\nno_key = true"),
        (
            "`no_headers`: there is a value for `a`",
            "[[case]]\nvalue = '{}'\n[[case.output]]\nheaders = { a = '1' }\nno_headers = ['a']",
        ),
    ] {
        let (exit, _, _) = outcome(text);
        let error = exit.unwrap_err();
        assert_eq!(error.exit(), Exit::Config, "{error}");
        let error = error.to_string();
        assert!(error.contains(message) && error.contains("orders.test.toml"), "{error}");
    }
}

#[test]
fn numbers_are_equal_as_decimals_and_the_source_is_that_of_the_configuration() {
    let case = |json: &str| {
        let text = format!(
            "[[case]]\nvalue = '{{\"n\":12345678901234567890123,\"one\":1}}'\n[[case.output]]\njson = '{json}'"
        );
        let cases = read(&text, Some("orders")).unwrap();
        assert_eq!(cases[0].topic, "orders");
        let record = cases[0].record.clone();
        let written = trial::Written { place: crate::transform::Place::default(), record };
        let mismatches = compare::compare(&cases[0].expected, &trial::Outcome::Written(vec![written]), None);
        mismatches.iter().map(ToString::to_string).collect::<String>()
    };
    assert_eq!(case(r#"{"one":1.0,"n":1.2345678901234567890123e22}"#), "");
    let text = case(r#"{"one":1,"n":12345678901234567890124}"#);
    assert!(
        text.contains("-   \"n\": 12345678901234567890124")
            && text.contains("+   \"n\": 12345678901234567890123"),
        "{text}"
    );
    let to = |topic: &str| {
        let text = format!("[[case]]\nvalue = '1'\n[[case.output]]\ntopic = '{topic}'");
        let written = vec![trial::Written { place: Default::default(), record: Default::default() }];
        let expected = read(&text, None).unwrap().remove(0).expected;
        compare::compare(&expected, &trial::Outcome::Written(written), Some("shown")).len()
    };
    assert_eq!((to("shown"), to("other")), (0, 1), "the destination may be named");
}

#[test]
fn a_thousand_cases_are_run() {
    let case = "[[case]]\nvalue = '{\"first_name\":\"Ada\"}'\n[[case.output]]\nheaders = {}\n\n";
    let started = Instant::now();
    let (exit, text, _) = outcome(&case.repeat(1000));
    assert_eq!(exit.unwrap(), Exit::Done);
    assert!(text.starts_with("1000 cases: 1000 passed"), "{text} after {:?}", started.elapsed());
}
