use super::*;

/// `doc` without what `paths` lead to.
fn without(doc: &str, paths: &[&str]) -> String {
    edited(doc, paths, |edits, found| {
        (0..paths.len()).for_each(|path| found.all(path).iter().for_each(|site| edits.remove(site)));
    })
}

fn edited(doc: &str, paths: &[&str], edit: impl Fn(&mut Edits, &Found)) -> String {
    let (_, found) = locate(doc, paths).unwrap();
    let mut edits = Edits::default();
    edit(&mut edits, &found);
    let mut out = Vec::new();
    edits.splice(doc.as_bytes(), &mut out);
    assert!(edits.is_empty());
    String::from_utf8(out).unwrap()
}

#[test]
fn a_removal_takes_one_comma() {
    let doc = r#"{"a":1, "b" : 2 ,"c":[3, 4,5]}"#;
    for (paths, expected) in [
        (&[".a"][..], r#"{"b" : 2 ,"c":[3, 4,5]}"#),
        (&[".b"], r#"{"a":1 ,"c":[3, 4,5]}"#),
        (&[".c"], r#"{"a":1, "b" : 2 }"#),
        (&[".a", ".b"], r#"{"c":[3, 4,5]}"#),
        (&[".b", ".a"], r#"{"c":[3, 4,5]}"#),
        (&[".b", ".c"], r#"{"a":1}"#),
        (&[".a", ".c"], r#"{"b" : 2 }"#),
        (&[".a", ".b", ".c"], "{}"),
        (&[".c[0]", ".c[1]"], r#"{"a":1, "b" : 2 ,"c":[5]}"#),
        (&[".c[0]", ".c[2]"], r#"{"a":1, "b" : 2 ,"c":[4]}"#),
        (&[".c[]", ".c[1]"], r#"{"a":1, "b" : 2 ,"c":[]}"#),
        (&[".c", ".c[1]", ".b"], r#"{"a":1}"#),
        (&[".*"], "{}"),
        (&["."], "null"),
        (&[".x"], doc),
    ] {
        assert_eq!(without(doc, paths), expected, "{paths:?}");
    }
}

#[test]
fn duplicates_go_together() {
    assert_eq!(without(r#"{"a":1,"a":2,"b":3,"a":4}"#, &[".a"]), r#"{"b":3}"#);
    assert_eq!(without(r#"{ "a":1 , "\u0061":2 }"#, &[".a"]), r#"{  }"#);
}

#[test]
fn a_pretty_document_stays_pretty() {
    let doc = "{\n  \"a\": 1,\n  \"b\": 2,\n  \"c\": 3\n}\n";
    assert_eq!(without(doc, &[".a"]), "{\n  \"b\": 2,\n  \"c\": 3\n}\n");
    assert_eq!(without(doc, &[".b"]), "{\n  \"a\": 1,\n  \"c\": 3\n}\n");
    assert_eq!(without(doc, &[".c"]), "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
    assert_eq!(without(doc, &[".*"]), "{\n  \n}\n");
}

#[test]
fn values_and_keys_are_replaced() {
    let doc = r#"{"a": {"b":1} ,"c":[2]}"#;
    let out = edited(doc, &[".a.b", ".c[0]", ".c"], |edits, found| {
        edits.replace(&found.all(0)[0], b"\"one\"");
        edits.rename(&found.all(0)[0], b"\"B\"");
        edits.rename(&found.all(1)[0], b"\"nothing\"");
        edits.replace_with(&found.all(1)[0], |out| out.extend_from_slice(b"22"));
        edits.rename(&found.all(2)[0], b"\"C\"");
    });
    assert_eq!(out, r#"{"a": {"B":"one"} ,"C":[22]}"#);
}

#[test]
fn changes_within_what_goes_are_void() {
    let doc = r#"{"a":{"b":1,"c":2},"d":3}"#;
    let out = edited(doc, &[".a", ".a.b", ".d"], |edits, found| {
        edits.insert(&found.all(0)[0], b"\"x\"", b"0");
        edits.replace(&found.all(1)[0], b"5");
        edits.replace(&found.all(0)[0], b"6");
        edits.rename(&found.all(2)[0], b"\"D\"");
        edits.replace(&found.all(2)[0], b"7");
        edits.replace(&found.all(2)[0], b"8");
        edits.remove(&found.all(1)[0]);
    });
    assert_eq!(out, r#"{"a":6,"D":7}"#);
    let out = edited(doc, &[".a", ".a.b", ".d"], |edits, found| {
        edits.rename(&found.all(0)[0], b"\"A\"");
        edits.replace(&found.all(1)[0], b"5");
        edits.remove(&found.all(0)[0]);
    });
    assert_eq!(out, r#"{"d":3}"#);
}

#[test]
fn members_are_inserted_after_the_last() {
    let insert = |doc: &str, remove: &[&str]| {
        let mut paths = vec![".", ".o"];
        paths.extend_from_slice(remove);
        edited(doc, &paths, |edits, found| {
            (2..paths.len()).for_each(|path| found.all(path).iter().for_each(|site| edits.remove(site)));
            for object in found.all(1) {
                edits.insert(object, b"\"x\"", b"1");
            }
            edits.insert(&found.all(0)[0], b"\"y\"", b"2");
            edits.insert(&found.all(0)[0], b"\"z\"", b"3");
        })
    };
    assert_eq!(insert("{}", &[]), r#"{"y":2,"z":3}"#);
    assert_eq!(insert(" { } ", &[]), r#" {"y":2,"z":3 } "#);
    assert_eq!(insert("{\"a\":0\n}", &[]), "{\"a\":0,\"y\":2,\"z\":3\n}");
    assert_eq!(insert(r#"{"o":{}}"#, &[]), r#"{"o":{"x":1},"y":2,"z":3}"#);
    assert_eq!(insert(r#"{"o":{"b": 0}}"#, &[]), r#"{"o":{"b": 0,"x":1},"y":2,"z":3}"#);
    assert_eq!(insert(r#"{"o":{"b":0, "c":0}}"#, &[".o.b"]), r#"{"o":{"c":0,"x":1},"y":2,"z":3}"#);
    assert_eq!(insert(r#"{"o":{"b":0, "c":0 }}"#, &[".o.c"]), r#"{"o":{"b":0,"x":1 },"y":2,"z":3}"#);
    assert_eq!(insert(r#"{"o":{"b":0, "c":0}}"#, &[".o.*"]), r#"{"o":{"x":1},"y":2,"z":3}"#);
    assert_eq!(insert(r#"{"o":{"b":0}}"#, &[".o"]), r#"{"y":2,"z":3}"#);
    assert_eq!(insert(r#"{"a":{"b":0},"o":{"b":0}}"#, &[".o.b", ".a"]), r#"{"o":{"x":1},"y":2,"z":3}"#);
}
