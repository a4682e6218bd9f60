use std::slice::from_ref;

use super::*;

const ORDER: &str = r#"{ "id":7,"email" : "ada@example.org", "total":1.50e1,"items":[{"sku":"a","price":1},{"sku":"b","secret":null,"price":2.0}],"address":{"city":"Z\u00fcrich","zip":"8000"},"vip":true }"#;

#[test]
fn drop_and_keep() {
    let drop = StepTable::default().with("drop", Given::List(vec![".email".into(), ".items[].price".into()]));
    assert_eq!(
        edited(&[drop], ORDER),
        r#"{ "id":7, "total":1.50e1,"items":[{"sku":"a"},{"sku":"b","secret":null}],"address":{"city":"Z\u00fcrich","zip":"8000"},"vip":true }"#
    );
    let keep = StepTable::default().with("keep", Given::List(vec![".total".into(), ".address.city".into()]));
    let kept = edited(from_ref(&keep), ORDER);
    assert_eq!(kept.replace(' ', ""), r#"{"total":1.50e1,"address":{"city":"Z\u00fcrich"}}"#);
    assert_eq!(edited(from_ref(&keep), "5"), "null");
    for doc in ["5", "\"txt\"", "[1,2]"] {
        assert_eq!(refused(&[keep.clone().with("on_missing", text("fail"))], doc).0, ErrorClass::Missing);
    }
    let (class, message) = refused(&[keep.with("on_missing", text("fail"))], r#"{"total":1}"#);
    assert_eq!(
        (class, message.as_str()),
        (ErrorClass::Missing, "step 1 (keep .total, .address.city): .address.city leads nowhere")
    );
}

#[test]
fn what_is_missing_is_a_policy() {
    let drop = step(&[("drop", ".x.y")]);
    assert_eq!(edited(from_ref(&drop), r#"{"x":1}"#), r#"{"x":1}"#);
    let (class, message) =
        refused(&[step(&[("drop", ".a")]), drop.with("on_missing", text("fail"))], r#"{"x":1}"#);
    assert_eq!((class, message.as_str()), (ErrorClass::Missing, "step 2 (drop .x.y): .x.y leads nowhere"));
}

#[test]
fn not_json_fails_with_the_step_that_reads() {
    let steps = [step(&[("header", "a"), ("text", "b")]), step(&[("drop", ".a")])];
    let (class, message) = refused(&steps, r#"{"a":}"#);
    assert_eq!(class, ErrorClass::Syntax);
    assert!(message.starts_with("step 2 (drop .a): "), "{message}");
    assert_eq!(refused(&steps, "").0, ErrorClass::Empty);
    // What looks at nothing of the value takes anything.
    assert_eq!(edited(&steps[..1], r#"{"a":}"#), r#"{"a":}"#);
}

#[test]
fn rename() {
    let rename = |from: &str, to: &str, doc: &str| edited(&[step(&[("rename", from), ("to", to)])], doc);
    assert_eq!(rename(".a", "b", r#"{"a" : 1,"c":2}"#), r#"{"b" : 1,"c":2}"#);
    assert_eq!(rename(".a", ".b", r#"{"b":0,"a":1,"b":2}"#), r#"{"b":1}"#, "it replaces what is there");
    assert_eq!(rename(".a", "b", r#"{"b":0}"#), r#"{"b":0}"#);
    assert_eq!(
        rename(".i[].a", "b", r#"{"i":[{"a":1,"b":2},{"b":3},{"a":4}],"b":5}"#),
        r#"{"i":[{"b":1},{"b":3},{"b":4}],"b":5}"#
    );
    assert_eq!(rename(".a.x", ".b.y", r#"{"a":{"x":[ 1 ]},"b":{}}"#), r#"{"a":{},"b":{"y":[ 1 ]}}"#);
    assert_eq!(rename(".a.x", ".y", r#"{"a":{"x":1},"y":2}"#), r#"{"a":{},"y":1}"#);
    assert_eq!(rename(".a.x", ".b.y", r#"{"a":{"x":1}}"#), r#"{"a":{"x":1}}"#);
    assert_eq!(rename(".a", "odd \"key\"", r#"{"a":1}"#), r#"{"odd \"key\"":1}"#);
}

#[test]
fn set_and_copy() {
    let set = |path: &str, value: &str, doc: &str| edited(&[step(&[("set", path), ("value", value)])], doc);
    assert_eq!(set(".b", "1", r#"{"a":0}"#), r#"{"a":0,"b":1}"#);
    assert_eq!(set(".a", "$topic", r#"{"a":0}"#), r#"{"a":"orders"}"#);
    assert_eq!(set(".a", ".b", r#"{"a":0,"b":1.00}"#), r#"{"a":1.00,"b":1.00}"#);
    assert_eq!(
        set(".i[].c", ".c", r#"{"c":"EUR","i":[{},{"c":1},3]}"#),
        r#"{"c":"EUR","i":[{"c":"EUR"},{"c":"EUR"},3]}"#
    );
    assert_eq!(set(".n", "(.a | length) + $offset", r#"{"a":[1,2]}"#), r#"{"a":[1,2],"n":12}"#);
    assert_eq!(set(".x.y", "1", r#"{"x":2}"#), r#"{"x":2}"#);
    assert_eq!(set(".x.y", "1", r#"{"x":{}}"#), r#"{"x":{"y":1}}"#);
    let of_text = step(&[("set", ".a"), ("text", "{.first} \"{.last}\"")]);
    assert_eq!(
        edited(from_ref(&of_text), r#"{"first":"A","last":"L\n"}"#),
        r#"{"first":"A","last":"L\n","a":"A \"L\n\""}"#
    );
    assert_eq!(edited(from_ref(&of_text), r#"{"first":"A"}"#), r#"{"first":"A"}"#);
    let fails = of_text.with("on_missing", text("fail"));
    assert_eq!(refused(&[fails], r#"{"first":"A"}"#).0, ErrorClass::Missing);
    let copy = step(&[("copy", ".a.b"), ("to", ".c")]);
    assert_eq!(edited(from_ref(&copy), r#"{"a":{"b":1e2},"c":0}"#), r#"{"a":{"b":1e2},"c":1e2}"#);
    assert_eq!(edited(&[copy], r#"{"a":{}}"#), r#"{"a":{}}"#);
    let number = StepTable::of("set", ".a").with("value", Given::Integer(5));
    assert_eq!(edited(&[number], "{}"), r#"{"a":5}"#);
}

#[test]
fn mask_redact_truncate() {
    let mask =
        StepTable::of("mask", ".email").with("first", Given::Integer(2)).with("last", Given::Integer(4));
    assert_eq!(edited(from_ref(&mask), r#"{"email":"ada@example.org"}"#), r#"{"email":"ad*********.org"}"#);
    assert_eq!(edited(from_ref(&mask), r#"{"email":"\u00e9\u00e9\u00e9"}"#), r#"{"email":"***"}"#);
    assert_eq!(edited(from_ref(&mask), r#"{"email":null}"#), r#"{"email":null}"#);
    assert_eq!(edited(from_ref(&mask), r#"{"email":1234567890}"#), r#"{"email":"12****7890"}"#);
    let (class, message) = refused(from_ref(&mask), r#"{"email":["a@b.c"]}"#);
    assert_eq!(class, ErrorClass::Type, "it would stand there unmasked");
    assert_eq!(message, "step 1 (mask .email): an array where a text is needed");
    let redact = step(&[("redact", ".items[].secret"), ("with", "-")]);
    assert_eq!(edited(&[redact], r#"{"items":[{"secret":{"a":1}},{}]}"#), r#"{"items":[{"secret":"-"},{}]}"#);
    let truncate = StepTable::of("truncate", ".a").with("length", Given::Integer(2));
    assert_eq!(edited(from_ref(&truncate), r#"{"a":"\u00e9\u00e9\u00e9"}"#), "{\"a\":\"\u{e9}\u{e9}\"}");
    assert_eq!(edited(from_ref(&truncate), r#"{"a":"\u00e9\u00e9"}"#), r#"{"a":"\u00e9\u00e9"}"#);
    assert_eq!(edited(from_ref(&truncate), r#"{"a":[1]}"#), r#"{"a":[1]}"#);
    assert_eq!(refused(&[truncate.with("on_missing", text("fail"))], r#"{"a":[1]}"#).0, ErrorClass::Type);
}

#[test]
fn hash_and_hmac() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(edited(&[step(&[("hash", ".a")])], r#"{"a":"abc"}"#), format!("{{\"a\":\"{abc}\"}}"));
    let beside = step(&[("hash", ".a"), ("to", ".h"), ("digest", "md5")]);
    assert_eq!(edited(&[beside], r#"{"a":"abc"}"#), r#"{"a":"abc","h":"900150983cd24fb0d6963f7d28e17f72"}"#);
    let whole = step(&[("hash", "."), ("to", ".h"), ("digest", "md5")]);
    assert_eq!(edited(&[whole], "{}"), r#"{"h":"99914b932bd37a50b983c5e7c90ae93b"}"#);

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, key: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, key).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (key, previous) = (file("key", "Jefe\n"), file("previous", "other"));
    let jefe = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let doc = r#"{"a":"what do ya want for nothing?"}"#;
    let in_place = step(&[("hmac", ".a"), ("key_file", &key), ("key_id", "k1")]);
    assert_eq!(edited(from_ref(&in_place), doc), format!("{{\"a\":\"k1:{jefe}\"}}"));
    let rotating = in_place
        .with("previous_key_file", text(&previous))
        .with("previous_key_id", text("k0"))
        .with("previous_to", text(".old"));
    let both = edited(&[rotating], doc);
    assert!(both.starts_with(&format!("{{\"a\":\"k1:{jefe}\",\"old\":\"k0:")), "{both}");
    let shown = format!("{:?}", plan(&[step(&[("hmac", ".a"), ("key_file", &key)])]).steps);
    assert!(!shown.contains("Jefe"), "{shown}");
    assert_eq!(
        problems(&[
            step(&[("hmac", ".a"), ("key", "Jefe")]),
            step(&[("hmac", ".a"), ("key_file", "/nowhere")])
        ])[0],
        "step 1, key: a key is no part of a configuration: name the file that it is in with `key_file`, or a \
         variable with `key_env`"
    );
}

#[test]
fn each_step_may_have_a_condition() {
    let mask = step(&[("mask", ".email"), ("when", ".vip | not")]);
    assert_eq!(edited(from_ref(&mask), r#"{"email":"a","vip":false}"#), r#"{"email":"*","vip":false}"#);
    assert_eq!(edited(&[mask], r#"{"email":"a","vip":true}"#), r#"{"email":"a","vip":true}"#);
    let by_partition = step(&[("drop", ".a"), ("when", "$partition == 2")]);
    assert_eq!(edited(&[by_partition], r#"{"a":1}"#), "{}");
    let never = step(&[("drop", ".a"), ("when", "$partition == 3")]);
    assert_eq!(edited(&[never], "no JSON"), "no JSON");
}
