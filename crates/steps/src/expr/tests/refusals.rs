//! What is refused, and how it is told.

use super::*;

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, message, place) in [
        ("", "a value, a path or a call expected, not the end", 0..0),
        (".a ==", "a value, a path or a call expected, not the end", 5..5),
        (".a = = 1", "a value, a path or a call expected, not '='", 5..6),
        (".a &", "a token expected, not '&'", 3..4),
        ("(.a", "a closing parenthesis expected, not the end", 3..3),
        (".a | maap(.)", "there is no function 'maap' with an argument", 5..9),
        ("foo", "there is no function 'foo' without arguments", 0..3),
        ("$x", "there is no variable '$x'", 0..2),
        ("now", "'now' is not available: results may depend on the record only; there is $timestamp", 0..3),
        ("$ENV.HOME", "'$ENV' is not available: the environment is not for expressions", 0..4),
        ("[.] | __sort", "names that begin with '__' are not for expressions", 6..12),
        ("def __x: 1; __x", "names that begin with '__' are not for expressions", 4..7),
        (".a | test(\"(\")", "the regular expression is not valid: unclosed group", 5..9),
        (
            "[.[] | select(.a | test(\"a{\"; \"i\"))]",
            "the regular expression is not valid: unclosed counted repetition",
            19..23,
        ),
        (
            "gsub(\"(?=a)\"; \"b\")",
            "the regular expression is not valid: look-around, including look-ahead and look-behind, is not supported",
            0..4,
        ),
        ("sub(\"a\"; \"b\"; \"q\")", "'q' is no flag of a regular expression", 0..3),
        ("capture([\"[\", \"g\"])", "the regular expression is not valid: unclosed character class", 0..7),
        ("split(\"\\u005b\"; null)", "the regular expression is not valid: unclosed character class", 0..5),
        (
            "test(\"(\\\\w{1000}){1000}\")",
            "the regular expression is not valid: it takes more than 10 MiB",
            0..4,
        ),
    ] {
        let error = Expr::compile(text, Use::Program).expect_err(text);
        assert_eq!((error.message.as_str(), error.span.clone()), (message, place), "{text}");
    }
    // What is made, and what means something else, is known when it is done.
    for text in
        ["\"(\" as $p | test($p)", "def test(f): f; test(\"(\")", "split(\"(\")", "test(\"a\"; .flags)"]
    {
        compile(text, Use::Program);
    }
}

#[test]
fn nothing_reaches_outside() {
    for text in [
        "env",
        "$ENV",
        "input",
        "inputs",
        "debug",
        "debug(1)",
        "stderr",
        "halt",
        "halt(1)",
        "halt_error",
        "halt_error(1)",
        "now",
        "localtime",
        "strflocaltime(\"%H\")",
        "input_filename",
        "input_line_number",
        "modulemeta",
        "get_search_list",
        "repl",
        "include \"a\"; .",
        "import \"a\" as a; .",
        "stderr_empty",
        "debug_empty",
        "a::b",
    ] {
        assert!(Expr::compile(text, Use::Program).is_err(), "{text}");
    }
}

#[test]
fn odd_texts_are_refused_or_compiled_but_never_more() {
    let deep = 2000;
    for text in [
        "(".repeat(deep),
        "[".repeat(deep),
        format!("{}1{}", "(".repeat(deep), ")".repeat(deep)),
        format!("{}1{}", "[".repeat(deep), "]".repeat(deep)),
        ".|".repeat(deep) + ".",
        "1+".repeat(deep) + "1",
        "-".repeat(deep) + "1",
        ".a".repeat(deep),
        "def f: ".repeat(1000),
        format!("\"{}\"", "\\(".repeat(deep)),
        "if ".repeat(deep),
        "\u{e9}".to_owned(),
        "\0".to_owned(),
        "x".repeat(MAX_TEXT + 1),
        "\"".to_owned(),
        "reduce . as".to_owned(),
        "{(".to_owned(),
        ". as [".to_owned(),
        "..a".to_owned(),
        "?".to_owned(),
        "foreach . as $x (1)".to_owned(),
    ] {
        for use_ in [Use::Condition, Use::Value, Use::Program] {
            if let Ok(expr) = Expr::compile(&text, use_) {
                let _ = Evaluator::default().run(&expr, b"{}", &META, |_| {});
            }
        }
    }
}

const MAX_TEXT: usize = 16 << 10;

#[test]
fn errors_tell_nothing_of_the_record() {
    for (text, class, message) in [
        (".a + 1", ErrorClass::Type, "values of the wrong types are calculated with"),
        (".a | .b", ErrorClass::Type, "a value of the wrong type is indexed"),
        (".a | .[]", ErrorClass::Type, "a value of the wrong type is used as iterable (array or object)"),
        (".a | sort", ErrorClass::Type, "a value of the wrong type is used as array"),
        ("error(.a)", ErrorClass::Jq, "the expression calls 'error'"),
        ("error(\"no total\")", ErrorClass::Jq, "no total"),
        ("error(\"no \\(.a)\")", ErrorClass::Jq, "the expression calls 'error'"),
        (".a | fromjson", ErrorClass::Type, "a text cannot be parsed"),
        ("\"(\" as $p | .a | test($p)", ErrorClass::Jq, "a text is not a valid regular expression"),
        (
            "{(.b): 1}",
            ErrorClass::Type,
            "a value of the wrong type is used as a key, which has to be a string",
        ),
    ] {
        let error = run(text, r#"{"a":"secret","b":5}"#).expect_err(text);
        assert_eq!((error.class, error.message.as_str()), (class, message), "{text}");
    }
}

#[test]
fn what_jq_has_an_error_for_is_one() {
    let is_refused =
        |&(text, doc): &(&str, &str)| run(text, doc).is_err_and(|error| error.class == ErrorClass::Type);
    let wrong = [
        (".a | contains(\"E\")", "{}"),
        (".a | contains(\"E\")", "{\"a\":5}"),
        (".a | contains(\"E\")", "{\"a\":[\"E\"]}"),
        ("[.a | contains(\"E\")]", "{}"),
        (".b as $b | .a | contains($b)", "{\"a\":\"E\",\"b\":[\"E\"]}"),
        ("contains(false)", "true"),
        ("inside([1])", "1"),
        ("has(0)", "{}"),
        ("0 as $k | has($k)", "{}"),
        ("in({})", "0"),
        ("from_entries", "[{\"key\":null}]"),
    ];
    let missed: Vec<_> = wrong.iter().filter(|one| !is_refused(one)).collect();
    assert_eq!(missed, Vec::<&(&str, &str)>::new());
    // Either way, and in what is contained further types may differ.
    for doc in ["{}", "{\"a\":5}", "{\"a\":[\"E\"]}", "{\"a\":true}"] {
        assert_eq!(holds(".a | contains(\"E\")", doc), Err(ErrorClass::Type), "{doc}");
    }
    assert_eq!(holds(".a | contains(\"E\")", "{\"a\":\"DE\"}"), Ok(true));
    assert_eq!(run("contains([\"E\"]), contains([3])", "[1,\"DE\"]").unwrap(), ["true", "false"]);
    assert_eq!(run("contains({a: 1})", "{\"a\":\"1\"}").unwrap(), ["false"]);
    assert_eq!(run("has(\"a\"), has(\"b\")", "{\"a\":null}").unwrap(), ["true", "false"]);
    assert_eq!(run("has(0), has(5)", "[1]").unwrap(), ["true", "false"]);
}

#[test]
fn what_is_not_json_is_no_input() {
    for (doc, class) in [
        ("", ErrorClass::Empty),
        ("{", ErrorClass::Eof),
        ("{]", ErrorClass::Syntax),
        ("1 2", ErrorClass::Trailing),
        ("NaN", ErrorClass::Syntax),
        ("[1,]", ErrorClass::Syntax),
        ("# x\n1", ErrorClass::Syntax),
        ("+1", ErrorClass::Syntax),
    ] {
        assert_eq!(class_of(".", doc), class, "{doc}");
    }
}

#[test]
fn what_reads_nothing_of_the_document_is_known() {
    let reads = |text: &str| match compile(text, Use::Program).way() {
        Way::Jaq { reads_value, .. } => reads_value,
        Way::Plain { reads } => !reads.is_empty(),
    };
    for text in [
        "$key | ascii_upcase",
        "\"a\" + $key",
        "$offset % 2 == 1",
        "-$offset",
        "$headers | has(\"a\")",
        "$headers | to_entries[] | select(.key == \"a\") | .value",
        "[$key, {($key): $headers}] | .[1]",
        "if ($key | length) > 3 then error(\"long\") else $key[:2] end",
        "@base64 \"\\($key)\"",
        "$key as $k | [range(3)] | map(. * 2) | $k",
        "try ($key | fromjson | .a)",
        "label $done | (1, break $done) | . + 1",
        "reduce range(5) as $n ($offset; . * $n)",
        "any(range(3); . > $offset)",
        "first($headers[] | select(. == \"1\")) // \"none\"",
        "null | not",
        "1 | .. | [.]",
    ] {
        assert!(!reads(text), "{text}");
    }
    for text in [
        ". + 1",
        "ascii_upcase",
        "$headers[.a | tostring]",
        "$key + .b",
        "{a} | [.]",
        "{(.a): $key}",
        "@base64 \"\\(.)\"",
        "@text",
        "if $key then 1 + 1 end",
        "if (. | not) then $key else 1 end",
        "$key as $k | [.]",
        ". as $k | $key | [.]",
        ". as {a: $k} | $key | [.]",
        "try error catch $key",
        "[..] | $key",
        "reduce .[] as $n ($offset; . * $n)",
        "reduce range(5) as $n (.; . * $n)",
        "any(.[]; . > $offset)",
        "range(.)",
        "error(.a)",
        "def f: .; $key | f",
        "def empty: .; empty",
        "-(.a)",
        "$key = 1",
        "not | not",
        "map($key)",
        "[limit(1; .)]",
    ] {
        assert!(reads(text), "{text}");
    }
}

#[test]
fn what_is_surely_not_meant_is_warned_of() {
    for (text, begins) in [
        (".a = 1", "the condition sets something"),
        ("not .a", "'not' is about what comes before it"),
        (".a and (not .b)", "'not' is about what comes before it"),
        ("[.[] | not[0]]", "'not' is about what comes before it"),
    ] {
        let warning = compile(text, Use::Condition).warning().expect(text);
        assert!(warning.starts_with(begins), "{text}: {warning}");
    }
    for text in [".a | not", "not", ".not.a", ".a == (.b | not)", "[.a == 1 | not][0]"] {
        assert_eq!(compile(text, Use::Condition).warning(), None, "{text}");
    }
}

#[test]
fn the_way_says_why() {
    for (text, why) in [
        (".a | map(.)", "it calls 'map'"),
        (".items[].price > 1", "it iterates by '[]'"),
        (".a + 1 > 2", "it calculates"),
        ("if .a then 1 else 2 end", "it has 'if'"),
        (".a[-1]", "an index is not a plain key or number"),
        (".a | test(\"b\"; \"n\")", "a regular expression has the flag 'n'"),
    ] {
        assert_eq!(compile(text, Use::Condition).way(), Way::Jaq { why, reads_value: true }, "{text}");
    }
    for (text, why) in [
        ("($key | ascii_upcase) == \"K\"", "it calls 'ascii_upcase'"),
        ("($key | .[1:]) == \"a\"", "it is no plain path"),
        ("$offset % 2 == 0", "it calculates"),
    ] {
        assert_eq!(compile(text, Use::Condition).way(), Way::Jaq { why, reads_value: false }, "{text}");
    }
    let paths =
        |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<crate::json::Path>>();
    let expr = compile(".a.b == .c[0] and (.a | has(\"d\"))", Use::Condition);
    assert_eq!(expr.way(), Way::Plain { reads: &paths(&[".a.b", ".c[0]", ".a.d"]) });
    assert_eq!(expr.paths(), paths(&[".a", ".a.b", ".c", ".c[0]", ".a.d"]));
}
