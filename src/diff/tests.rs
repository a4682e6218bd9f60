use std::sync::Arc;

use super::{allow::Most, compare::Kind, *};
use crate::{
    batch::TopicPartition,
    transform::{ErrorClass, Place, ValueError},
    trial::{Outcome, Plain, Written},
};

fn value(value: &str) -> Outcome {
    record(Plain { value: Some(value.into()), ..Plain::default() })
}

fn record(record: Plain) -> Outcome {
    Outcome::Written(vec![Written { place: Place::default(), record }])
}

fn dead(class: ErrorClass) -> Outcome {
    Outcome::DeadLetter(ValueError::new(class, "no"))
}

fn to(topic: &str, partition: Option<i32>) -> Outcome {
    let place = Place { topic: Some(Arc::from(topic)), partition };
    Outcome::Written(vec![Written {
        place,
        record: Plain { value: Some(b"{}".to_vec()), ..Plain::default() },
    }])
}

/// What is reported for these pairs.
fn report(pairs: &[(Outcome, Outcome)]) -> Report {
    let mut report = Report::new("orders", false);
    for (offset, (old, new)) in pairs.iter().enumerate() {
        report.add(&TopicPartition::new("orders", 1), offset as i64, old, new);
    }
    report
}

/// The kinds and parts of the differences of a pair, in the order of the report.
fn parts(old: Outcome, new: Outcome) -> Vec<(String, String)> {
    let report = report(&[(old, new)]).to_json();
    let of = |kind: Kind| {
        let parts = report[kind.name()]["parts"].as_array().unwrap().clone();
        parts.into_iter().map(move |part| (kind.name().to_owned(), part["part"].as_str().unwrap().to_owned()))
    };
    Kind::ALL.into_iter().flat_map(of).collect()
}

#[test]
fn each_planted_change_is_found_and_named() {
    let filtered = || Outcome::Written(Vec::new());
    let plain = |change: fn(&mut Plain)| {
        let mut plain = Plain { value: Some(b"{}".to_vec()), ..Plain::default() };
        change(&mut plain);
        record(plain)
    };
    let header = |plain: &mut Plain| plain.headers.push((b"trace".to_vec(), Some(b"7".to_vec())));
    for (kind, part, old, new) in [
        ("changed", ".email", value(r#"{"email":"ada@x.org","id":1}"#), value(r#"{"email":"***","id":1}"#)),
        (
            "changed",
            ".items[].price",
            value(r#"{"items":[{"price":1},{"price":2}]}"#),
            value(r#"{"items":[{"price":1},{"price":3}]}"#),
        ),
        ("changed", ".a.\"odd key\"", value(r#"{"a":{"odd key":1}}"#), value(r#"{"a":{}}"#)),
        ("changed", ".", value("[1]"), value("[1,2]")),
        ("changed", "(form)", value("[1,2]"), value("[1, 2]")),
        ("changed", "(form)", value("[1.0]"), value("[1]")),
        (
            "changed",
            ".a",
            value(r#"{"a":12345678901234567890123}"#),
            value(r#"{"a":12345678901234567890124}"#),
        ),
        ("changed", "(value)", value("plain"), value("text")),
        ("changed", "(key)", plain(|_| ()), plain(|plain| plain.key = Some(b"k".to_vec()))),
        ("changed", "(header trace)", plain(|_| ()), plain(header)),
        ("newly-filtered", "", value("{}"), filtered()),
        ("no-longer-filtered", "", filtered(), value("{}")),
        ("newly-dead", "missing", value("{}"), dead(ErrorClass::Missing)),
        ("other-class", "missing → type", dead(ErrorClass::Missing), dead(ErrorClass::Type)),
        ("no-longer-dead", "type", dead(ErrorClass::Type), value("{}")),
        ("rerouted", "a → b", to("a", None), to("b", None)),
        ("rerouted", "a → a[3]", to("a", None), to("a", Some(3))),
        (
            "results",
            "1 → 2 records",
            value("{}"),
            Outcome::Written(vec![Written { place: Place::default(), record: Plain::default() }; 2]),
        ),
    ] {
        assert_eq!(parts(old.clone(), new.clone()), [(kind.to_owned(), part.to_owned())]);
        assert_eq!(parts(new.clone(), new), [], "nothing where there is nothing");
        assert_eq!(parts(old.clone(), old), []);
    }
    let both = parts(to("a", None), record(Plain::default()));
    assert_eq!(both.len(), 2, "rerouted and changed: {both:?}");
}

#[test]
fn a_record_counts_once_for_a_field_and_an_example_is_masked() {
    let old = value(r#"{"items":[{"price":1},{"price":2}],"email":"ada@x.org"}"#);
    let new = value(r#"{"items":[{"price":7},{"price":7}],"email":"eve2@y.org"}"#);
    let report = report(&[(old.clone(), old.clone()), (old.clone(), new.clone()), (old, new)]);
    assert_eq!(
        report.to_string(),
        "orders: 3 records compared, 1 unchanged\n\
         \x20          2 changed\n\
         \x20              2 .email\n\
         \x20                first at orders[1]@1: \"xxx@x.xxx\" → \"xxx9@x.xxx\"\n\
         \x20              2 .items[].price\n\
         \x20                first at orders[1]@1: 9 → 9\n"
    );
    assert!(!report.to_json().to_string().contains("ada"));
}

#[test]
fn differences_beyond_what_is_allowed_are_told() {
    let pairs: Vec<_> = (0..100).map(|n| (value("1"), value(if n < 5 { "2" } else { "1" }))).collect();
    let report = report(&pairs);
    let exceeding = |allow: &[&str]| {
        let allow: Vec<Allowance> = allow.iter().map(|text| text.parse().unwrap()).collect();
        report.exceeding(&allow)
    };
    assert_eq!(exceeding(&[]), ["5 changed"]);
    assert_eq!(exceeding(&["newly-dead"]), ["5 changed"]);
    assert_eq!(exceeding(&["changed=4"]), ["5 changed"]);
    assert_eq!(exceeding(&["changed=4.9%"]), ["5 changed"]);
    for enough in ["changed", "changed=5", "changed=5%"] {
        assert_eq!(exceeding(&[enough]), Vec::<String>::new(), "{enough}");
    }
    assert_eq!(exceeding(&["changed", "changed=0"]), ["5 changed"], "the last one counts");
}

#[test]
fn places_are_the_same_that_are_reached_in_two_ways() {
    let origin = TopicPartition::new("orders", 1);
    let [shown, other] = ["shown", "other"].map(Arc::<str>::from);
    let resolved = |mut outcome: Outcome, destination: &Arc<str>| {
        outcome.resolve(Some(destination), &origin);
        outcome
    };
    let plain = || record(Plain { value: Some(b"{}".to_vec()), ..Plain::default() });
    assert_eq!(parts(resolved(plain(), &shown), resolved(to("shown", Some(1)), &shown)), []);
    let of = |part: &str| [("rerouted".to_owned(), part.to_owned())];
    assert_eq!(parts(resolved(plain(), &shown), resolved(plain(), &other)), of("shown → other"));
    assert_eq!(
        parts(resolved(plain(), &shown), resolved(to("shown", Some(2)), &shown)),
        of("shown → shown[2]")
    );
}

#[test]
fn nothing_compared_is_not_allowed_unless_it_is_said() {
    let none = report(&[]);
    assert_eq!(none.exceeding(&[]), ["no-records: nothing was compared"]);
    assert_eq!(none.exceeding(&["no-records".parse().unwrap()]), Vec::<String>::new());
}

#[test]
fn a_header_that_is_not_there_is_absent() {
    let header =
        |value: &str| Plain { headers: vec![(b"h".to_vec(), Some(value.into()))], ..Plain::default() };
    let text = report(&[(record(header("x")), record(Plain::default()))]).to_string();
    assert!(text.contains("(header h)") && text.contains(": x → (absent)"), "{text}");
}

#[test]
fn an_allowance_is_read_from_text() {
    assert_eq!("rerouted".parse(), Ok(Allowance { kind: Kind::Rerouted, most: Most::Any }));
    assert_eq!("changed=12".parse(), Ok(Allowance { kind: Kind::Changed, most: Most::Records(12) }));
    assert_eq!("newly-dead=0.1%".parse(), Ok(Allowance { kind: Kind::NewlyDead, most: Most::Percent(0.1) }));
    for wrong in ["dead", "changed=", "changed=-1", "changed=101%", "changed=x%"] {
        assert!(wrong.parse::<Allowance>().is_err(), "{wrong}");
    }
}
