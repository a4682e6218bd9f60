//! What it costs to evaluate expressions, on bytes and by jaq.

use std::hint::black_box;

use topicmill_records::NO_HEADERS;
use topicmill_steps::{
    expr::{Evaluator, Expr, Located, Meta, Use, Way},
    json::{Found, Locator, PathSet},
};

use crate::{
    documents::orders,
    harness::{measure, report},
};

/// Conditions that are evaluated on bytes.
const CONDITIONS: [&str; 4] = [
    r#".customer.country == "DE""#,
    r#".total > 500 and .customer.vip"#,
    r#".customer.country | IN("DE", "NL")"#,
    r#".customer.email | test("@example\\.com$")"#,
];

/// Programs, from what looks at little to what makes everything anew.
const PROGRAMS: [&str; 8] = [
    ".total > 500",
    r#"select(.customer.country == "DE") | .order_id"#,
    "{order_id, total, country: .customer.country}",
    "del(.customer.email)",
    "{order_id, sum: ([.items[] | .quantity * .price] | add)}",
    ".items[] | {sku, quantity}",
    r#".customer.email |= sub("@.*"; "@x")"#,
    ".",
];

/// Reports all rows.
pub fn rows() {
    let orders = orders();
    let meta =
        Meta { topic: "orders", partition: 0, offset: 1, timestamp: 2, key: None, headers: NO_HEADERS };
    for text in CONDITIONS {
        let expr = Expr::compile(text, Use::Condition).expect(text);
        assert!(matches!(expr.way(), Way::Plain { .. }), "{text}");
        let paths = PathSet::new(expr.paths()).expect("few paths");
        let ids: Vec<_> = (0..expr.paths().len()).collect();
        report(&format!("plain, {text}"), |count| {
            let (mut evaluator, mut locator) = (Evaluator::default(), Locator::default());
            // Located before, as what is measured is the evaluation.
            let located: Vec<_> = orders[..count]
                .iter()
                .map(|doc| {
                    let mut found = Found::default();
                    locator.locate(doc, &paths, &mut found).expect("JSON");
                    (doc, found)
                })
                .collect();
            measure(count, || {
                for (doc, found) in black_box(&located) {
                    let located = Located { doc, paths: &paths, found, ids: &ids };
                    black_box(evaluator.holds(&expr, located, &meta)).expect("no error");
                }
            })
        });
    }
    for text in PROGRAMS {
        let expr = Expr::compile(text, Use::Program).expect(text);
        report(&format!("jaq, {text}"), |count| {
            let mut evaluator = Evaluator::default();
            measure(count, || {
                for doc in black_box(&orders[..count]) {
                    let each = |result: &[u8]| {
                        black_box(result.len());
                    };
                    evaluator.run(&expr, doc, &meta, each).expect("no error");
                }
            })
        });
    }
}
