use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::*;
use crate::testing::structure_everywhere;

/// `doc` with a mark for each byte in the set, spaces elsewhere.
fn marks(doc: &[u8], set: impl Fn(&Block) -> u64) -> String {
    let blocks: Vec<Block> = structure_everywhere(doc).each_block().collect();
    let bit = |at: usize| set(&blocks[at / BLOCK]) >> (at % BLOCK) & 1 == 1;
    assert!(!(doc.len()..blocks.len() * BLOCK).any(bit), "nothing is after the end");
    (0..doc.len()).map(|at| if bit(at) { '^' } else { ' ' }).collect()
}

fn faults(doc: &[u8]) -> bool {
    structure_everywhere(doc).seen().faults
}

#[test]
fn the_sets_are_what_they_say() {
    // Wherever a block ends.
    for before in (0..=140).chain(440..=520) {
        let shown = |set: fn(&Block) -> u64| {
            let space = " ".repeat(before);
            let doc = space.clone() + r#"{"a{\"" : [1.5,"b,", "c" ],"d":{},"e":true }"#;
            marks(doc.as_bytes(), set)[before..].to_owned()
        };
        assert_eq!(shown(|block| block.brackets), "^         ^              ^     ^^          ^", "{before}");
        assert_eq!(shown(|block| block.commas), "              ^    ^      ^      ^          ", "{before}");
        assert_eq!(shown(|block| block.keys), " ^             ^     ^     ^      ^         ", "{before}");
        assert_eq!(shown(|block| block.quotes), " ^    ^        ^  ^  ^ ^   ^ ^    ^ ^       ", "{before}");
        assert_eq!(shown(|block| block.words), "           ^^^                        ^^^^  ", "{before}");
        assert_eq!(
            shown(|block| block.object_before),
            "          ^                    ^           ^",
            "{before}"
        );
        assert_eq!(
            shown(|block| block.array_before),
            "                         ^                  ",
            "{before}"
        );
        assert!(!faults((" ".repeat(before) + r#"{"a":[1,-2.5e+3,true,"\u00e9\\"]}"#).as_bytes()));
    }
}

#[test]
fn places_are_those_of_the_sets() {
    for doc in
        ["[]".repeat(200), r#"{"a":1},"#.repeat(50), " ".repeat(100), format!("{0}[{0}", " ".repeat(63))]
    {
        let structure = structure_everywhere(doc.as_bytes());
        let blocks: Vec<Block> = structure.each_block().collect();
        let bit = |at: &usize| {
            let block = &blocks[at / BLOCK];
            (block.brackets | block.keys) >> (at % BLOCK) & 1 == 1
        };
        let places: Vec<usize> = (0..doc.len()).filter(bit).collect();
        assert!(structure.places().iter().map(|&place| place as usize).eq(places), "{doc}");
    }
}

#[test]
fn marks_are_what_stands_in_the_places() {
    for before in (0..=140).chain(440..=520) {
        let doc = " ".repeat(before) + r#"{"a":[1,2,{"b,":3}],"c":[],"d":["e","f"]}"#;
        let structure = structure_everywhere(doc.as_bytes());
        let around = |at: usize| match at {
            10 | 39 => ARRAY_BEFORE,
            5 | 17 | 24 | 31 => 0_u8.wrapping_sub(OBJECT_BEFORE),
            _ => 0,
        };
        let mark = |&place: &u32| {
            let at = place as usize;
            doc.as_bytes()[at].wrapping_add(around(at - before))
        };
        let expected: Vec<u8> = structure.places().iter().map(mark).collect();
        assert_eq!(structure.marks(), expected, "{}", structure.marks().escape_ascii());
    }
}

#[test]
fn every_byte_is_classified_alike_everywhere() {
    for byte in 0..=255u8 {
        for len in [1, 63, 64, 65, 130] {
            structure_everywhere(&vec![byte; len]);
            for at in 0..len {
                let mut doc = vec![b' '; len];
                doc[at] = byte;
                let is_digit = byte.is_ascii_digit();
                assert_eq!(faults(&doc), !is_digit, "{}", doc.escape_ascii());
                assert_eq!(structure_everywhere(&doc).seen().beyond_ascii, !byte.is_ascii());
                let mut doc = vec![b'x'; len + 2];
                (doc[0], doc[at + 1], doc[len + 1]) = (b'"', byte, b'"');
                assert_eq!(
                    faults(&doc),
                    byte < b' ' || byte == b'"' || byte == b'\\',
                    "{}",
                    doc.escape_ascii()
                );
            }
        }
    }
}

#[test]
fn numbers_are_judged_wherever_they_stand() {
    let good = ["0", "-0", "10", "-12.50", "1e5", "1E+5", "0.0e-00", "123456789.123456789e123456789"];
    let bad = [
        "-",
        "+1",
        "01",
        "-01",
        "00",
        "1.",
        ".5",
        "1.e5",
        "1e",
        "1e+",
        "1e5.5",
        "1e5e5",
        "1.5.5",
        "1-1",
        "1+1",
        "--1",
        "1e+-5",
        "1a",
        "0x1",
        "1.-5",
        "-.5",
        "e5",
        "truee5",
        "true1",
        "1true",
        "nulll",
        "tru",
        "falsetrue",
    ];
    for before in (0..=130).chain(490..=520) {
        for number in good.iter().chain(&bad) {
            for (open, after) in [("", ""), ("[", "]"), ("", " "), ("[", ",1]")] {
                let doc = format!("{}{open}{number}{after}", " ".repeat(before));
                assert_eq!(faults(doc.as_bytes()), !good.contains(number), "{doc}");
            }
        }
    }
}

#[test]
fn any_soup_has_the_same_structure_everywhere() {
    const PIECES: [&str; 32] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\\\",
        "\\\"",
        " ",
        "\n",
        "true",
        "false",
        "null",
        "0",
        "12",
        "-",
        "+",
        ".",
        "e",
        "\"a\"",
        "\"a\":",
        "\"key\":",
        "\u{e9}",
        "\0",
        "x",
        "\\u0061",
        "\"some longer text in it\"",
        "                    ",
        "[[[[",
        "aaaaaaaaaaaaaaaa",
    ];
    let count = std::env::var("EVENTS").map_or(20_000, |count| count.parse().expect("a number"));
    let mut random = StdRng::seed_from_u64(6);
    for _ in 0..count {
        let most = if random.random_ratio(1, 8) { 400 } else { 40 };
        let pieces = random.random_range(0..most);
        let doc: String = (0..pieces).map(|_| *PIECES.choose(&mut random).unwrap()).collect();
        // At the end of its allocation, so that a memory checker sees any byte read beyond.
        structure_everywhere(&Box::<[u8]>::from(doc.as_bytes()));
    }
}

#[test]
fn fuzz_any_bytes() {
    bolero::check!().with_type::<Box<[u8]>>().for_each(|doc| {
        structure_everywhere(doc);
    });
}
