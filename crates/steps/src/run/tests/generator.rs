//! Random steps and records that have much to do with each other.

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use super::*;

const KEYS: [&str; 3] = ["a", "b", "c"];
const SCALARS: [&str; 9] = ["null", "true", "1", "5", "6", "7.0", "\"x\"", "\"five\"", "\"sixx\""];
const KINDS: [&str; 16] = [
    "filter", "drop", "drop", "keep", "rename", "set", "copy", "mask", "redact", "truncate", "hash", "hmac",
    "rotate", "header", "key", "route",
];

/// What follows there, those with wildcards last.
const ENDS: [&str; 9] = ["", "[0]", "[1]", "[2]", ".a", "[0].a", "[1].b", "[]", "[].a"];
const MOVING: [&str; 5] = ["drop", "keep", "keep", "set", "hash"];
const PROTECTING: [&str; 4] = ["mask", "redact", "redact", "hash"];

/// Where nothing else is.
pub(super) const BESIDE: &str = ".z";

/// A record that nobody has a reference to.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) headers: Vec<(String, Option<String>)>,
}

impl Owned {
    /// It as it is read, for `each`.
    pub(super) fn read<T>(&self, each: impl FnOnce(Read<'_>) -> T) -> T {
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let headers: Vec<_> = headers.collect();
        each(Read { key: self.key.as_deref(), value: self.value.as_deref(), headers: &headers })
    }
}

pub(super) struct Generator {
    random: StdRng,
    /// Where many of the paths of a list of steps lead.
    near: String,
    /// The paths so far.
    used: Vec<String>,
    /// Where the keys of tokens are.
    folder: tempfile::TempDir,
    /// How many scalars the document has so far, if they all differ.
    pub(super) leaves: Option<usize>,
    /// Whether there are blanks in it.
    pub(super) blanks: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Generator {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "a key").unwrap();
        Generator {
            random: StdRng::seed_from_u64(seed),
            near: String::new(),
            used: Vec::new(),
            folder,
            leaves: None,
            blanks: false,
        }
    }

    pub(super) fn one_in(&mut self, count: u32) -> bool {
        self.random.random_ratio(1, count)
    }

    fn any<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts.choose(&mut self.random).copied().unwrap()
    }

    fn segment(&mut self, is_first: bool, has_wildcards: bool) -> String {
        let dot = if is_first { "." } else { "" };
        match self.random.random_range(0..if has_wildcards { 20 } else { 17 }) {
            0..14 => format!(".{}", self.any(&KEYS)),
            14..17 => format!("{dot}[{}]", self.random.random_range(0..3)),
            17 => ".*".to_owned(),
            _ => format!("{dot}[]"),
        }
    }

    fn path_of(&mut self, has_wildcards: bool) -> String {
        let is_right = |path: &&String| has_wildcards || !(path.contains('*') || path.contains("[]"));
        let path = match self.used.choose(&mut self.random).filter(is_right).cloned() {
            Some(path) if self.one_in(3) => return path,
            _ if self.one_in(2) => {
                let count = ENDS.len() - if has_wildcards { 0 } else { 2 };
                let end = self.any(&ENDS[..count]);
                format!("{}{end}", self.near)
            }
            _ => {
                let length = *[1, 1, 2, 2, 2, 3].choose(&mut self.random).unwrap();
                (0..length).map(|nth| self.segment(nth == 0, has_wildcards)).collect()
            }
        };
        self.used.push(path.clone());
        path
    }

    /// A path without wildcards.
    fn single(&mut self) -> String {
        self.path_of(false)
    }

    fn path(&mut self) -> String {
        self.path_of(true)
    }

    fn paths(&mut self, most: usize) -> Given {
        let count = if self.one_in(2) { 1 } else { self.random.random_range(1..=most) };
        Given::List((0..count).map(|_| self.path()).collect())
    }

    /// A path with a key at its end.
    fn member(&mut self) -> String {
        let key = self.any(&KEYS);
        match self.random.random_range(0..3) {
            0 => format!(".{key}"),
            1 => format!("{}.{key}", self.single()),
            _ => format!("{}.{key}", self.path()),
        }
    }

    fn condition(&mut self) -> String {
        let path = self.single();
        // Where all scalars differ, to name one of them says little.
        match self.random.random_range(if self.leaves.is_some() { 7..22 } else { 0..24 }) {
            0..4 => format!("{path} == {}", self.any(&SCALARS)),
            4..7 => format!("{path}? == {}", self.any(&SCALARS)),
            7..9 => format!("{path}? == null"),
            9..11 => format!("{path}? != null"),
            11..13 => path,
            13 => format!("{path} | not"),
            14..16 => format!("({path} | type) == \"string\""),
            16..18 => format!("({path} > 5) or {}?", self.single()),
            18..20 => "$key == \"1\"".to_owned(),
            20..22 => "$headers.h == \"1\"".to_owned(),
            22 => format!("({path} | has(\"a\"))"),
            _ => format!("[{path}] | length > 1"),
        }
    }

    fn value(&mut self) -> String {
        match self.random.random_range(0..10) {
            0..5 => self.single(),
            5 => format!("{} // 1", self.single()),
            6 => self.any(&["$key", "$headers.h", "$offset", "[.a, .b]"]).to_owned(),
            7 => "\"1\"".to_owned(),
            _ => self.any(&SCALARS).to_owned(),
        }
    }

    fn text(&mut self) -> String {
        if self.one_in(3) { "1".to_owned() } else { format!("{{{}}}-{{$offset}}", self.single()) }
    }

    /// With a value or a text.
    fn with_value(&mut self, table: StepTable) -> StepTable {
        if self.one_in(2) {
            table.with("value", text(&self.value()))
        } else {
            table.with("text", text(&self.text()))
        }
    }

    fn table(&mut self, kind: &str) -> StepTable {
        let key = self.folder.path().join("key").to_str().unwrap().to_owned();
        match kind {
            "filter" => step(&[("filter", &self.condition())]),
            "drop" => StepTable::default().with("drop", self.paths(2)),
            "keep" => StepTable::default().with("keep", self.paths(3)),
            "rename" => {
                let to = if self.one_in(2) { self.any(&KEYS).to_owned() } else { self.member() };
                step(&[("rename", &self.member()), ("to", &to)])
            }
            "set" => {
                let table = step(&[("set", &self.path())]);
                self.with_value(table)
            }
            "copy" => step(&[("copy", &self.single()), ("to", &self.single())]),
            "mask" => {
                let table = StepTable::default().with("mask", self.paths(2));
                table.with("first", Given::Integer(self.random.random_range(0..2)))
            }
            "redact" => StepTable::default().with("redact", self.paths(2)),
            "truncate" => {
                StepTable::default().with("truncate", self.paths(2)).with("length", Given::Integer(2))
            }
            "hash" if self.one_in(2) => {
                StepTable::default().with("hash", self.paths(2)).with("digest", text("xxh3"))
            }
            "hash" => step(&[("hash", &self.single()), ("to", &self.single()), ("digest", "xxh3")]),
            "hmac" if self.one_in(2) => {
                StepTable::default().with("hmac", self.paths(2)).with("key_file", text(&key))
            }
            "hmac" => step(&[("hmac", &self.single()), ("to", &self.single()), ("key_file", &key)]),
            "rotate" => step(&[
                ("hmac", &self.single()),
                ("key_file", &key),
                ("previous_key_file", &key),
                ("previous_to", &if self.one_in(2) { BESIDE.to_owned() } else { self.member() }),
            ]),
            "header" => {
                let table = step(&[("header", self.any(&["h", "g"]))]);
                if self.one_in(6) {
                    table.with("remove", Given::Boolean(true))
                } else {
                    self.with_value(table)
                }
            }
            "key" => step(&[("key", &self.value())]),
            "route" => {
                let topic = if self.one_in(3) { "t".to_owned() } else { format!("t_{{{}}}", self.single()) };
                step(&[("route", &topic)]).with("max_topics", Given::Integer(100_000))
            }
            _ => unreachable!("there is no such step"),
        }
    }

    /// A step that is right in itself.
    fn step(&mut self) -> StepTable {
        loop {
            let is_about_protecting = self.leaves.is_some() && self.one_in(2);
            let kind = if is_about_protecting {
                self.any(&PROTECTING)
            } else if self.one_in(2) {
                self.any(&MOVING)
            } else {
                self.any(&KINDS)
            };
            let mut table = self.table(kind);
            if self.one_in(if is_about_protecting { 2 } else { 4 }) {
                table = table.with("when", text(&self.condition()));
            }
            if kind != "filter" && self.one_in(if matches!(kind, "keep" | "drop") { 2 } else { 5 }) {
                table = table.with("on_missing", text("fail"));
            }
            if Plan::new(vec![table.clone()]).is_ok() {
                return table;
            }
        }
    }

    pub(super) fn steps(&mut self) -> Vec<StepTable> {
        self.used.clear();
        let depth = self.random.random_range(1..3);
        self.near = (0..depth).map(|_| format!(".{}", self.any(&KEYS))).collect();
        (0..self.random.random_range(2..5)).map(|_| self.step()).collect()
    }

    pub(super) fn record(&mut self) -> Owned {
        let value = match self.random.random_range(0..100) {
            0 => None,
            1 => Some("{\"a\":".to_owned()),
            nth => {
                let mut doc = String::new();
                match nth {
                    2..6 => self.scalar(&mut doc),
                    6..12 => self.array(2, &mut doc),
                    12..60 => self.array_near(&mut doc),
                    _ => self.object(3, &mut doc),
                }
                Some(doc)
            }
        };
        let any = |generator: &mut Generator| generator.any(&["1", "2"]).to_owned();
        let key = self.one_in(2).then(|| any(self));
        let headers = if self.one_in(2) { vec![("h".to_owned(), Some(any(self)))] } else { Vec::new() };
        Owned { key, value, headers }
    }

    fn blank(&mut self, doc: &mut String) {
        if self.blanks {
            doc.push_str(self.any(&["", " ", "\n\t"]));
        }
    }

    fn scalar(&mut self, doc: &mut String) {
        match &mut self.leaves {
            Some(count) => {
                *doc += &leaf(*count);
                *count += 1;
            }
            None => *doc += self.any(&SCALARS),
        }
    }

    fn any_value(&mut self, depth: usize, doc: &mut String) {
        match self.random.random_range(0..6) {
            0..2 if depth > 0 => self.object(depth, doc),
            2..4 if depth > 0 => self.array(depth, doc),
            _ => self.scalar(doc),
        }
    }

    fn array(&mut self, depth: usize, doc: &mut String) {
        self.list(depth, ["[", "]"], doc, |_, _| {});
    }

    /// An object with an array where the paths lead.
    fn array_near(&mut self, doc: &mut String) {
        let keys: Vec<String> = self.near.split('.').skip(1).map(str::to_owned).collect();
        keys.iter().for_each(|key| *doc += &format!("{{\"{key}\":"));
        self.array(2, doc);
        for _ in keys {
            *doc += &format!(",\"{}\":", self.any(&KEYS));
            self.any_value(1, doc);
            doc.push('}');
        }
    }

    /// One that may have a key twice.
    fn object(&mut self, depth: usize, doc: &mut String) {
        self.list(depth, ["{", "}"], doc, |generator, doc| {
            let key = if generator.one_in(20) { "\\u0061" } else { generator.any(&KEYS) };
            *doc += &format!("\"{key}\"");
            generator.blank(doc);
            doc.push(':');
            generator.blank(doc);
        });
    }

    fn list(
        &mut self,
        depth: usize,
        [open, close]: [&str; 2],
        doc: &mut String,
        mut before: impl FnMut(&mut Generator, &mut String),
    ) {
        doc.push_str(open);
        self.blank(doc);
        for nth in 0..self.random.random_range(0..5) {
            if nth > 0 {
                doc.push(',');
                self.blank(doc);
            }
            before(self, doc);
            self.any_value(depth - 1, doc);
            self.blank(doc);
        }
        doc.push_str(close);
    }
}

/// Whether a step has this setting.
pub(super) fn has(table: &StepTable, setting: &str) -> bool {
    table.settings.iter().any(|(key, _)| key == setting)
}

/// The scalar with this number, where all differ.
pub(super) fn leaf(number: usize) -> String {
    format!("\"leaf{number:03}\"")
}

/// A number from the environment, or else this one.
pub(super) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}
