//! Verification that finds what steps protect, wherever it is.

use topicmill_steps::{Given, Plan, StepTable};

use super::{
    tests::{MemoryLogs, Row, batch, config, letter, report_with, rows_of},
    *,
};
use crate::{
    dead_letter::{self, Form, Letter, Stage},
    records::{HeadersWriter, NO_HEADERS},
    transform::{self, ErrorClass, ValueError},
};

fn step(settings: &[(&str, &str)]) -> StepTable {
    settings
        .iter()
        .fold(StepTable::default(), |table, (key, text)| table.with(key, Given::Text((*text).into())))
}

fn plan() -> Arc<Plan> {
    let steps = [
        step(&[("filter", ".email != \"\"")]),
        step(&[("hash", ".email"), ("digest", "sha256")]),
        step(&[("mask", ".card"), ("when", ".country == \"de\"")]),
        step(&[("redact", ".items[].note")]),
        step(&[("route", "r"), ("when", ".country == \"de\"")]),
    ];
    Arc::new(Plan::new(steps.to_vec()).unwrap())
}

fn value(partition: i32, at: i64) -> Option<String> {
    let country = ["de", "fr"][at as usize % 2];
    match at % 10 {
        3 => None,
        7 => Some(format!("{{poison {at}")),
        _ => Some(format!(
            r#"{{"id":{at},"email":"p{partition}r{at}@example.org","card":4111{partition}{at:03},"items":[{{"note":"secret {partition} {at}","price":12345}}],"country":"{country}"}}"#
        )),
    }
}

/// A source of two partitions with poison and tombstones, transformed faithfully.
fn transformed() -> MemoryLogs {
    let mut logs = MemoryLogs::default();
    let empty = || (0..2).map(|partition| (partition, Vec::new())).collect::<BTreeMap<_, _>>();
    for topic in ["s", "d", "r", "t"] {
        logs.topics.insert(topic.into(), empty());
    }
    let mut steps = plan().kind().build();
    for partition in 0..2 {
        let origin = TopicPartition::new("s", partition);
        for at in 0..100 {
            let row: Row =
                (Some(["key1", "key2"][at as usize % 2]), value(partition, at), NO_HEADERS.to_vec(), at);
            let one = batch(&origin, at, std::slice::from_ref(&row));
            let done = transform::apply(steps.as_mut(), &one, 1 << 20).unwrap();
            for (to, chunks, _) in transform::resolve(done.outputs, &"d".into(), &origin).unwrap() {
                let written = chunks.iter().flat_map(|chunk| rows_of(chunk, row.0));
                logs.rows(&to.topic, to.partition).extend(written);
            }
            for failure in done.failures {
                let letter = letter(&one, Stage::Transformation, failure.error, row.0);
                logs.rows("t", 0).extend(letter);
            }
            logs.rows("s", partition).push(row);
        }
    }
    logs
}

async fn report(logs: &MemoryLogs) -> Report {
    let plan = plan();
    let protection = plan.protection().unwrap();
    report_with(logs, &VerifyConfig { transform: plan.kind(), protection, ..config(Order::Partition) }).await
}

fn header(name: &str, value: &str) -> Vec<u8> {
    let mut headers = HeadersWriter::default();
    headers.push(name.as_bytes(), Some(value.as_bytes()));
    headers.finish()
}

#[tokio::test]
async fn where_nothing_leaks_nothing_is_found() {
    let logs = transformed();
    assert!(
        logs.topics["r"][&0].len() > 30
            && logs.topics["d"][&0].len() > 20
            && !logs.topics["t"][&0].is_empty()
    );
    let report = report(&logs).await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.plaintext, Some(Default::default()));
    assert!(report.verdict().ends_with("0 plaintext: ok"), "{report}");
    assert!(report.to_json().ends_with(r#""ok":true,"plaintext":0}"#), "{}", report.to_json());
    let letters: usize = logs.topics["t"].values().map(Vec::len).sum();
    assert_eq!(letters, 20);
    assert!(
        report.to_string().contains("hint: 20 dead letters are not JSON and could not be checked"),
        "{report}"
    );
}

#[tokio::test]
async fn every_planted_leak_is_found_and_none_is_told() {
    type Leak = (&'static str, &'static str, fn(&mut MemoryLogs));
    let leaks: [Leak; 15] = [
        ("d[0]@4, value .mail", "a member", |logs| {
            logs.rows("d", 0)[4].1 = Some(r#"{"mail":"p1r5@example.org"}"#.into());
        }),
        ("d[1]@5, value .a.b[].c", "nested", |logs| {
            logs.rows("d", 1)[5].1 = Some(r#"{"a":{"b":["x",{"c":"p1r5@example.org"}]}}"#.into());
        }),
        ("d[0]@0, value .mail", "escaped", |logs| {
            logs.rows("d", 0)[0].1 = Some(r#"{"mail":"\u0070\u0030r0\u0040example.org"}"#.into());
        }),
        ("d[0]@6, value .n[]", "a number as a text", |logs| {
            logs.rows("d", 0)[6].1 = Some(r#"{"n":[1,"41111002"]}"#.into());
        }),
        ("d[0]@6, value", "all of a value that is no JSON", |logs| {
            logs.rows("d", 0)[6].1 = Some("p1r5@example.org".into());
        }),
        ("d[0]@6, value .a.\"(protected)\"", "a key of an object", |logs| {
            logs.rows("d", 0)[6].1 = Some(r#"{"a":{"p1r5@example.org":1}}"#.into());
        }),
        ("d[1]@3, key", "the record's key", |logs| logs.rows("d", 1)[3].0 = Some("p0r0@example.org")),
        ("d[1]@3, header from", "a header", |logs| {
            logs.rows("d", 1)[3].2 = header("from", "secret 0 8");
        }),
        ("d[1]@3, header all .of[]", "a header that is JSON", |logs| {
            logs.rows("d", 1)[3].2 = header("all", r#"{"of":[1,"secret 0 8"]}"#);
        }),
        ("d[1]@3, header (protected)", "a header that is called like it", |logs| {
            logs.rows("d", 1)[3].2 = header("secret 0 8", "secret 0 8");
        }),
        ("r[1]@9, value .x", "another topic", |logs| {
            logs.rows("r", 1)[9].1 = Some(r#"{"x":41110004}"#.into());
        }),
        ("r[1]@9, value .x", "a number in another form", |logs| {
            logs.rows("r", 1)[9].1 = Some(r#"{"x":4.1110004e7}"#.into());
        }),
        ("r[1]@9, value .x", "a number in another form as a text", |logs| {
            logs.rows("r", 1)[9].1 = Some(r#"{"x":"41110004.00"}"#.into());
        }),
        ("t[0]@2, value .note", "a dead letter", |logs| {
            logs.rows("t", 0)[2].1 = Some(r#"{"note":"secret 1 99"}"#.into());
        }),
        ("t[0]@2, header why", "a header of a dead letter", |logs| {
            logs.rows("t", 0)[2].2 = header("why", "p0r98@example.org");
        }),
    ];
    for (place, what, plant) in leaks {
        let mut logs = transformed();
        plant(&mut logs);
        let report = report(&logs).await;
        let found = report.plaintext.as_ref().unwrap();
        assert_eq!((found.count, found.open), (1, 0), "{what}: {report}");
        assert!(!report.is_ok() && report.to_string().contains(&format!("plaintext: {place}\n")), "{report}");
        assert!(!report.to_string().contains("example.org") && !report.to_string().contains("secret"));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        // A record in which something else stands is one that is wrong, too.
        let findings = json["findings"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["kind"] == "plaintext").unwrap();
        let text = |key: &str| finding[key].as_str().unwrap();
        let told =
            format!("{}[{}]@{}, {}", text("topic"), finding["partition"], finding["offset"], text("path"));
        assert_eq!(told, place, "{json}");
    }
}

#[tokio::test]
async fn a_dead_letter_that_holds_the_original_leaks_all_that_is_protected_in_it() {
    let mut logs = transformed();
    let original = logs.rows("s", 0)[0].1.clone();
    logs.rows("t", 1).push((None, original, NO_HEADERS.to_vec(), 0));
    let report = report(&logs).await;
    assert_eq!(report.plaintext.as_ref().unwrap().count, 3, "{report}");
    for place in ["t[1]@0, value .email", "t[1]@0, value .card", "t[1]@0, value .items[].note"] {
        assert!(report.to_string().contains(place), "{report}");
    }
}

#[tokio::test]
async fn what_the_source_also_holds_unprotected_is_told_apart() {
    let mut logs = transformed();
    // Record 1 is of another country, so its card is not masked; make it that of record 0.
    let other = value(0, 1).unwrap().replace("41110001", "41110000");
    logs.rows("s", 0)[1].1 = Some(other.clone());
    let row = logs.rows("d", 0)[0].1.take().unwrap().replace("41110001", "41110000");
    logs.rows("d", 0)[0].1 = Some(row);
    let report = report(&logs).await;
    assert!(report.is_ok(), "{report}");
    let found = report.plaintext.as_ref().unwrap();
    assert_eq!((found.count, found.open), (0, 1), "{report}");
    assert!(report.to_string().contains("first in s[0]@1, value .card"), "{report}");
}

#[tokio::test]
async fn where_everything_differs_other_steps_are_asked_about() {
    let logs = transformed();
    let other = Arc::new(Plan::new(vec![step(&[("set", ".other"), ("value", "1")])]).unwrap());
    let report =
        report_with(&logs, &VerifyConfig { transform: other.kind(), ..config(Order::Partition) }).await;
    assert!(report.to_string().contains("hint: nearly every record differs: were other steps"), "{report}");
}

#[tokio::test]
async fn names_within_what_is_redacted_are_not_looked_for() {
    let mut logs = transformed();
    for partition in 0..2 {
        for row in logs.rows("s", partition) {
            let value = row.1.as_ref().map(|value| value.replace("\"secret", "{\"label\":\"secret"));
            row.1 = value.map(|value| value.replace(",\"price\"", "},\"price\""));
        }
    }
    logs.rows("d", 0)[0].1 = Some(r#"{"label":"other","list":["label"]}"#.into());
    assert_eq!(report(&logs).await.plaintext.unwrap().count, 0);
    logs.rows("d", 0)[0].1 = Some(r#"{"other":"secret 0 8"}"#.into());
    assert_eq!(report(&logs).await.plaintext.unwrap().count, 1);
}

#[tokio::test]
async fn short_texts_are_not_looked_for() {
    let mut logs = transformed();
    for partition in 0..2 {
        for row in logs.rows("s", partition) {
            row.1 = row.1.as_ref().map(|value| value.replace("\"secret", "\"abc\",\"other\":\"secret"));
        }
    }
    logs.rows("d", 0)[0].1 = Some(r#"{"x":"abc"}"#.into());
    assert_eq!(report(&logs).await.plaintext.unwrap().count, 0);
    // Of a number it is the text that counts, where it is protected as well as where it is found.
    let mut logs = transformed();
    let source = value(0, 0).unwrap().replace("41110000", "1.50");
    logs.rows("s", 0)[0].1 = Some(source);
    for (written, count) in [("1.5", 0), ("1.500", 1), ("15e-1", 1), ("\"1.50\"", 1), ("1.51", 0)] {
        logs.rows("d", 0)[0].1 = Some(format!(r#"{{"x":{written}}}"#));
        assert_eq!(report(&logs).await.plaintext.unwrap().count, count, "{written}");
    }
}

#[tokio::test]
async fn protected_letters_hold_nothing_of_it_and_are_held_to_it() {
    let value = r#"{"email":"ada@example.org","card":{"n":"secret card"},"items":[],"country":"de"}"#;
    let row: Row = (Some("key1"), Some(value.to_owned()), NO_HEADERS.to_vec(), 5);
    let one = batch(&TopicPartition::new("s", 0), 100, std::slice::from_ref(&row));
    let protection = plan().protection().unwrap();
    let protect = protection.clone().unwrap().of_letters();
    let error = ValueError::new(ErrorClass::Type, "no");
    let letter = Letter { index: 0, stage: Stage::Transformation, error, form: Form::default() };
    for (written, asked, plain, corrupt) in
        [(false, false, 2, 0), (true, true, 0, 0), (true, false, 0, 1), (false, true, 2, 1)]
    {
        let mut logs = transformed();
        logs.rows("s", 0).push(row.clone());
        let by = written.then_some(&protect);
        let chunks = dead_letter::encode(&one, std::slice::from_ref(&letter), "g", by, 1 << 20);
        logs.rows("t", 0).extend(rows_of(&chunks[0], row.0));
        let config = VerifyConfig {
            transform: plan().kind(),
            protection: protection.clone(),
            protect_letters: asked.then(|| protect.clone()),
            ..config(Order::Partition)
        };
        let report = report_with(&logs, &config).await;
        let found = (report.plaintext.as_ref().unwrap().count, report.counts.of(Kind::Corrupt));
        assert_eq!((found, report.counts.total()), ((plain, corrupt), corrupt), "{report}");
    }
}

/// The card number of the first record is an offset as well.
#[tokio::test]
async fn a_letter_may_say_where_its_record_is() {
    const CARD: i64 = 41_110_000;
    let mut logs = transformed();
    let row: Row = (Some("key1"), Some("{poison".into()), NO_HEADERS.to_vec(), CARD);
    let one = batch(&TopicPartition::new("s", 0), CARD, &[row]);
    let error = ValueError::new(ErrorClass::Syntax, "no");
    logs.rows("t", 0).extend(letter(&one, Stage::Transformation, error, Some("key1")));
    assert_eq!(report(&logs).await.plaintext.unwrap().count, 0);

    for (topic, name) in [("t", dead_letter::MESSAGE), ("d", dead_letter::OFFSET)] {
        let mut logs = transformed();
        logs.rows(topic, 0)[0].2 = header(name, &CARD.to_string());
        assert_eq!(report(&logs).await.plaintext.unwrap().count, 1, "{topic} {name}");
    }
}
