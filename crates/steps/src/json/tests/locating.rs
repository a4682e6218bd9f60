use super::*;

/// The values that `path` leads to.
fn values<'d>(doc: &'d str, path: &str) -> Vec<&'d str> {
    let (_, found) = locate(doc, &[path]).unwrap();
    found.all(0).iter().map(|site| str::from_utf8(site.value(doc.as_bytes())).unwrap()).collect()
}

fn read<'d>(doc: &'d str, path: &str) -> Option<&'d str> {
    let (paths, found) = locate(doc, &[path]).unwrap();
    found.read(&paths, 0).map(|site| str::from_utf8(site.value(doc.as_bytes())).unwrap())
}

#[test]
fn paths_lead_to_their_values() {
    let doc = r#" {"a": 1 ,"b" : {"c":[{"p":1.50},{"q":2},{"p":"x"}, 7]},"d":[[ ],true , null]} "#;
    for (path, expected) in [
        (".", &[doc.trim()][..]),
        (".a", &["1"]),
        (".b.c[].p", &["1.50", "\"x\""]),
        (".b.c[1]", &["{\"q\":2}"]),
        (".b.c[3]", &["7"]),
        (".b.c[4]", &[]),
        (".d[]", &["[ ]", "true", "null"]),
        (".d[0][0]", &[]),
        (".a.x", &[]),
        (".d.x", &[]),
        (".d.*", &[]),
        (".*.c[0].*", &["1.50"]),
        (".b[]", &[r#"[{"p":1.50},{"q":2},{"p":"x"}, 7]"#]),
        (".b[0]", &[]),
    ] {
        assert_eq!(values(doc, path), expected, "{path}");
    }
}

#[test]
fn a_site_knows_what_stands_around_it() {
    let doc = r#"{"a": 1 , "b":[ 2 ,3] }"#;
    let (_, found) = locate(doc, &[".a", ".b", ".b[0]", ".b[1]", "."]).unwrap();
    let expected = [
        Site { key: 1..4, value: 6..7, before: 0, after: 8, kind: Kind::Number },
        Site { key: 10..13, value: 14..21, before: 8, after: 22, kind: Kind::Array },
        Site { key: 0..0, value: 16..17, before: 14, after: 18, kind: Kind::Number },
        Site { key: 0..0, value: 19..20, before: 18, after: 20, kind: Kind::Number },
        Site { key: 0..0, value: 0..23, before: 0, after: 23, kind: Kind::Object },
    ];
    for (path, site) in expected.into_iter().enumerate() {
        assert_eq!(site.is_root(), path == 4);
        assert_eq!(found.all(path), [site]);
    }
}

#[test]
fn several_paths_may_share_their_way() {
    let doc = r#"{"a":{"b":1,"c":2},"d":{"b":3}}"#;
    let (_, found) = locate(doc, &[".a.b", ".a", ".*.b", ".a.*", ".d.b", ".a.b"]).unwrap();
    let counts: Vec<usize> = (0..6).map(|path| found.all(path).len()).collect();
    assert_eq!(counts, [1, 1, 2, 2, 1, 1]);
}

#[test]
fn escaped_keys_are_what_they_say() {
    let doc = r#"{"\u0061":1,"\\u0061":2,"\ud83d\ude00":3,"\ud83d":4,"a\n\"":5}"#;
    for (path, expected) in [
        (".a", "1"),
        (r#"."\\u0061""#, "2"),
        (".\"\u{1f600}\"", "3"),
        (".\"\u{fffd}\"", "4"),
        (r#"."a\n\"""#, "5"),
    ] {
        assert_eq!(values(doc, path), [expected], "{path}");
    }
}

#[test]
fn a_reader_gets_the_last_of_duplicates() {
    let doc = r#"{"a":{"x":1,"x":2},"b":{"x":3},"b":{"y":4},"a":{"x":5,"x":6},"c":{"x":7},"c":8}"#;
    assert_eq!(values(doc, ".a.x"), ["1", "2", "5", "6"]);
    assert_eq!(read(doc, ".a.x"), Some("6"));
    assert_eq!(read(doc, ".b.x"), None, "the last b has no x");
    assert_eq!(read(doc, ".b.y"), Some("4"));
    assert_eq!(read(doc, ".c.x"), None);
    assert_eq!(read(doc, ".c"), Some("8"));
}

#[test]
fn the_rest_is_what_is_not_kept() {
    let rest = |doc: &'static str, keep: &[&str]| {
        let keep: Vec<Path> = keep.iter().map(|path| path.parse().unwrap()).collect();
        let paths = PathSet::with_rest(&[], &keep).unwrap();
        let mut found = Found::default();
        Locator::default().locate(doc.as_bytes(), &paths, &mut found).unwrap();
        found
            .all(0)
            .iter()
            .map(|site| str::from_utf8(site.value(doc.as_bytes())).unwrap())
            .collect::<Vec<_>>()
    };
    let doc = r#"{"a":1,"b":{"c":2,"d":[3]},"e":[{"f":4,"g":5},6]}"#;
    assert_eq!(rest(doc, &[".a", ".b.c"]), ["[3]", r#"[{"f":4,"g":5},6]"#]);
    assert_eq!(rest(doc, &[".a.x", ".b", ".b.c", ".e[].g"]), ["1", "4", "6"]);
    assert_eq!(rest(doc, &["."]), [""; 0]);
    assert_eq!(rest(doc, &[]), [doc]);
    assert_eq!(rest("5", &[".a"]), ["5"]);
    assert_eq!(rest(r#"[1,{"a":2}]"#, &[".a"]), ["1", r#"{"a":2}"#]);
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(locate(&nested(10_000), &[]).is_ok());
    let error = locate(&nested(10_001), &[]).unwrap_err();
    assert_eq!(error, JsonError { offset: 10_000, fault: Fault::Depth });
    let objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    assert!(locate(&objects, &[".a.a.a"]).is_ok());
}
