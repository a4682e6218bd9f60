//! Plain against jaq, on generated expressions and documents.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;

/// How many pairs are compared; `EXPRESSION_PAIRS` in the environment is another number.
const PAIRS: usize = 10_000;

const KEYS: [&str; 5] = ["a", "b", "c d", "\u{e9}", "0"];
const SCALARS: [&str; 32] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "1e0",
    "10e-1",
    "-1",
    "2",
    "0.1",
    "1e400",
    "-1e400",
    "1e308",
    "-0.0",
    "9007199254740992",
    "9007199254740993",
    "9007199254740992.0",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "123456789012345678901234567890",
    "123456789012345678901234567891.0",
    "\"\"",
    "\"a\"",
    "\"ab\"",
    "\"\\u0061\"",
    "\"\u{e9}\"",
    "\"\\u00e9\"",
    "\"\\ud800\"",
    "\"z\\n\"",
];
/// Scalars as an expression has them.
const LITERALS: [&str; 26] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "-1",
    "2",
    "0.1",
    "1e400",
    "-1e400",
    "007",
    "9007199254740992",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "123456789012345678901234567890",
    "\"\"",
    "\"a\"",
    "\"ab\"",
    "\"\u{e9}\"",
    "\"\\u00e9\"",
    "\"\\ufffd\"",
    "\"z\\n\"",
];

struct Generator(StdRng);

impl Generator {
    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.0).unwrap()
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.0.random_ratio(1, count)
    }

    fn space(&mut self) -> &'static str {
        if self.one_in(8) { " " } else { "" }
    }

    fn doc(&mut self, depth: usize) -> String {
        let space = self.space();
        match self.0.random_range(0..if depth == 0 { 2 } else { 6 }) {
            0 | 1 => format!("{space}{}", self.pick(&SCALARS)),
            2 => {
                let elements: Vec<_> = (0..self.0.random_range(0..4)).map(|_| self.doc(depth - 1)).collect();
                format!("[{space}{}]{space}", elements.join(","))
            }
            _ => {
                let members: Vec<_> = (0..self.0.random_range(0..5))
                    .map(|_| {
                        let key = self.pick(&["a", "a", "b", "c d", "\u{e9}", "\\u0061", "\\u00e9", "0", ""]);
                        format!("{space}\"{key}\"{space}:{}", self.doc(depth - 1))
                    })
                    .collect();
                format!("{{{}}}{space}", members.join(","))
            }
        }
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for _ in 0..self.0.random_range(1..4) {
            let key = self.pick(&KEYS);
            path += &match self.0.random_range(0..5) {
                0 => format!("[{}]", self.0.random_range(0..3)),
                1 => format!("[\"{key}\"]"),
                _ if key == "a" || key == "b" => format!(".{key}"),
                _ => format!(".\"{key}\""),
            };
            path += if self.one_in(6) { "?" } else { "" };
        }
        if path.starts_with('[') { format!(".{path}") } else { path }
    }

    fn source(&mut self) -> String {
        match self.0.random_range(0..12) {
            0..7 => self.path(),
            7 | 8 => self.pick(&LITERALS).to_owned(),
            9 => self
                .pick(&[
                    "$topic",
                    "$partition",
                    "$offset",
                    "$key",
                    "$headers.a",
                    ".",
                    ". | .a",
                    ".a | type",
                    "type",
                ])
                .to_owned(),
            10 => format!("({} // {})", self.source(), self.source()),
            _ => format!("({} | {})", self.path(), self.path()),
        }
    }

    fn test(&mut self, depth: usize) -> String {
        let text = |own: &mut Self| own.pick(&["\"\"", "\"a\"", "\"\u{e9}\"", "\"z\"", "\"b\""]);
        match self.0.random_range(0..if depth == 0 { 8 } else { 14 }) {
            0..5 => {
                let operator = self.pick(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({}) {operator} ({})", self.source(), self.source())
            }
            5 => self.source(),
            6 => {
                let name = self.pick(&["startswith", "endswith", "contains", "test", "has"]);
                format!("({} | {name}({}))", self.path(), text(self))
            }
            7 => format!("({} | IN({}, {}))", self.source(), self.pick(&LITERALS), self.pick(&LITERALS)),
            8 | 9 => format!("({} and {})", self.test(depth - 1), self.test(depth - 1)),
            10 | 11 => format!("({} or {})", self.test(depth - 1), self.test(depth - 1)),
            12 => format!("({} | not)", self.test(depth - 1)),
            _ => format!("({} | {})", self.path(), self.test(depth - 1)),
        }
    }

    fn value(&mut self) -> String {
        match self.0.random_range(0..4) {
            0 => format!("\"x\\({})\\n\\({})\"", self.source(), self.source()),
            1 => self.test(1),
            _ => self.source(),
        }
    }
}

#[test]
fn plain_and_jaq_agree() {
    let pairs = std::env::var("EXPRESSION_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(PAIRS);
    let seed = std::env::var("EXPRESSION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut generator = Generator(StdRng::seed_from_u64(seed));
    let (mut plain, mut held, mut failed, mut done) = (0, 0, 0, 0);
    while done < pairs {
        let is_condition = generator.one_in(2);
        let text = if is_condition { generator.test(2) } else { generator.value() };
        let expr = compile(&text, if is_condition { Use::Condition } else { Use::Value });
        plain += usize::from(is_plain(&expr));
        for _ in 0..100 {
            let doc = generator.doc(4);
            done += 1;
            let outcome =
                if is_condition { agree_on_truth(&expr, &doc) } else { agree_on_value(&expr, &doc) };
            held += usize::from(outcome == Ok(true));
            failed += usize::from(outcome.is_err());
        }
    }
    // Enough of each to have said something.
    assert!(plain * 100 > pairs * 9 / 10, "{plain} of {} expressions are plain", pairs / 100);
    assert!(held > pairs / 20 && failed > pairs / 20, "{held} held and {failed} failed of {pairs}");
}

fn agree_on_truth(expr: &Expr, doc: &str) -> Result<bool, ErrorClass> {
    let mut evaluator = Evaluator::default();
    let by_way =
        with_located(expr, doc, |located| evaluator.holds(expr, located, &META)).map_err(|error| error.class);
    let by_jaq = evaluator.holds_by_jaq(expr, doc.as_bytes(), &META).map_err(|error| error.class);
    assert_eq!(by_way, by_jaq, "{expr} of {doc}");
    by_way
}

fn agree_on_value(expr: &Expr, doc: &str) -> Result<bool, ErrorClass> {
    let mut evaluator = Evaluator::default();
    let (mut plain, mut jaq) = (Vec::new(), Vec::new());
    let by_way = with_located(expr, doc, |located| evaluator.value(expr, located, &META, &mut plain));
    let by_jaq = evaluator.value_by_jaq(expr, doc.as_bytes(), &META, &mut jaq);
    let (by_way, by_jaq) = (by_way.map_err(|error| error.class), by_jaq.map_err(|error| error.class));
    assert_eq!(by_way, by_jaq, "{expr} of {doc}");
    if by_way == Ok(true) {
        let mut rewritten = Vec::new();
        evaluator
            .run(&compile(".", Use::Program), &plain, &META, |result| rewritten = result.to_vec())
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&rewritten), String::from_utf8_lossy(&jaq), "{expr} of {doc}");
    }
    by_way
}

impl Generator {
    /// A program that looks at some of its input.
    fn program(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.source();
        }
        let depth = depth - 1;
        match self.0.random_range(0..13) {
            0 | 1 => self.path(),
            2 | 3 => format!("({} | {})", self.program(depth), self.program(depth)),
            4 => format!("({}, {})", self.program(depth), self.program(depth)),
            5 => format!("({} // {})", self.program(depth), self.program(depth)),
            6 => format!("{{a: {}, \"\u{e9}\"}}", self.program(depth)),
            7 => format!("[{}]", self.program(depth)),
            8 => {
                format!("(if {} then {} else {} end)", self.test(1), self.program(depth), self.program(depth))
            }
            9 => format!("(select({}) | {})", self.test(1), self.program(depth)),
            10 => format!("(try {} catch .)", self.program(depth)),
            11 => format!("({} as $x | [$x, {}])", self.path(), self.program(depth)),
            _ => {
                let last = self.pick(&["length", "keys?", ".[]?", "tojson", "not", ".[0]?", "empty"]);
                format!("({} | {last})", self.path())
            }
        }
    }
}

#[test]
fn what_is_not_read_is_not_needed() {
    let mut generator = Generator(StdRng::seed_from_u64(3));
    let mut evaluator = Evaluator::default();
    let mut outcome = |expr: &Expr, doc: &str| {
        let mut results = Vec::new();
        let each = |result: &[u8]| results.push(String::from_utf8(result.to_vec()).unwrap());
        let outcome = evaluator.run(expr, doc.as_bytes(), &META, each);
        outcome.map(|()| results).map_err(|error| error.class)
    };
    let (mut parts, mut failed, mut more) = (0, 0, 0);
    for _ in 0..200 {
        let text = generator.program(3);
        let expr = compile(&text, Use::Program);
        // To name it takes all of it.
        let whole = compile(&format!(". as $all | {text}"), Use::Program);
        assert!(whole.program().needs().is_none());
        parts += usize::from(expr.program().needs().is_some());
        for _ in 0..50 {
            let doc = generator.doc(4);
            let expected = outcome(&whole, &doc);
            assert_eq!(outcome(&expr, &doc), expected, "{text} of {doc}");
            failed += usize::from(expected.is_err());
            more += usize::from(expected.is_ok_and(|results| results.len() > 1));
        }
    }
    assert!(
        parts > 50 && failed > 500 && more > 200,
        "{parts} in parts, {failed} failed, {more} with more results"
    );
}

impl Generator {
    /// A program that makes something of parts of its input.
    fn maker(&mut self, depth: usize) -> String {
        if depth == 0 {
            return if self.one_in(4) { self.source() } else { self.short_path() };
        }
        let depth = depth - 1;
        match self.0.random_range(0..14) {
            0 => self.source(),
            1 => self.test(1),
            2 => self.value(),
            3 => format!("{{a: {}, b, \"\u{e9}\": {}}}", self.maker(depth), self.maker(depth)),
            4 => format!("[{}]", self.maker(depth)),
            5 => format!("[{}[] | {}]", self.short_path(), self.maker(depth)),
            6 => format!("({}[] | {} | {})", self.short_path(), self.short_path(), self.maker(depth)),
            7 => format!("({}, {})", self.maker(depth), self.maker(depth)),
            8 => {
                let operator = self.pick(&["+", "-", "*", "/", "%"]);
                format!("({} {operator} {})", self.maker(depth), self.maker(depth))
            }
            9 => format!("([{}[] | {}] | add)", self.short_path(), self.maker(depth)),
            10 => format!("(select({}) | {})", self.test(1), self.maker(depth)),
            11 => format!("(if {} then {} else {} end)", self.test(1), self.maker(depth), self.maker(depth)),
            12 => format!("map({})", self.maker(depth)),
            _ => {
                let name =
                    self.pick(&["add", "map(.b)", "empty", "not", "type", "add(.[])", "[]", "{a}", "length"]);
                format!("({} | {name})", self.short_path())
            }
        }
    }

    fn short_path(&mut self) -> String {
        self.pick(&[".a", ".b", ".", ".a", ".b", ".a.b", ".[0]", ".\"\u{e9}\""]).to_owned()
    }

    /// An array of objects with numbers, mostly, or an object with one.
    fn rows(&mut self) -> String {
        let value = |own: &mut Self| match own.0.random_range(0..10) {
            0..4 => format!("{}", own.0.random_range(-20..20)),
            4..7 => format!("{:.2}", own.0.random_range(-20.0..20.0)),
            7 => own.doc(1),
            8 => format!("[{},{}]", own.0.random_range(0..9), own.pick(&SCALARS)),
            _ => own.pick(&SCALARS).to_owned(),
        };
        let rows: Vec<String> = (0..self.0.random_range(0..4))
            .map(|_| format!("{{\"a\":{},\"b\" : {}}}", value(self), value(self)))
            .collect();
        let rows = format!("[{}]", rows.join(" ,"));
        match self.0.random_range(0..4) {
            0 => rows,
            1 => format!("{{\"b\":{},\"a\":{rows},\"\u{e9}\":{}}}", value(self), value(self)),
            2 => format!("{{\"a\":{rows},\"b\":{rows}}}"),
            _ => format!("{{\"a\":{},\"a\":{rows},\"b\":{}}}", value(self), value(self)),
        }
    }
}

#[test]
fn what_is_made_on_bytes_is_what_jaq_makes() {
    let pairs = std::env::var("EXPRESSION_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(PAIRS);
    let seed = std::env::var("EXPRESSION_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(5);
    let mut generator = Generator(StdRng::seed_from_u64(seed));
    let mut evaluator = Evaluator::default();
    let (mut plain, mut made, mut done) = (0, 0, 0);
    while done < pairs {
        let text = generator.maker(3);
        let expr = compile(&text, Use::Program);
        plain += usize::from(is_plain(&expr));
        for _ in 0..50 {
            let doc = if generator.one_in(3) { generator.doc(4) } else { generator.rows() };
            done += 1;
            if !evaluator.make(&expr, doc.as_bytes(), &META).unwrap() {
                continue;
            }
            made += 1;
            let texts = |evaluator: &Evaluator| {
                evaluator
                    .results()
                    .map(|result| String::from_utf8(result.to_vec()).unwrap())
                    .collect::<Vec<_>>()
            };
            let on_bytes = texts(&evaluator);
            let by_jaq = evaluator.run_by_jaq(&expr, doc.as_bytes(), &META);
            by_jaq.unwrap_or_else(|error| panic!("{text} of {doc}: {error}, not {on_bytes:?}"));
            assert_eq!(on_bytes, texts(&evaluator), "{text} of {doc}");
        }
    }
    assert!(plain * 50 > pairs / 2, "{plain} of {} programs are plain", pairs / 50);
    assert!(made > pairs / 10, "{made} of {pairs} were made on bytes");
}
