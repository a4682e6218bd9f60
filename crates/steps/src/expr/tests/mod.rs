mod language;
mod bounds;
mod differential;
mod refusals;

use topicmill_mill::transform::{ErrorClass, ValueError};
use topicmill_records::{HeadersWriter, NO_HEADERS};

use super::*;
use crate::json::{Found, Locator, PathSet};

const META: Meta<'static> = Meta {
    topic: "orders",
    partition: 3,
    offset: 42,
    timestamp: 1_700_000_000_123,
    key: Some(b"k1"),
    headers: NO_HEADERS,
};

/// The headers `a: 1`, `a: 2`, `b: null`, and one that is not UTF-8.
fn headers() -> Vec<u8> {
    let mut headers = HeadersWriter::default();
    headers.push(b"a", Some(b"1"));
    headers.push(b"a", Some(b"2"));
    headers.push(b"b", None);
    headers.push(b"c", Some(b"\xff"));
    headers.finish()
}

fn compile(text: &str, use_: Use) -> Expr {
    Expr::compile(text, use_).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The results of a program.
fn run(text: &str, doc: &str) -> Result<Vec<String>, ValueError> {
    run_within(Limits::default(), text, doc)
}

fn run_within(limits: Limits, text: &str, doc: &str) -> Result<Vec<String>, ValueError> {
    let mut results = Vec::new();
    let each = |result: &[u8]| results.push(String::from_utf8(result.to_vec()).unwrap());
    Evaluator::new(limits).run(&compile(text, Use::Program), doc.as_bytes(), &META, each)?;
    Ok(results)
}

fn class_of(text: &str, doc: &str) -> ErrorClass {
    run(text, doc).expect_err(text).class
}

/// Locates what an expression needs in a valid document and evaluates it there.
fn with_located<T>(expr: &Expr, doc: &str, evaluate: impl FnOnce(Located<'_>) -> T) -> T {
    let paths = PathSet::new(expr.paths()).unwrap();
    let mut found = Found::default();
    Locator::default().locate(doc.as_bytes(), &paths, &mut found).unwrap();
    let ids: Vec<_> = (0..expr.paths().len()).collect();
    evaluate(Located { doc: doc.as_bytes(), paths: &paths, found: &found, ids: &ids })
}

/// Whether a condition holds; both ways agree.
fn holds(text: &str, doc: &str) -> Result<bool, ErrorClass> {
    let expr = compile(text, Use::Condition);
    let mut evaluator = Evaluator::default();
    let by_way = with_located(&expr, doc, |located| evaluator.holds(&expr, located, &META));
    let by_jaq = evaluator.holds_by_jaq(&expr, doc.as_bytes(), &META);
    let (by_way, by_jaq) = (by_way.map_err(|error| error.class), by_jaq.map_err(|error| error.class));
    assert_eq!(by_way, by_jaq, "{text} of {doc}: {:?}", expr.way());
    by_way
}

/// A value; both ways agree but for how numbers, texts and blanks are written.
fn value(text: &str, doc: &str) -> Result<Option<String>, ErrorClass> {
    let expr = compile(text, Use::Value);
    let mut evaluator = Evaluator::default();
    let (mut plain, mut jaq) = (Vec::new(), Vec::new());
    let by_way = with_located(&expr, doc, |located| evaluator.value(&expr, located, &META, &mut plain));
    let by_jaq = evaluator.value_by_jaq(&expr, doc.as_bytes(), &META, &mut jaq);
    let (by_way, by_jaq) = (by_way.map_err(|error| error.class), by_jaq.map_err(|error| error.class));
    assert_eq!(by_way, by_jaq, "{text} of {doc}: {:?}", expr.way());
    if !by_way? {
        assert!(plain.is_empty() && jaq.is_empty());
        return Ok(None);
    }
    let mut rewritten = Vec::new();
    evaluator.run(&compile(".", Use::Program), &plain, &META, |result| rewritten = result.to_vec()).unwrap();
    assert_eq!(String::from_utf8_lossy(&rewritten), String::from_utf8_lossy(&jaq), "{text} of {doc}");
    Ok(Some(String::from_utf8(plain).unwrap()))
}

fn is_plain(expr: &Expr) -> bool {
    matches!(expr.way(), Way::Plain { .. })
}

#[test]
fn expressions_are_shared_by_threads_that_each_have_an_evaluator() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Expr>();
    shared::<Template>();
    sent::<Evaluator>();
}
