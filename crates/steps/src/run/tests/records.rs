use std::slice::from_ref;

use topicmill_mill::metrics::StepOutcome;
use topicmill_records::partition_of;

use super::*;

#[test]
fn a_filter_passes_records_over() {
    let steps = [step(&[("filter", ".country == \"DE\"")])];
    let de = r#"{"country" : "DE"}"#;
    let records = [value(de), value(r#"{"country":"FR"}"#), value("{}"), value("["), value(de)];
    let fates = fates(&steps, &records);
    let kept = vec![Written { value: Some(de.into()), ..Written::default() }];
    assert_eq!((&fates[0], &fates[4]), (&Ok(kept.clone()), &Ok(kept)));
    assert_eq!((&fates[1], &fates[2]), (&Ok(vec![]), &Ok(vec![])));
    assert_eq!(fates[3].as_ref().unwrap_err().0, ErrorClass::Eof);
    let error = refused(&[step(&[("filter", ".a.b")])], r#"{"a":"text"}"#);
    assert_eq!(error.0, ErrorClass::Type, "a condition that cannot be answered loses no record");
}

#[test]
fn tombstones_pass_but_for_what_is_about_the_record() {
    let tombstone = || Read { key: Some("k"), ..Read::default() };
    let after = |steps: &[StepTable]| fates(steps, &[tombstone(), value("{}")]).remove(0);
    let same = Written { key: Some("k".into()), ..Written::default() };
    assert_eq!(after(&[step(&[("filter", ".a == 1")])]), Ok(vec![same.clone()]));
    assert_eq!(after(&[step(&[("drop", ".a")]), step(&[("jq", "empty")])]), Ok(vec![same.clone()]));
    assert_eq!(after(&[step(&[("filter", "$key == \"x\"")])]), Ok(vec![]));
    assert_eq!(after(&[step(&[("filter", "$key == \"k\"")])]), Ok(vec![same.clone()]));
    let header = Written { headers: vec![("a".into(), Some("orders".into()))], ..same.clone() };
    assert_eq!(after(&[step(&[("header", "a"), ("value", "$topic")])]), Ok(vec![header]));
    let routed = Written { topic: Some("gone".into()), ..same.clone() };
    assert_eq!(after(&[step(&[("route", "gone")])]), Ok(vec![routed]));
    let by_value = step(&[("key", ".id")]);
    assert_eq!(after(from_ref(&by_value)), Ok(vec![same]));
    let (class, _) = after(&[by_value.with("on_missing", text("fail"))]).unwrap_err();
    assert_eq!(class, ErrorClass::Missing);
    let key = Written { key: Some("k!".into()), ..Written::default() };
    assert!(after(&[step(&[("key", "$key + \"!\"")])]).is_ok());
    assert_eq!(after(&[step(&[("key", "\"k!\"")])]), Ok(vec![key]));
}

#[test]
fn what_reads_nothing_of_the_value_is_done_without_it_in_either_way() {
    let tombstone = Read { key: Some("k1"), headers: &[("a", Some("1"))], ..Read::default() };
    let records = [tombstone.clone(), Read { value: Some("no JSON"), ..tombstone.clone() }];
    // What is done by jaq, and what comes to the same and is not.
    for (name, by_jaq, same) in [
        ("key", "$key | ascii_upcase", "\"K1\""),
        ("key", "\"user-\" + $key", "\"user-\\($key)\""),
        ("filter", "($key | ascii_upcase) == \"K2\"", "$key == \"k2\""),
        ("filter", "($key | ascii_upcase) == \"K1\"", "$key == \"k1\""),
        ("filter", "$offset % 2 == 1", "$offset == 11"),
        ("filter", "$timestamp > 1e12 * 2", "$timestamp > 2000000000000"),
        ("filter", "$headers | has(\"zz\")", "$headers.zz == \"\""),
        ("filter", "$headers | has(\"a\")", "$headers.a == \"1\""),
        ("filter", "empty", "$key == \"\""),
        ("route", "r-{$key | ascii_upcase}", "r-K1"),
    ] {
        let fates = |value: &str| fates(&[step(&[(name, value)])], &records);
        assert_eq!(fates(by_jaq), fates(same), "{name} {by_jaq}");
        assert!(fates(by_jaq).iter().all(Result::is_ok), "{name} {by_jaq}");
        let report = plan(&[step(&[(name, by_jaq)])]).report().remove(0);
        assert!(report.jaq.is_some() && report.to_string().contains("without the value"), "{report}");
        assert_eq!(report.cost, "about 4 µs by jaq, nothing is read of the value");
    }
    for (when, same) in [("$offset % 2 == 0", "$offset == 10"), ("$offset % 2 == 1", "$offset == 9")] {
        let fates = |when: &str| {
            let one = |record| {
                let header = step(&[("header", "n"), ("value", "$offset + 1"), ("when", when)]);
                let plain = step(&[("header", "m"), ("value", "$offset"), ("when", when)]);
                fates(&[header, plain], from_ref(record)).remove(0)
            };
            [one(&records[0]), one(&records[1])]
        };
        assert_eq!(fates(when), fates(same));
        let names = fates(when).map(|fate| fate.unwrap()[0].headers.len());
        assert_eq!(names, if same.ends_with('9') { [1, 1] } else { [3, 3] }, "{when}");
    }
}

#[test]
fn headers_are_set_in_the_place_of_others_and_removed() {
    let headers: &[(&str, Option<&str>)] = &[("a", Some("1")), ("b", None), ("a", Some("2"))];
    let read = Read { value: Some(r#"{"n":1.0,"s":"x","o":{ }}"#), headers, ..Read::default() };
    let after = |steps: &[StepTable]| {
        let written = fates(steps, from_ref(&read)).remove(0).unwrap().remove(0);
        let shown = written
            .headers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("null")));
        shown.collect::<Vec<_>>().join(" ")
    };
    let set = |value: &str| step(&[("header", "a"), ("value", value)]);
    assert_eq!(after(&[set(".n")]), "b=null a=1.0");
    assert_eq!(after(&[set(".s")]), "b=null a=x");
    assert_eq!(after(&[set(".o")]), "b=null a={ }");
    assert_eq!(after(&[set(".none")]), "a=1 b=null a=2");
    let remove = StepTable::of("header", "a").with("remove", Given::Boolean(true));
    assert_eq!(after(&[remove]), "b=null");
    let text = step(&[("header", "c"), ("text", "{$headers.a}/{$offset}")]);
    assert_eq!(after(&[set(".s"), text]), "b=null a=x c=x/10", "what was set is read");
}

#[test]
fn a_key_may_choose_the_partition_anew() {
    let by_key = step(&[("key", ".id"), ("partition", "by-key")]);
    let docs = ["{\"id\":21}", "{\"id\":\"foobar\"}", "{\"id\":\"abc\"}", "{}"];
    let records = docs.map(value);
    let plan = plan(&[by_key]);
    let partitions = |fates: &[Fate]| -> Vec<Option<i32>> {
        fates.iter().map(|fate| fate.as_ref().unwrap()[0].partition).collect()
    };
    let kind = plan.kind();
    assert_eq!(partitions(&fates_of(&kind, &records)), [None; 4], "nothing is known of a cluster");
    let destination = Arc::from("keyed");
    let table = kind.partitions().unwrap();
    table.set_destination(&destination);
    table.set(&destination, 7);
    let of = |key: &str| Some(partition_of(key.as_bytes(), 7) as i32).filter(|own| *own != 2);
    let chosen = partitions(&fates_of(&kind, &records));
    assert_eq!(chosen, [of("21"), of("foobar"), of("abc"), None]);
    assert_eq!(fates_of(&kind, &records)[0].as_ref().unwrap()[0].key.as_deref(), Some("21"));
}

#[test]
fn routes() {
    let route = |template: &str| step(&[("route", template)]);
    let topic = |step: StepTable, doc: &str| {
        fates(&[step], &[value(doc)]).remove(0).map(|written| written[0].topic.clone())
    };
    assert_eq!(topic(route("all"), "no JSON"), Ok(Some("all".into())));
    assert_eq!(topic(route("o_{.c}"), r#"{"c":"DE"}"#), Ok(Some("o_DE".into())));
    assert_eq!(topic(route("o_{.c}"), "{}"), Ok(None), "to the destination");
    let class = |step: StepTable, doc: &str| topic(step, doc).unwrap_err().0;
    assert_eq!(class(route("o_{.c}"), r#"{"c":"D/E"}"#), ErrorClass::Route);
    assert_eq!(class(route("order{.c}"), r#"{"c":"s"}"#), ErrorClass::Route, "that is where they come from");
    assert_eq!(class(route("o_{.c}").with("on_missing", text("fail")), "{}"), ErrorClass::Missing);

    let few = route("o_{.c}").with("max_topics", Given::Integer(2));
    let docs = [r#"{"c":1}"#, r#"{"c":2}"#, r#"{"c":3}"#, r#"{"c":1}"#];
    let fates = fates(&[few], &docs.map(value));
    let message = "step 1 (route o_{.c}): there are 2 topics already, which is the most (max_topics)";
    assert_eq!(fates[2], Err((ErrorClass::Route, message.into())));
    assert!(fates[3].is_ok());

    let plan = plan(&[route("a"), route("b_{.c}")]);
    assert_eq!(plan.topics().collect::<Vec<_>>(), ["a"]);
    let destination = Arc::from("o_1");
    plan.partitions.set_destination(&destination);
    let own = Arc::new(Plan::new(vec![route("o_{.c}")]).unwrap()).kind();
    own.partitions().unwrap().set_destination(&destination);
    let fates = fates_of(&own, &docs.map(value));
    assert_eq!(fates[0].as_ref().unwrap()[0].topic, None, "the destination by another name");
}

#[test]
fn nothing_is_routed_to_what_is_barred() {
    let plan = plan(&[step(&[("route", "{.t}")])]);
    plan.bar(&"letters".into(), "that of the dead letters");
    for (topic, said) in [
        ("letters", "the topic is that of the dead letters: nothing may be routed to it"),
        ("__consumer_offsets", "the topic's name must not begin with `__`"),
        ("orders", "the topic is the one that is read"),
    ] {
        let doc = format!(r#"{{"t":"{topic}"}}"#);
        let (class, message) = fates_of(&plan.kind(), &[value(&doc)]).remove(0).unwrap_err();
        assert_eq!(class, ErrorClass::Route);
        assert!(message.contains(said), "{message}");
    }
    assert!(problems(&[step(&[("route", "__own")])])[0].contains("must not begin with `__`"));
}

#[test]
fn an_error_names_the_expression() {
    let when = step(&[("mask", ".a"), ("when", ".c | startswith(\"x\")")]);
    let (class, message) = refused(&[when], r#"{"c":1}"#);
    assert_eq!(class, ErrorClass::Type);
    assert!(message.starts_with("step 1 (mask .a): when .c | startswith(\"x\"): "), "{message}");
    let set = step(&[("set", ".a"), ("value", ".c + {}"), ("on_missing", "fail")]);
    let (_, message) = refused(&[set], r#"{"c":1}"#);
    assert!(message.starts_with("step 1 (set .a): value .c + {}: "), "{message}");
}

/// Odd JSON, in the order of the table in docs/steps.md: what a step on the bytes makes of it, and a program.
#[test]
fn odd_json_is_as_documented() {
    let page = include_str!("../../../../../docs/steps.md");
    let on_bytes = |setting: (&str, &str), doc: &str| edited(&[step(&[setting])], doc);
    let anew = |doc: &str| edited(&[step(&[("jq", ".")])], doc);
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let drop = ("drop", ".x");
    let both = r#"{"a":1,"a":2}"#;
    assert_eq!(on_bytes(drop, both), both);
    assert_eq!(on_bytes(("drop", ".a"), both), "{}");
    assert_eq!(on_bytes(("mask", ".a"), both), r#"{"a":"*","a":"*"}"#);
    assert_eq!(on_bytes(("filter", ".a == 2"), both), both);
    assert_eq!(anew(r#"{"a":1,"b":0,"a":2}"#), r#"{"a":2,"b":0}"#);
    let escaped = r#"{"\u0061":1}"#;
    assert_eq!(
        (on_bytes(drop, escaped).as_str(), on_bytes(("drop", ".a"), escaped).as_str()),
        (escaped, "{}")
    );
    assert_eq!(anew(escaped), r#"{"a":1}"#);
    let lone = r#"{"a":"\ud800"}"#;
    assert_eq!(
        (on_bytes(drop, lone).as_str(), on_bytes(("mask", ".a"), lone).as_str()),
        (lone, r#"{"a":"*"}"#)
    );
    assert_eq!(anew(lone), "{\"a\":\"\u{fffd}\"}");
    let cut = StepTable::of("truncate", ".a").with("length", Given::Integer(3));
    assert_eq!(edited(&[cut], r#"{"a":"\ud800abc"}"#), "{\"a\":\"\u{fffd}ab\"}");
    let digest = ("hash", ".a");
    assert_eq!(on_bytes(digest, lone), on_bytes(digest, "{\"a\":\"\u{fffd}\"}"));
    let hash = StepTable::default().with("hash_field", Given::Boolean(true)).with("field", text("a"));
    assert!(edited(&[hash], both).starts_with(r#"{"a":1,"a":""#));
    let zero = r#"{"a":-0}"#;
    assert_eq!((on_bytes(drop, zero).as_str(), on_bytes(("filter", ".a == 0"), zero).as_str()), (zero, zero));
    assert_eq!(anew(zero), r#"{"a":0}"#);
    let large = r#"{"a":1e400}"#;
    assert_eq!((on_bytes(drop, large).as_str(), anew(large).as_str()), (large, large));
    assert_eq!(on_bytes(drop, &deep(10_000)), deep(10_000));
    for by in [drop, ("jq", ".")] {
        assert_eq!(refused(&[step(&[by])], &deep(10_001)).0, ErrorClass::Depth);
        assert_eq!(refused(&[step(&[by])], "\u{feff}{}").0, ErrorClass::Syntax);
    }
    for row in [
        "duplicate keys",
        "an escaped key",
        "a lone surrogate",
        "`-0`",
        "`1e400`",
        "10,000 levels",
        "a byte order mark",
    ] {
        assert!(page.contains(&format!("\n| {row}")), "{row}");
    }
}

/// The table of differences from jq in docs/steps.md.
#[test]
fn what_differs_from_jq_is_as_documented() {
    let jq = |program: &str, doc: &str| edited(&[step(&[("jq", program)])], doc);
    let class = |program: &str, doc: &str| refused(&[step(&[("jq", program)])], doc).0;
    assert_eq!(class(".x.y = 1", "{}"), ErrorClass::Type);
    assert_eq!(jq(".x = (.x // {} | .y = 1)", "{}"), r#"{"x":{"y":1}}"#);
    assert_eq!(jq("1 / 0", "{}"), "1.7976931348623157e308");
    assert_eq!(jq("5.5 % 2", "{}"), "1.5");
    assert_eq!(class("ltrimstr(\"a\")", "5"), ErrorClass::Type);
    assert_eq!(class("rtrimstr(\"a\")", "5"), ErrorClass::Type);
    for unknown in ["tostream", "@base32d", ". as [$a] ?// $a | $a", "now", "input", "env"] {
        assert_eq!(problems(&[step(&[("jq", unknown)])]).len(), 1, "{unknown}");
    }
    let doc = r#"{"c":1,"b":2,"a":3,"d":4}"#;
    assert_eq!(jq(".c |= empty", doc), r#"{"d":4,"b":2,"a":3}"#);
    assert_eq!(jq("del(.c)", doc), r#"{"b":2,"a":3,"d":4}"#);
    assert_eq!(edited(&[step(&[("drop", ".c")])], doc), r#"{"b":2,"a":3,"d":4}"#);
    assert_eq!(jq("[(1,2) + (10,20)]", "{}"), "[11,21,12,22]");
    assert_eq!(jq("[\"\\(1,2)-\\(3,4)\"]", "{}"), r#"["1-3","1-4","2-3","2-4"]"#);
    assert_eq!(jq("[.[0,1][0,1]]", "[[1,2],[3,4]]"), "[1,2,3,4]");
    assert_eq!(jq("index(\"x\")", "\"\u{fc}x\u{fc}\""), "1");
    assert_eq!(jq("test(\"c$\")", r#""abc\n""#), "false");
    assert_eq!(jq("test(\"c\\\\n?$\")", r#""abc\n""#), "true");
    for none in ["(?=a)", "(a)\\\\1", "\\\\h", "a{"] {
        assert_eq!(problems(&[step(&[("jq", &format!("test(\"{none}\")"))])]).len(), 1, "{none}");
    }
    assert_eq!(jq("[test(\"[[:alpha:]]\"), test(\"\\\\p{Alphabetic}\")]", "\"\u{e4}\""), "[false,true]");
    for (beyond, doc) in [
        (".a[5] = 9", r#"{"a":[1]}"#),
        ("setpath([\"b\", \"c\"]; 1)", "{}"),
        (".[1:]", "null"),
        (".[1.7]", "[1,2]"),
        ("gmtime | todate", "0"),
        ("@base64d", "\"YQ\""),
    ] {
        assert!(matches!(class(beyond, doc), ErrorClass::Type | ErrorClass::Jq), "{beyond}");
    }
    let page = include_str!("../../../../../docs/steps.md");
    for row in [
        "`.x.y = 1`",
        "`1 / 0`",
        "`5.5 % 2`",
        "`5 \\| ltrimstr(\"a\")`",
        "`tostream`",
        "`.c \\|= empty`",
        "`(1,2) + (10,20)`",
        "`\"üxü\" \\| index(\"x\")`",
        "`\"abc\\n\" \\| test(\"c$\")`",
        "`test(\"(?=a)\")`",
        "`test(\"[[:alpha:]]\")`",
        "`.a[5] = 9`",
        "`now`",
    ] {
        assert!(page.contains(&format!("\n| {row}")), "{row}");
    }
}

#[test]
fn null_counts_as_missing_for_what_stands_around_the_value() {
    let read = || Read { key: Some("old"), value: Some(r#"{"id":null}"#), headers: &[("h", None)] };
    let steps =
        [step(&[("key", ".id")]), step(&[("header", "h"), ("value", ".id")]), step(&[("route", "r_{.id}")])];
    for each in &steps {
        let written = fates(from_ref(each), &[read()]).remove(0).unwrap().remove(0);
        assert_eq!((written.key.as_deref(), written.topic, written.headers.len()), (Some("old"), None, 1));
        let failing = each.clone().with("on_missing", text("fail"));
        assert_eq!(fates(&[failing], &[read()]).remove(0).unwrap_err().0, ErrorClass::Missing);
    }
    let set = step(&[("set", ".x"), ("text", "{.id}")]);
    assert_eq!(edited(from_ref(&set), r#"{"id":null}"#), r#"{"id":null}"#);
    assert_eq!(refused(&[set.with("on_missing", text("fail"))], r#"{"id":null}"#).0, ErrorClass::Missing);
}

#[test]
fn a_program_has_any_number_of_results() {
    let values = |steps: &[StepTable], doc: &str| {
        let fate = fates(steps, &[value("{}"), value(doc), value("{}")]).remove(1);
        fate.map(|all| all.into_iter().map(|written| written.value.unwrap()).collect::<Vec<_>>())
    };
    let each = step(&[("jq", ".items[]?")]);
    let doc = r#"{"items":[{"a":1},{"a":"x"},{}]}"#;
    assert_eq!(values(from_ref(&each), doc).unwrap(), [r#"{"a":1}"#, r#"{"a":"x"}"#, "{}"]);
    assert_eq!(values(from_ref(&each), "{}").unwrap(), [""; 0]);
    let after = [each.clone(), step(&[("filter", ".a == 1")]), step(&[("set", ".b"), ("value", "true")])];
    assert_eq!(values(&after, doc).unwrap(), [r#"{"a":1,"b":true}"#]);
    // The second one fails, so the first one is not written either.
    let fails = [each, step(&[("set", ".b"), ("value", ".a + 1"), ("on_missing", "fail")])];
    let (class, message) = values(&fails, doc).unwrap_err();
    assert_eq!(class, ErrorClass::Type);
    assert!(message.starts_with("step 2 (set .b): "), "{message}");
    let keyed =
        fates(&[step(&[("jq", ".[]")])], &[Read { key: Some("k"), ..value("[1,2]") }]).remove(0).unwrap();
    assert!(keyed.iter().all(|written| written.key.as_deref() == Some("k")) && keyed.len() == 2);
}

#[test]
fn transforms_are_steps_as_well() {
    let name_event = StepTable::default().with("name-event", Given::Boolean(true));
    let doc = r#"{"first_name":"Ada","last_name":"Lovelace","country":"UK"}"#;
    let alone = edited(from_ref(&name_event), doc);
    let steps =
        [step(&[("filter", ".country == \"UK\"")]), name_event.clone(), step(&[("drop", ".first_name")])];
    assert_eq!(edited(&steps, doc), alone.replace(r#""first_name":"Ada","#, ""));
    let hash = StepTable::default().with("hash_field", Given::Boolean(true)).with("field", text("h"));
    let both = edited(&[hash, step(&[("drop", ".none")])], "{}");
    assert_eq!(both, r#"{"h":"99914b932bd37a50b983c5e7c90ae93b"}"#);
    let (class, message) = refused(&[step(&[("drop", ".none")]), name_event.clone()], "[]");
    assert_eq!(class, ErrorClass::Type);
    assert!(message.starts_with("step 2 (name-event): "), "{message}");
    let (_, message) = refused(std::slice::from_ref(&name_event), "[]");
    assert!(message.starts_with("step 1 (name-event): "), "{message}");
    let alone = plan(&[name_event]).kind();
    assert_eq!(alone.name(), "name-event", "alone it is what it is elsewhere");
    assert!(alone.counts().is_none(), "and what it does is not counted by step");
}

#[test]
fn each_step_counts() {
    let steps = [
        step(&[("filter", ".n > 0")]),
        step(&[("mask", ".s")]),
        step(&[("route", "big"), ("when", ".n > 1")]),
        step(&[("jq", "., .")]),
    ];
    let plan = plan(&steps);
    let docs = [r#"{"n":0}"#, r#"{"n":1,"s":"a"}"#, r#"{"n":2,"s":[]}"#, r#"{"n":3}"#];
    fates_of(&plan.kind(), &docs.map(value));
    let counts = |index| StepOutcome::ALL.map(|outcome| plan.counts.get(index, outcome));
    assert_eq!(counts(0), [4, 3, 1, 0, 0, 0]);
    assert_eq!(counts(1), [3, 2, 0, 0, 1, 1]);
    assert_eq!(counts(2), [2, 2, 0, 1, 0, 0]);
    assert_eq!(counts(3), [2, 4, 0, 0, 0, 0]);
}

#[test]
fn of_a_record_that_fails_only_the_way_to_its_failure_counts() {
    let steps = [
        step(&[("jq", ".[]")]),
        step(&[("filter", ".n > 0")]),
        step(&[("jq", "., .more[]?")]),
        step(&[("mask", ".s")]),
        step(&[("route", "big"), ("when", ".n > 1")]),
        StepTable::default().with("hash_field", Given::Boolean(true)).with("field", text("h")),
    ];
    let plan = plan(&steps);
    let docs = [
        r#"[{"n":0},{"n":1,"s":"a"},{"n":2,"s":"b"}]"#,
        r#"[{"n":0},{"n":1,"s":"a"},{"n":2,"s":[]},{"n":3}]"#,
        r#"[{"n":4},{"n":5,"more":[{"s":"c"},{"s":[]},{"s":"d"}]}]"#,
        r#"[{"n":6,"s":"e"},1]"#,
    ];
    let fates = fates_of(&plan.kind(), &docs.map(value));
    let counts = |index| StepOutcome::ALL.map(|outcome| plan.counts.get(index, outcome));
    assert_eq!(counts(0), [4, 6, 0, 0, 0, 0]);
    assert_eq!(counts(1), [6, 4, 1, 0, 0, 1]);
    assert_eq!(counts(2), [4, 4, 0, 0, 0, 0]);
    assert_eq!(counts(3), [4, 2, 0, 0, 2, 2]);
    assert_eq!(counts(4), [2, 2, 0, 1, 0, 0]);
    assert_eq!(counts(5), [2, 2, 0, 0, 0, 0]);
    let written = fates.iter().flatten().map(Vec::len).sum::<usize>();
    assert_eq!((written, fates.iter().filter(|fate| fate.is_err()).count()), (2, 3));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let steps = [
        step(&[("filtre", ".a")]),
        step(&[("mask", ".a"), ("frist", "2")]),
        step(&[("filter", ".a"), ("drop", ".b")]),
        step(&[("drop", "a.b")]),
        step(&[("set", ".a")]),
        step(&[("rename", ".a"), ("to", "a")]),
        step(&[("route", "a/b")]),
        step(&[("filter", ".a =="), ("on_missing", "fail")]),
        step(&[("mask", ".a"), ("with", "**"), ("on_missing", "ignore")]),
        StepTable::of("truncate", ".a"),
        StepTable::default(),
    ];
    let problems = problems(&steps);
    let expected = [
        "step 1, filtre: is no step; did you mean `filter`?",
        "step 2, frist: unknown setting of `mask`; did you mean `first`?",
        "step 3, drop: `filter` and `drop` are two steps: each takes a [[step]]",
        "step 4, drop: `a.b`: a path begins with '.', as in .customer.name",
        "step 5, text: is missing: a text with expressions in braces; or an expression, with `value`",
        "step 6, to: is the name that it has",
        "step 7, route: must consist of letters, digits, `.`, `_` and `-`",
        "step 8, on_missing: `filter` has no such policy: what it cannot do fails",
    ];
    assert_eq!(problems[..expected.len()], expected);
    let rest = problems[expected.len()..].join("\n");
    for part in [
        "step 8, filter: at character",
        "step 9, on_missing: must be one of `skip`, `fail`",
        "step 9, with: must be one character",
        "step 10, length: is missing",
        "step 11: a step has one of the names filter, drop,",
    ] {
        assert!(rest.contains(part), "{part}\n{rest}");
    }
}
