//! Values: JSON that is likely to be a name event, intact and damaged.

use proptest::prelude::*;
use rand::{
    Rng as _,
    rngs::StdRng,
    seq::{IndexedRandom as _, SliceRandom as _},
};

/// Fragments of JSON, and of trouble.
const FRAGMENTS: [&[u8]; 64] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"\"",
    b" ",
    b"\n",
    b"\t",
    b"\r",
    b"\\",
    b"{\"first_name\":\"",
    b"\",\"last_name\":\"",
    b",\"hash\":\"",
    b"\"}",
    b"\"first_name\":",
    b"\"last_name\":",
    b"\"hash\":",
    b"\"FIRST_NAME\":",
    b"\"Last_Name\":",
    "\"fir\u{17f}t_name\":".as_bytes(),
    b"\"la\\u017ft_name\":",
    b"\"h\\u0061sh\":",
    b"\"\\u212a\":",
    b"\"x\":",
    b"null",
    b"true",
    b"false",
    b"nul",
    b"0",
    b"-",
    b"12",
    b".5",
    b"e+3",
    b"E",
    b"01",
    b"\"Ada\"",
    b"\"\"",
    b"Lovelace",
    b"<",
    b">",
    b"&",
    b"/",
    b"'",
    b"\x7f",
    b"\x00",
    b"\x1f",
    b"\\n",
    b"\\u0000",
    b"\\u003c",
    b"\\ud83d",
    b"\\ude00",
    b"\\u00E9",
    b"\\u20",
    b"\\x",
    "\u{e9}".as_bytes(),
    "\u{2028}".as_bytes(),
    "\u{1f600}".as_bytes(),
    "\u{fffd}".as_bytes(),
    b"\xff",
    b"\xe2\x80",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98",
];

/// The value that `choices` spell in fragments.
pub fn from_choices(choices: &[u8]) -> Vec<u8> {
    choices.iter().flat_map(|&choice| FRAGMENTS[choice as usize % FRAGMENTS.len()]).copied().collect()
}

/// A name event with members in any order, now and then with too many or too few, or damaged.
pub fn close_to_fast(random: &mut StdRng) -> Vec<u8> {
    let mut members = vec!["first_name", "last_name"];
    if random.random_bool(0.5) {
        members.push("hash");
    }
    if random.random_bool(0.5) {
        members.shuffle(random);
    }
    match random.random_range(0..32) {
        0 => drop(members.pop()),
        1 => members.push("first_name"),
        _ => {}
    }
    let mut value = b"{".to_vec();
    for (nth, member) in members.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        value.extend_from_slice(format!("{comma}\"{member}\":\"").as_bytes());
        let longest = if random.random_bool(0.1) { 150 } else { 20 };
        let len = random.random_range(0..=longest);
        value.extend((0..len).map(|_| *b"abcdefghijklmnopqrstuvwxyz ABC'.-\x7f!~".choose(random).unwrap()));
        if random.random_bool(0.05) {
            value.extend_from_slice(FRAGMENTS.choose(random).unwrap());
        }
        value.push(b'"');
    }
    value.push(b'}');
    if random.random_bool(0.1) {
        let at = random.random_range(0..value.len());
        value[at] = random.random();
    }
    value
}

/// Name events as they mostly are.
pub fn name_event() -> impl Strategy<Value = Vec<u8>> {
    let text =
        || prop_oneof![8 => "[ -~\u{7f}]{0,40}".prop_map(|s| s.replace(['"', '\\'], "")), 1 => contents()];
    (text(), text(), prop::option::of(text())).prop_map(|(first, last, hash)| {
        let hash = hash.map_or(String::new(), |hash| format!(",\"hash\":\"{hash}\""));
        format!("{{\"first_name\":\"{first}\",\"last_name\":\"{last}\"{hash}}}").into_bytes()
    })
}

/// Valid JSON apart from bad UTF-8 in strings.
pub fn json() -> impl Strategy<Value = Vec<u8>> {
    (space(), document(), space()).prop_map(|(before, document, after)| {
        // U+E000 stands for a bad byte that the text's type cannot hold.
        let mut bytes = Vec::new();
        for c in format!("{before}{document}{after}").chars() {
            match c {
                '\u{e000}'..='\u{e0ff}' => bytes.push((c as u32 - 0xe000) as u8 | 0x80),
                _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        bytes
    })
}

/// JSON with bytes replaced, inserted, removed or cut off.
pub fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let blow = (any::<prop::sample::Index>(), 0..4u8, any::<u8>(), any::<prop::sample::Index>());
    (prop_oneof![json(), name_event()], prop::collection::vec(blow, 1..4)).prop_map(|(mut value, blows)| {
        for (at, how, byte, fragment) in blows {
            let at = at.index(value.len() + 1);
            match how {
                0 if at < value.len() => value[at] = byte,
                1 if at < value.len() => drop(value.remove(at)),
                2 => drop(value.splice(at..at, FRAGMENTS[fragment.index(FRAGMENTS.len())].iter().copied())),
                _ => value.truncate(at),
            }
        }
        value
    })
}

/// Any of the above, and noise.
pub fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..30);
    prop_oneof![6 => name_event(), 2 => json(), 2 => damaged(), 1 => noise.prop_map(|c| from_choices(&c))]
}

fn document() -> impl Strategy<Value = String> {
    let members = prop::collection::vec((key(), nested(), space()), 0..6);
    prop_oneof![12 => members.prop_map(|members| object(&members)), 1 => nested()]
}

fn object(members: &[(String, String, &str)]) -> String {
    let members: Vec<_> =
        members.iter().map(|(key, value, s)| format!("{s}{key}{s}:{s}{value}{s}")).collect();
    format!("{{{}}}", members.join(","))
}

fn key() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["first_name", "last_name", "hash", "first-name", "x", ""]);
    let twist = prop::sample::select(vec!["", "", "", "upper", "long s", "escape", "escaped long s", "more"]);
    (name, twist).prop_map(|(name, twist)| {
        let name = match twist {
            "upper" => name.to_uppercase(),
            "long s" => name.replace('s', "\u{17f}"),
            "escape" => name.replace('a', "\\u0061").replace('n', "\\u004E"),
            "escaped long s" => name.replace('s', "\\u017F"),
            "more" => format!("{name}\u{e07f}"),
            _ => name.to_owned(),
        };
        format!("\"{name}\"")
    })
}

fn nested() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 12, 4, |inner| {
        let list =
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(" ,")));
        let members = prop::collection::vec((key(), inner, space()), 0..4);
        prop_oneof![list, members.prop_map(|members| object(&members))]
    })
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => contents().prop_map(|contents| format!("\"{contents}\"")),
        2 => Just("null".to_owned()),
        1 => prop::sample::select(vec!["true", "false"]).prop_map(str::to_owned),
        1 => "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
    ]
}

/// The contents of a string.
fn contents() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ !#-\\[\\]-~\u{7f}]{1,20}",
        1 => "[<>&'/]",
        1 => "\\\\[bfnrt\"\\\\/]",
        1 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\u[dD][89a-fA-F][0-9a-f]{2}(\\\\u[dD][c-fC-F][0-9a-f]{2})?",
        1 => "[\u{e9}\u{17f}\u{2028}\u{2029}\u{20ac}\u{feff}\u{fffd}\u{ffff}\u{1f600}\u{10ffff}]",
        1 => "[\u{e000}-\u{e0ff}]{1,4}",
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", " ", "\n", "\t\r\n "])
}
