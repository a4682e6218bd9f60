//! Generated documents, whole and damaged: all kernels, the simple form, serde_json and a tree agree.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde::de::IgnoredAny;
use topicmill_kernels::Kernel;

use super::{
    simple::Simple,
    tree::{Tree, any_path, compact},
};
use crate::json::*;

const SPACES: [&[&str]; 3] =
    [&[""], &["", "", " "], &["", " ", "\n", "\t\r\n    ", "                                        "]];

/// How many documents; `EVENTS` asks for more.
fn documents() -> usize {
    std::env::var("EVENTS").map_or(4000, |count| count.parse().expect("a number"))
}

fn document(random: &mut StdRng) -> (Tree, String) {
    let depth = random.random_range(0..5);
    let tree = Tree::any(random, depth);
    let spaces = SPACES[random.random_range(0..3)];
    let mut doc = String::new();
    tree.write(random, spaces, &mut doc);
    (tree, doc)
}

fn paths(random: &mut StdRng) -> Vec<Path> {
    (0..random.random_range(0..5)).map(|_| any_path(random)).collect()
}

/// What all kernels and the simple form find, which must be the same.
fn locate_everywhere(doc: &[u8], paths: &PathSet) -> Result<(Top, Found), JsonError> {
    locate_after(&[], doc, paths)
}

/// The same, by those that have seen other documents before.
fn locate_after(before: &[&[u8]], doc: &[u8], paths: &PathSet) -> Result<(Top, Found), JsonError> {
    let mut expected = Found::default();
    let top = Simple::default().locate(doc, paths, &mut expected);
    for kernel in Kernel::available() {
        let (mut locator, mut found) = (Locator::with_kernel(kernel), Found::default());
        for other in before {
            let _ = locator.locate(other, paths, &mut found);
        }
        // The second time its shape is known.
        for time in 0..2 {
            let about = || format!("{kernel:?}, time {time}: {}", doc.escape_ascii());
            let answer = locator.locate(doc, paths, &mut found);
            assert_eq!(answer.as_ref().ok(), top.as_ref().ok(), "{}", about());
            let classes = [&answer, &top].map(|answer| answer.as_ref().err().map(JsonError::class));
            assert_eq!(classes[0], classes[1], "{}", about());
            for path in 0..if top.is_ok() { paths.len() } else { 0 } {
                assert_eq!(found.all(path), expected.all(path), "path {path}, {}", about());
                if path < paths.ways.len() {
                    assert_eq!(
                        found.read(paths, path),
                        expected.read(paths, path),
                        "path {path}, {}",
                        about()
                    );
                }
            }
        }
    }
    top.map(|top| (top, expected))
}

#[test]
fn all_forms_find_the_same() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..documents() {
        let (mut tree, doc) = document(&mut random);
        let list = paths(&mut random);
        let set = match random.random_range(0..3) {
            0 => PathSet::with_rest(&list, &paths(&mut random)).unwrap(),
            _ => PathSet::new(&list).unwrap(),
        };
        let (_, found) = locate_everywhere(doc.as_bytes(), &set).expect("a document");
        for (id, path) in list.iter().enumerate() {
            let mut values = Vec::new();
            tree.each(&path.segments, &mut |value| {
                let mut text = String::new();
                value.write_changed(&mut text);
                values.push(text);
            });
            let value = |site: &Site| compact(str::from_utf8(site.value(doc.as_bytes())).unwrap());
            assert!(found.all(id).iter().map(value).eq(values), "{path} in {doc}");
        }
    }
}

#[test]
fn readers_get_what_serde_gets() {
    let mut random = StdRng::seed_from_u64(2);
    let mut compared = 0;
    for _ in 0..documents() {
        let (_, doc) = document(&mut random);
        let mut list = paths(&mut random);
        list.retain(Path::is_single);
        let set = PathSet::new(&list).unwrap();
        let (_, found) = locate_everywhere(doc.as_bytes(), &set).expect("a document");
        // It refuses what it cannot represent.
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&doc) else { continue };
        for (id, path) in list.iter().enumerate() {
            let read = found.read(&set, id).map(|site| site.value(doc.as_bytes()));
            let read = read.map(|json| serde_json::from_slice(json).unwrap());
            let expected = path.segments.iter().try_fold(&value, |value, segment| match segment {
                Segment::Key(key) => value.as_object()?.get(&**key),
                Segment::Index(index) => value.as_array()?.get(*index as usize),
                Segment::AnyKey | Segment::AnyIndex => None,
            });
            assert_eq!(read.as_ref(), expected, "{path} in {doc}");
            compared += usize::from(read.is_some());
        }
    }
    assert!(compared > documents() / 10, "{compared}");
}

#[test]
fn damaged_documents_are_judged_as_serde_judges_them() {
    const PIECES: [&[u8]; 36] = [
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\\",
        b" ",
        b"\n",
        b"\0",
        b"\x1f",
        b"0",
        b"1",
        b"-",
        b"+",
        b".",
        b"e",
        b"E",
        b"true",
        b"null",
        b"fals",
        b"\"a\"",
        b"\"a\":",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        "\u{e9}".as_bytes(),
        b"\\u",
        b"\\u12",
        b"\\x",
        b"/",
        b"NaN",
        b"[]",
        b"{}",
        b"\x7f",
    ];
    let mut random = StdRng::seed_from_u64(3);
    let mut valid = 0;
    for _ in 0..documents() * 4 {
        let (_, whole) = document(&mut random);
        let mut doc = whole.clone().into_bytes();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..=doc.len());
            let until = (at + [0, 0, 1, 1, 2, 5][random.random_range(0..6)]).min(doc.len());
            let piece = match random.random_range(0..6) {
                0 => vec![random.random()],
                1 => vec![],
                _ => PIECES.choose(&mut random).unwrap().to_vec(),
            };
            doc.splice(at..until, piece);
        }
        let set = PathSet::new(&paths(&mut random)).unwrap();
        let is_json = locate_after(&[whole.as_bytes()], &doc, &set).is_ok();
        // What it ignores may be any bytes, and surrogates without their halves.
        let expected = str::from_utf8(&doc).is_ok_and(|doc| serde_json::from_str::<IgnoredAny>(doc).is_ok());
        assert_eq!(is_json, expected, "{}", doc.escape_ascii());
        valid += usize::from(is_json);
    }
    assert!(valid > documents() / 10, "{valid}");
}

#[test]
fn documents_of_a_known_shape_may_have_other_keys_and_values() {
    let mut random = StdRng::seed_from_u64(6);
    let mut differing = 0;
    for _ in 0..documents() {
        let (_, doc) = document(&mut random);
        let list = paths(&mut random);
        let set = match random.random_range(0..3) {
            0 => PathSet::with_rest(&list, &paths(&mut random)).unwrap(),
            _ => PathSet::new(&list).unwrap(),
        };
        // A few letters are others, most often at the front of a string, and digits, so that brackets and quotes
        // stand where they stood.
        let mut other = doc.clone().into_bytes();
        let may_change = |at: &usize| match doc.as_bytes()[at - 1..=*at] {
            [b'"', b'a'..=b'z'] => true,
            [b'a'..=b'z', b'a'..=b'z'] => at.is_multiple_of(4),
            [before, b'1'..=b'9'] => !before.is_ascii_alphabetic(),
            _ => false,
        };
        let places: Vec<usize> = (1..doc.len()).filter(may_change).collect();
        for _ in 0..random.random_range(1..4) {
            let Some(&at) = places.choose(&mut random) else { continue };
            other[at] = if other[at].is_ascii_digit() {
                random.random_range(b'1'..=b'9')
            } else {
                *b"abco".choose(&mut random).unwrap()
            };
        }
        let there = |doc: &[u8], before| locate_after(&[before], doc, &set).map(|(_, found)| found);
        let Ok(found) = there(&other, doc.as_bytes()) else { continue };
        let before = there(doc.as_bytes(), &other).expect("a document");
        differing += usize::from((0..set.len()).any(|path| found.all(path) != before.all(path)));
    }
    assert!(differing > documents() / 400, "{differing}");
}

#[test]
fn splices_are_what_they_should_be() {
    let mut random = StdRng::seed_from_u64(4);
    let mut edits = Edits::default();
    for _ in 0..documents() {
        let (mut tree, doc) = document(&mut random);
        let list = paths(&mut random);
        let set = PathSet::new(&list).unwrap();
        let (_, found) = locate_everywhere(doc.as_bytes(), &set).expect("a document");
        for (id, path) in list.iter().enumerate() {
            let kind = random.random_range(0..6);
            let text = format!("\"{id}\"");
            for site in found.all(id) {
                match kind {
                    0 => edits.replace(site, text.as_bytes()),
                    1 => edits.rename(site, text.as_bytes()),
                    2 if site.kind == Kind::Object => edits.insert(site, text.as_bytes(), b"[{}]"),
                    2 => {}
                    _ => edits.remove(site),
                }
            }
            let is_root = path.is_root();
            tree.each(&path.segments, &mut |value| match kind {
                0 => drop(value.replaced.get_or_insert_with(|| text.clone())),
                1 => drop(value.renamed.get_or_insert_with(|| text.clone())),
                2 => value.inserted.push((text.clone(), "[{}]".to_owned())),
                _ if is_root => drop(value.replaced.get_or_insert_with(|| "null".to_owned())),
                _ => value.is_gone = true,
            });
        }
        let mut out = b"before".to_vec();
        edits.splice(doc.as_bytes(), &mut out);
        let out = str::from_utf8(&out[6..]).unwrap();
        let mut expected = String::new();
        tree.write_changed(&mut expected);
        assert_eq!(compact(out), expected, "{doc}");
        assert!(Locator::default().validate(out.as_bytes()).is_ok(), "{out}");
    }
}

#[test]
fn other_bytes_stay_as_they_were() {
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..documents() {
        let (_, doc) = document(&mut random);
        let set = PathSet::new(&[any_path(&mut random)]).unwrap();
        let (_, found) = locate_everywhere(doc.as_bytes(), &set).expect("a document");
        let mut edits = Edits::default();
        let (mut expected, mut at) = (String::new(), 0);
        for site in found.all(0) {
            edits.replace(site, b"{ \"new\":1 }");
            expected += &doc[at..site.value.start as usize];
            expected += "{ \"new\":1 }";
            at = site.value.end as usize;
        }
        expected += &doc[at..];
        let mut out = Vec::new();
        edits.splice(doc.as_bytes(), &mut out);
        assert_eq!(str::from_utf8(&out).unwrap(), expected);
        // A removal takes its comma and white space, and nothing else.
        found.all(0).iter().filter(|site| !site.is_root()).take(1).for_each(|site| {
            edits.remove(site);
            let mut out = Vec::new();
            edits.splice(doc.as_bytes(), &mut out);
            let out = str::from_utf8(&out).unwrap();
            let shared = doc.bytes().zip(out.bytes()).take_while(|(a, b)| a == b).count();
            let gone = doc.len() - out.len();
            assert_eq!(out[shared..], doc[shared + gone..], "one range is gone");
            let rest = doc[site.start() as usize..site.value.end as usize].len();
            assert!(gone - rest <= 1 + doc.len() - compact(&doc).len());
        });
    }
}
