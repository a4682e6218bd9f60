//! What expressions give.

use super::*;

#[track_caller]
fn gives(text: &str, doc: &str, results: &[&str]) {
    assert_eq!(run(text, doc).as_deref(), Ok(results.map_to_strings().as_slice()), "{text} of {doc}");
}

trait Strings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl Strings for [&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
fn programs_give_what_jq_gives() {
    let order =
        r#"{"id":7,"items":[{"sku":"a","price":2.50,"qty":2},{"sku":"b","price":10,"qty":1}],"vip":true}"#;
    gives(".", r#" { "b" : 1.50, "a" : [ ] } "#, &[r#"{"b":1.50,"a":[]}"#]);
    gives("empty", "1", &[]);
    gives(".items[]", order, &[r#"{"sku":"a","price":2.50,"qty":2}"#, r#"{"sku":"b","price":10,"qty":1}"#]);
    gives("{id, total: ([.items[] | .price * .qty] | add)}", order, &[r#"{"id":7,"total":15}"#]);
    gives("del(.items) | .vip |= not", order, &[r#"{"id":7,"vip":false}"#]);
    gives("[.items[].sku] | join(\",\")", order, &[r#""a,b""#]);
    gives(
        ".items |= map(select(.qty > 1))",
        order,
        &[r#"{"id":7,"items":[{"sku":"a","price":2.50,"qty":2}],"vip":true}"#],
    );
    gives("to_entries | map(.key)", order, &[r#"["id","items","vip"]"#]);
    gives("with_entries(.value |= tostring) | .id", order, &["\"7\""]);
    gives("reduce .items[] as $x (0; . + $x.qty)", order, &["3"]);
    gives("[foreach .items[] as {$qty} (0; . + $qty)]", order, &["[2,3]"]);
    gives(
        "[limit(3; repeat(1))], [range(0; 10; 3)], [range(3; 0; -2)]",
        "null",
        &["[1,1,1]", "[0,3,6,9]", "[3,1]"],
    );
    gives("[..] | length", "[[1,[2]],3]", &["6"]);
    gives(
        "[.[] | tostring] | map(tojson)",
        r#"[1.50,"x",[1],null]"#,
        &[r#"["\"1.50\"","\"x\"","\"[1]\"","\"null\""]"#],
    );
    gives("def f($x): if $x > 3 then $x else f($x + 1) end; f(.)", "0", &["4"]);
    gives("try error(\"no\") catch .", "0", &["\"no\""]);
    gives(
        ".a += 1 | .b *= 2 | .c -= 1 | .d /= 2 | .e //= \"x\" | .f = .a",
        r#"{"a":1,"b":3,"c":0,"d":8}"#,
        &[r#"{"a":2,"b":6,"c":-1,"d":4,"e":"x","f":2}"#],
    );
    gives(
        "\"\\(.a)-\\(.b)\", @base64 \"\\(.b)\", @json",
        r#"{"a":1,"b":"x"}"#,
        &[r#""1-x""#, r#""eA==""#, r#""{\"a\":1,\"b\":\"x\"}""#],
    );
    gives(
        "[.[] | ascii_upcase], (sort, (map(explode) | map(implode)), index(\"b\"))",
        r#"["b","a"]"#,
        &[r#"["B","A"]"#, r#"["a","b"]"#, r#"["b","a"]"#, "0"],
    );
    gives("group_by(.k) | map(length)", r#"[{"k":1},{"k":2},{"k":1}]"#, &["[2,1]"]);
    gives(
        "[match(\"(?<x>b)?(\\u00e9.)\"; \"g\") | .offset, .length, .captures[-1].string]",
        "\"a\u{e9}cb\u{e9}d\"",
        &["[1,2,\"\u{e9}c\",3,3,\"\u{e9}d\"]"],
    );
    gives(
        "sub(\"(?<y>[0-9]+)-\"; \"<\\(.y)>\"), gsub(\"a\"; \"b\"), [splits(\", *\")], capture(\"(?<m>-)\"), [scan(\"[0-9]\")]",
        "\"12-a, a\"",
        &["\"<12>a, a\"", "\"12-b, b\"", "[\"12-a\",\"a\"]", "{\"m\":\"-\"}", "[\"1\",\"2\"]"],
    );
    gives("test(\"A\"; \"i\"), test(\"\"; \"n\"), test(\"x*\")", "\"a\"", &["true", "false", "true"]);
    gives("[paths], [leaf_paths]", r#"{"a":[1]}"#, &[r#"[["a"],["a",0]]"#, r#"[["a",0]]"#]);
}

#[test]
fn regular_expressions_know_unicode() {
    for (text, doc, expected) in [
        (r#"test("^\\w+$")"#, "\"J\u{fc}rgen\"", true),
        ("test(\"j\u{fc}rgen\"; \"i\")", "\"J\u{dc}RGEN\"", true),
        (r#"test("^\\d$")"#, "\"\u{663}\"", true),
        (r#"test("^\\p{L}\\b")"#, "\"\u{e4} b\"", true),
        ("test(\"a.c\"; \"s\")", r#""a\nc""#, false),
        ("test(\"a.c\"; \"p\")", r#""a\nc""#, true),
        ("test(\"^c\"; \"p\")", r#""a\nc""#, false),
        (r#"test("[\\w.+-]{1,64}@[\\w-]{1,63}")"#, "\"j\u{fc}@x\"", true),
    ] {
        assert_eq!(holds(text, doc), Ok(expected), "{text}");
        assert!(is_plain(&compile(text, Use::Condition)), "{text}");
        gives(text, doc, &[&expected.to_string()]);
    }
    gives("test([\"B\", \"i\"]), test([\"B\"]), test(\"b\"; null)", "\"ab\"", &["true", "false", "true"]);
    gives("gsub(\"\"; \"-\")", "\"\u{fc}x\"", &["\"-\u{fc}-x-\""]);
    gives("[match(\"\"; \"g\").offset]", "\"\u{fc}x\"", &["[0,1,2]"]);
}

#[test]
fn groups_that_take_no_part_are_null_and_those_of_nothing_are_empty() {
    gives("capture(\"(?<x>q)?(?<y>b)?z\")", "\"qz\"", &[r#"{"x":"q","y":null}"#]);
    gives("capture(\"(?<x>z)?\")", "\"q\"", &[r#"{"x":""}"#]);
    let captures =
        r#"[{"offset":0,"length":1,"string":"q"},{"offset":-1,"length":0,"string":null,"name":"y"}]"#;
    gives("match(\"(q)?(?<y>b)?z\").captures", "\"qz\"", &[captures]);
    gives("[scan(\"(b)?(z)\")], [scan(\"z|q\")]", "\"qz\"", &["[[null,\"z\"]]", "[\"q\",\"z\"]"]);
    gives("sub(\"(?<x>b)?z\"; \"<\\(.x)>\")", "\"qz\"", &["\"q<null>\""]);
}

#[test]
fn what_is_deleted_moves_nothing_that_is_still_to_be_deleted() {
    for (text, doc, result) in [
        ("del(.[0, 1])", "[1,2,3]", "[3]"),
        ("delpaths([[0], [1]])", "[1,2,3]", "[3]"),
        ("del(.[0, 2])", "[1,2,3]", "[2]"),
        ("del(.[-1, -2])", "[1,2,3,4]", "[1,2]"),
        ("del(.[2, -2])", "[1,2,3,4]", "[1,2,4]"),
        ("del(.[1:3])", "[1,2,3,4]", "[1,4]"),
        ("del(.[1:][0])", "[1,2,3,4]", "[1,3,4]"),
        ("del(.[0, 5], .[2:])", "[1,2,3,4]", "[2]"),
        ("del(.a.b)", "{}", "{}"),
        ("del(.a[0], .b.c)", r#"{"a":[1,2],"b":{"c":1,"d":2},"e":3}"#, r#"{"a":[2],"b":{"d":2},"e":3}"#),
        ("del(.c)", r#"{"c":1,"b":2,"a":3}"#, r#"{"b":2,"a":3}"#),
        ("del(.c, .a)", r#"{"c":1,"b":2,"a":3,"d":4}"#, r#"{"b":2,"d":4}"#),
        ("del(.[] | select(. < 3))", "[1,2,3]", "[3]"),
        ("del(.[0][0, 1])", "[[1,2,3]]", "[[3]]"),
        ("del(.. | select(. == 1)?)", r#"[1,[1,2],{"a":1}]"#, "[[2],{}]"),
        ("del(.)", "1", "null"),
        ("del(empty)", "[1]", "[1]"),
        ("delpaths([[\"a\", \"b\", \"c\"]])", r#"{"a":null}"#, r#"{"a":null}"#),
        ("delpaths([[\"a\"], [\"a\", \"b\"]])", r#"{"a":{"b":1}}"#, "{}"),
        ("to_entries | del(.[0])", r#"{"a":1,"b":2}"#, r#"[{"key":"b","value":2}]"#),
    ] {
        gives(text, doc, &[result]);
    }
    for (text, doc) in [
        ("del(.a)", "[1]"),
        ("del(.[0])", "{}"),
        ("delpaths(1)", "[1]"),
        ("delpaths([1])", "[1]"),
        ("delpaths([[\"a\"]])", "1"),
        ("delpaths([[\"a\"]])", "[1]"),
        ("delpaths([[0]])", "{\"a\":1}"),
        ("del(.[0:1])", "\"abc\""),
    ] {
        assert_eq!(class_of(text, doc), ErrorClass::Type, "{text} of {doc}");
    }
}

#[test]
fn texts_become_numbers_and_are_joined_and_repeated_as_in_jq() {
    for (text, number) in [
        ("+1", "1"),
        (".5", "0.5"),
        ("01", "1"),
        ("-01.50", "-1.50"),
        ("1.", "1"),
        (" 1e5 ", "1e5"),
        ("0", "0"),
        ("00", "0"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ] {
        gives("tonumber", &format!("\"{text}\""), &[number]);
    }
    for text in ["", "-", "+", ".", "1_0", "0x10", "1e", "--1", "1.2.3", "a", "1 2"] {
        assert_eq!(class_of("tonumber", &format!("\"{text}\"")), ErrorClass::Type, "{text}");
    }
    assert_eq!(class_of("tonumber", "[]"), ErrorClass::Type);
    gives(
        "join(\",\"), join(null)",
        r#"["x",null,1.50,true,false]"#,
        &["\"x,,1.50,true,false\"", "\"x1.50truefalse\""],
    );
    gives("join(\",\")", "[]", &["\"\""]);
    gives("join(\",\")", r#"{"a":"x","b":2}"#, &["\"x,2\""]);
    assert_eq!(class_of("join(\",\")", "[[1]]"), ErrorClass::Type);
    gives("[. * (0, 0.5, 1, 1.5, 2, -1), 2 * .]", "\"ab\"", &[r#"["","","ab","ab","abab",null,"abab"]"#]);
    gives("(8 | gamma) == (8 | lgamma)", "null", &["true"]);
}

#[test]
fn functions_of_jq_that_jaq_lacks_are_there() {
    gives(".a | IN(\"x\", \"y\"), IN(\"z\")", r#"{"a":"y"}"#, &["true", "false"]);
    gives("IN(.[]; 2, 3), IN(.[]; 5)", "[1,2]", &["true", "false"]);
    gives("INDEX(.id)", r#"[{"id":1},{"id":2}]"#, &[r#"{"1":{"id":1},"2":{"id":2}}"#]);
    gives(
        "@csv, @tsv",
        r#"[1,"a\"b",null,true,"t\tn"]"#,
        &[r#""1,\"a\"\"b\",,true,\"t\tn\"""#, r#""1\ta\"b\t\ttrue\tt\\tn""#],
    );
    gives("toarray, (\"xax\" | trimstr(\"x\"))", "1", &["[1]", "\"a\""]);
}

#[test]
fn numbers_are_exact_or_as_they_were() {
    gives(
        ".",
        "[1e400,-0,1.10,123456789012345678901234567890,1E5]",
        &["[1e400,0,1.10,123456789012345678901234567890,1E5]"],
    );
    gives(
        ".[] | . + 0",
        "[1e400,-0,1.10,3.0,123456789012345678901234567890]",
        &["1.7976931348623157e308", "0", "1.1", "3", "123456789012345678901234567890"],
    );
    gives(
        "nan, infinite, -infinite, 007, 00.50",
        "null",
        &["null", "1.7976931348623157e308", "-1.7976931348623157e308", "7", "0.50"],
    );
    let long = "7".repeat(2000);
    gives(". == . + 0, .", &long, &["true", &long]);
    gives(". > 1e308, . < 0", &long, &["true", "false"]);
}

#[test]
fn texts_come_back() {
    gives(".", r#""\u0041\ud83d\ude00\n\u007f""#, &["\"A\u{1f600}\\n\\u007f\""]);
    gives(". , length", r#""\ud83d""#, &["\"\u{fffd}\"", "1"]);
    gives("@base64d", "\"//8=\"", &["\"\u{fffd}\u{fffd}\""]);
    gives(".a", r#"{"\u0061":1,"a":2}"#, &["2"]);
    assert_eq!(class_of("tobytes", "\"x\""), ErrorClass::Type);
}

#[test]
fn metadata_are_variables() {
    let headers = headers();
    let meta = Meta { headers: &headers, ..META };
    let all = "[$topic, $partition, $offset, $timestamp, $key, $headers, $headers.a]";
    let mut results = Vec::new();
    let mut evaluator = Evaluator::default();
    evaluator.run(&compile(all, Use::Program), b"0", &meta, |result| results.push(result.to_vec())).unwrap();
    let expected = r#"["orders",3,42,1700000000123,"k1",{"a":"2","b":null,"c":null},"2"]"#;
    assert_eq!(String::from_utf8_lossy(&results[0]), expected);
    let plain = compile(
        r#"$topic == "orders" and $partition == 3 and $offset > 41 and $key == "k1" and $headers.a == "2" and $headers.b == null and $headers["z"] == null and $headers.c == null"#,
        Use::Condition,
    );
    assert!(is_plain(&plain));
    for evaluate in [true, false] {
        let holds = with_located(&plain, "{}", |located| {
            if evaluate {
                evaluator.holds(&plain, located, &meta)
            } else {
                evaluator.holds_by_jaq(&plain, b"{}", &meta)
            }
        });
        assert_eq!(holds, Ok(true));
    }
    let strange = Meta { key: Some(b"\xff"), ..META };
    evaluator
        .run(&compile("$key", Use::Program), b"0", &strange, |result| assert_eq!(result, b"null"))
        .unwrap();
}

#[test]
fn conditions_that_are_plain_hold_as_in_jq() {
    for (text, doc, expected) in [
        (".a == 1", r#"{"a":1.0}"#, Ok(true)),
        (".a == 1", r#"{"a":"1"}"#, Ok(false)),
        (".a == 1", r#"{"a":2,"a":1}"#, Ok(true)),
        (".a.b == 1", r#"{"a":{"b":1},"a":{}}"#, Ok(false)),
        (".a.b", r#"{"a":"x"}"#, Err(ErrorClass::Type)),
        (".a?.b", r#"[]"#, Ok(false)),
        (".a.b?", r#"{"a":"x"}"#, Ok(false)),
        (".a.b", r#"{"a":null}"#, Ok(false)),
        (".a.b == null", "{}", Ok(true)),
        (".a[1] == 2", r#"{"a":[1,2]}"#, Ok(true)),
        (".a[0]", r#"{"a":{"0":1}}"#, Ok(false)),
        (".[0].a", r#"[{"a":true}]"#, Ok(true)),
        (".a", "[]", Err(ErrorClass::Type)),
        (".", "0", Ok(true)),
        (".", "null", Ok(false)),
        (". == \"x\"", " \"\\u0078\" ", Ok(true)),
        (".a < .b", r#"{"a":[],"b":{}}"#, Ok(true)),
        (".a < .b", r#"{"a":[1,2],"b":[1,3]}"#, Ok(true)),
        (".a == .b", r#"{"a":{"x":[1]},"b":{"x":[1.0]}}"#, Ok(true)),
        (".a > \"z\"", r#"{"a":[]}"#, Ok(true)),
        (".a >= 9007199254740993", r#"{"a":9007199254740992}"#, Ok(false)),
        (".a == 123456789012345678901234567890", r#"{"a":123456789012345678901234567891}"#, Ok(false)),
        (".a == 1e400", r#"{"a":2e400}"#, Ok(true)),
        (".a == 0", r#"{"a":-0.0}"#, Ok(true)),
        (".a | startswith(\"x\")", r#"{"a":"xy"}"#, Ok(true)),
        (".a | startswith(\"x\")", "{}", Err(ErrorClass::Type)),
        (".a | endswith(\"\\u00e9\")", r#"{"a":"\u00e9"}"#, Ok(true)),
        (".a | contains(\"b\")", r#"{"a":"abc"}"#, Ok(true)),
        (".a | test(\"^A.C$\"; \"i\")", r#"{"a":"abc"}"#, Ok(true)),
        (".a | IN(\"x\", 1, null)", "{}", Ok(true)),
        (".a | has(\"b\")", r#"{"a":{"b":null}}"#, Ok(true)),
        ("has(\"b\") or .c", r#"{"c":1}"#, Ok(true)),
        ("has(\"b\")", "[]", Err(ErrorClass::Type)),
        ("(.a // \"x\") == \"x\"", r#"{"a":false}"#, Ok(true)),
        ("(.a | type) == \"array\"", r#"{"a":[]}"#, Ok(true)),
        (".a | .b == 1 and .c != 2", r#"{"a":{"b":1}}"#, Ok(true)),
        ("(.a == 1 | not) and (.b | not)", r#"{"a":2}"#, Ok(true)),
        (".\"odd key\" and .[\"x\"]", r#"{"odd key":1,"x":1}"#, Ok(true)),
    ] {
        assert_eq!(holds(text, doc), expected, "{text} of {doc}");
        assert!(is_plain(&compile(text, Use::Condition)), "{text}");
    }
}

#[test]
fn values_that_are_plain_are_as_they_stand() {
    for (text, doc, expected) in [
        (".a", r#"{"a":1.50}"#, Ok(Some("1.50"))),
        (".a", r#"{"a": [1, 2]}"#, Ok(Some("[1, 2]"))),
        (".", r#" {"a": "\u0041"} "#, Ok(Some(r#"{"a": "\u0041"}"#))),
        (".a", "{}", Ok(Some("null"))),
        (".a?", "1", Ok(None)),
        (".a.b", r#"{"a":1}"#, Err(ErrorClass::Type)),
        ("\"x\\ty\"", "{}", Ok(Some("\"x\\ty\""))),
        ("$offset", "{}", Ok(Some("42"))),
        ("-1.5", "{}", Ok(Some("-1.5"))),
        (".a // \"none\"", "{}", Ok(Some("\"none\""))),
        ("\"\\(.a)-\\($partition)-\\(.b)\"", r#"{"a":"\"","b":1.50}"#, Ok(Some(r#""\"-3-1.50""#))),
        ("\"\\(.a)\"", r#"{"a":{"b": 1}}"#, Ok(Some(r#""{\"b\":1}""#))),
        ("\"\\(.a?)\"", "1", Ok(None)),
        (".a == 1", "{}", Ok(Some("false"))),
    ] {
        assert_eq!(value(text, doc), expected.map(|value| value.map(str::to_owned)), "{text} of {doc}");
        assert!(is_plain(&compile(text, Use::Value)), "{text}");
    }
    assert_eq!(value(".[]", "[1,2]"), Err(ErrorClass::Jq));
    assert_eq!(value(".[]", "[]"), Ok(None));
}

#[test]
fn templates_are_texts_with_values_in_them() {
    let template = Template::compile("o_{.a}_{{x}}_{.b | map(.) | length}{ {\"k\": \"}\"}.k }").unwrap();
    let doc = r#"{"a":"de","b":[1,2]}"#;
    let paths = PathSet::new(template.paths()).unwrap();
    let mut found = Found::default();
    Locator::default().locate(doc.as_bytes(), &paths, &mut found).unwrap();
    let ids: Vec<_> = (0..template.paths().len()).collect();
    let located = Located { doc: doc.as_bytes(), paths: &paths, found: &found, ids: &ids };
    let mut out = String::new();
    template.write(&mut Evaluator::default(), located, &META, &mut out).unwrap();
    assert_eq!(out, "o_de_{x}_2}");
    assert_eq!(template.constant(), None);
    assert_eq!(Template::compile("a{{b").unwrap().constant().as_deref(), Some("a{b"));
    for (text, class) in
        [("{.z}", ErrorClass::Missing), ("{empty}", ErrorClass::Missing), ("{.b}", ErrorClass::Type)]
    {
        let template = Template::compile(text).unwrap();
        let paths = PathSet::new(template.paths()).unwrap();
        Locator::default().locate(doc.as_bytes(), &paths, &mut found).unwrap();
        let ids: Vec<_> = (0..template.paths().len()).collect();
        let located = Located { doc: doc.as_bytes(), paths: &paths, found: &found, ids: &ids };
        let error = template.write(&mut Evaluator::default(), located, &META, &mut out).unwrap_err();
        assert_eq!(error.class, class, "{text}");
    }
    for (text, column) in [("a{.b", 2), ("a}b", 2), ("ab{.c |}", 8)] {
        assert_eq!(Template::compile(text).unwrap_err().column, column, "{text}");
    }
}

#[test]
fn entries_have_the_names_that_jq_knows() {
    let all = r#"[{"key":"a","value":1},{"k":"b","v":2},{"name":"c"},{"Name":"d","Value":false},{"K":"e","V":5},
        {"Key":"f","value":null,"v":6}]"#;
    let made = r#"{"a":1,"b":2,"c":null,"d":false,"e":5,"f":null}"#;
    assert_eq!(run("from_entries", all).unwrap(), [made]);
    assert_eq!(run("with_entries({k: .key, v: (.value + 1)})", r#"{"a":1}"#).unwrap(), [r#"{"a":2}"#]);
}

#[test]
fn html_has_an_apostrophe_as_jq_writes_it() {
    assert_eq!(run("@html", r#""'&apos;<""#).unwrap(), [r#""&#39;&amp;apos;&lt;""#]);
    assert_eq!(run("@html \"\\(.)'\"", r#""'""#).unwrap(), [r#""&#39;'""#]);
}

#[test]
fn what_hands_its_input_on_gets_all_that_is_looked_at() {
    let doc = r#"{"a":[1,2],"b":5,"c":{"d":"x"}}"#;
    for (text, results) in [
        ("first(.a[]), first(.c).d, isempty(.a[])", &["1", "\"x\"", "false"][..]),
        ("[limit(.a[0]; .c, .b)], [range(.a[0]; .b; .a[1])]", &[r#"[{"d":"x"}]"#, "[1,3]"]),
        ("any(.a[]; . > 1), all(.c; .d == \"x\")", &["true", "true"]),
        ("reduce .a[] as $n (.b; . + $n)", &["8"]),
        ("[foreach .a[] as $n (.c; .n = $n; .n, .d)]", &[r#"[1,"x",2,"x"]"#]),
        (
            "reduce .a[] as [$n] (.b; . + 1)?, (.c | reduce (1, 2) as $n (.; .n = $n) | [.n, .d])",
            &[r#"[2,"x"]"#],
        ),
        ("try error(.c) catch .d", &["\"x\""]),
    ] {
        assert_eq!(run(text, doc).unwrap(), results, "{text}");
    }
}
