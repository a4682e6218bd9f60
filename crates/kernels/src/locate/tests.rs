use super::Located::{Members, Prefix};
use crate::testing::locate_everywhere as locate;

#[test]
fn the_common_shapes_are_located() {
    let escaped = br#"{"first_name":"Ada","last_name":"King \u007f Lovelace"}"#;
    assert_eq!(locate(escaped), None);
    let short = b"{\"first_name\":\"Ada\",\"last_name\":\"Love\x7f lace\"}";
    assert_eq!(locate(short), Some(Prefix(short.len() - 1)));
    let full = br#"{"first_name":"","last_name":"","hash":"0f"}"#;
    assert_eq!(locate(full), Some(Prefix(31)));
    let empty = br#"{"first_name":"","last_name":"","hash":""}"#;
    assert_eq!(locate(empty), Some(Prefix(31)));
    let accented = "{\"first_name\":\"Ren\u{e9}\u{fffd}\",\"last_name\":\"\u{1f600}\"}".as_bytes();
    assert_eq!(locate(accented), Some(Prefix(accented.len() - 1)));
}

#[test]
fn members_are_located_in_any_order() {
    for (value, first, last) in [
        (&br#"{"last_name":"B","first_name":"A"}"#[..], 17..33, 1..16),
        (br#"{"last_name":"B","first_name":"A","hash":""}"#, 17..33, 1..16),
        (br#"{"first_name":"A","hash":"0","last_name":"B"}"#, 1..17, 29..44),
        (br#"{"hash":"","first_name":"A","last_name":"B"}"#, 11..27, 28..43),
        ("{\"last_name\":\"\u{e9}\",\"first_name\":\"A\"}".as_bytes(), 18..34, 1..17),
    ] {
        assert_eq!(locate(value), Some(Members { first, last }), "{}", value.escape_ascii());
    }
}

#[test]
fn names_of_all_lengths_are_located() {
    let text = "abcdefghijklmnopqrstuvwxyz 0123456789 !#$%'()*+,-./:;=?@[]^_`{|}~\x7f".repeat(5);
    for len in 0..=300 {
        let name = &text[..len];
        let value = format!(r#"{{"first_name":"{name}","last_name":"B"}}"#);
        assert_eq!(locate(value.as_bytes()), Some(Prefix(value.len() - 1)));
        let value = format!(r#"{{"first_name":"A","last_name":"{name}","hash":"{name}"}}"#);
        assert_eq!(locate(value.as_bytes()), Some(Prefix(32 + len)));
        let cut = &value.as_bytes()[..value.len() - 1 - len / 2];
        assert_eq!(locate(cut), None);
    }
}

#[test]
fn a_special_character_anywhere_needs_a_closer_look() {
    let name = "n".repeat(70);
    for byte in 0..=255u8 {
        for at in 0..name.len() {
            let mut value = format!(r#"{{"first_name":"{name}","last_name":""}}"#).into_bytes();
            let prefix = value.len() - 1;
            value[15 + at] = byte;
            let plain = (0x20..0x80).contains(&byte) && !b"\"\\<>&".contains(&byte);
            assert_eq!(locate(&value), plain.then_some(Prefix(prefix)), "{}", value.escape_ascii());
        }
    }
}

#[test]
fn anything_else_is_left_to_a_closer_look() {
    for value in [
        &br#"{"first_name":"A","last_name":"B"} "#[..],
        br#"{"first_name":"A","last_name":"B""#,
        br#"{"first_name":"A","last_name":"B","hash":""#,
        br#"{"first_name":"A","last_name":"B","hash":null}"#,
        br#"{"first_name":"A","last_name":"B","hash":"","x":1}"#,
        br#"{"first_name":"A","last_name":"B","hash":"",}"#,
        br#"{"first_name":"A","last_name":"B","last_name":"C"}"#,
        br#"{"last_name":"A","first_name":"B","last_name":"C"}"#,
        br#"{"hash":"","hash":"","first_name":"A","last_name":"B"}"#,
        br#"{"first_name": "A","last_name":"B"}"#,
        br#"{"first_name":"A"}"#,
        br#"{"last_name":"A"}"#,
        br#"{"first_name":"A","hash":""}"#,
        br#"{"first_name":"A";"last_name":"B"}"#,
        br#","first_name":"A","last_name":"B"}"#,
        br#"{"first_name":"<","last_name":"B"}"#,
        br#"{"first_name":"A","last_name":"&"}"#,
        b"{\"first_name\":\"A\x1f\",\"last_name\":\"B\"}",
        "{\"first_name\":\"\u{2028}\",\"last_name\":\"B\"}".as_bytes(),
        "{\"first_name\":\"A\",\"last_name\":\"\u{2029}\"}".as_bytes(),
        b"{\"first_name\":\"A\",\"last_name\":\"\xed\xa0\x80\"}",
        b"{\"first_name\":\"\xff\",\"last_name\":\"B\"}",
        b"{\"first_name\":\"\",\"last_name\":\"\",\"hash\":\"\xff\"}",
        b"{}",
        b"{",
        b"",
    ] {
        assert_eq!(locate(value), None, "{}", value.escape_ascii());
    }
}
