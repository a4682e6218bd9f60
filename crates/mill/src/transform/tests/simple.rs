//! Name events the simple way: a state machine over characters, then text in hand. It shares
//! nothing with the transform but the names of the classes.

use md5::{Digest as _, Md5};

use crate::transform::ErrorClass;

/// The whole output for `value`.
pub fn event(value: &[u8]) -> Result<Vec<u8>, ErrorClass> {
    let hash: String = Md5::digest(value).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut out = prefix(value)?;
    out.extend_from_slice(format!(",\"hash\":\"{hash}\"}}").as_bytes());
    Ok(out)
}

/// The output up to the end of `last_name`.
pub fn prefix(value: &[u8]) -> Result<Vec<u8>, ErrorClass> {
    let (mut first, mut last) = (String::new(), String::new());
    let mut mistyped = false;
    for (key, value) in object_or_null_members(value, true)? {
        // The long s is the only letter beyond ASCII that is one of the names' letters in another case.
        let key = decode(&key).replace('\u{17f}', "s").to_ascii_lowercase();
        let target = match key.as_str() {
            "first_name" => Some(&mut first),
            "last_name" => Some(&mut last),
            "hash" => None,
            _ => continue,
        };
        if value == "null" {
            continue;
        }
        if !value.starts_with('"') {
            mistyped = true;
        } else if let Some(target) = target {
            *target = decode(&value);
        }
    }
    if mistyped { Err(ErrorClass::Type) } else { Ok(render(&first, &last).into_bytes()) }
}

/// The outermost members of an object: key and value as they are written, bad bytes replaced.
pub fn object_members(value: &[u8]) -> Result<Vec<(String, String)>, ErrorClass> {
    object_or_null_members(value, false)
}

fn object_or_null_members(value: &[u8], null: bool) -> Result<Vec<(String, String)>, ErrorClass> {
    let text = characters(value);
    validate(&text)?;
    let text: String = text.into_iter().collect();
    match text.trim_matches([' ', '\t', '\r', '\n']) {
        "null" if null => Ok(Vec::new()),
        object if object.starts_with('{') => Ok(members(object)),
        _ => Err(ErrorClass::Type),
    }
}

/// The bytes as characters, each bad byte as U+FFFD.
fn characters(mut bytes: &[u8]) -> Vec<char> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let good = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => str::from_utf8(&bytes[..error.valid_up_to()]).unwrap(),
        };
        out.extend(good.chars());
        bytes = &bytes[good.len()..];
        if !bytes.is_empty() {
            out.push('\u{fffd}');
            bytes = &bytes[1..];
        }
    }
    out
}

/// What the machine accepts next.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    InString,
    Escape,
    Hex(u32),
    Word(&'static str),
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// After a key or a value.
    After,
}

/// One character at a time, and a space to find the end, as Go's scanner does. The stack holds
/// `k` (an object before its colon), `v` (an object after it) and `a` (an array).
fn validate(text: &[char]) -> Result<(), ErrorClass> {
    use State::*;
    if text.is_empty() {
        return Err(ErrorClass::Empty);
    }
    let mut state = Value;
    let mut stack: Vec<char> = Vec::new();
    for (nth, c) in text.iter().copied().chain([' ']).enumerate() {
        let space = " \t\r\n".contains(c);
        // What ends a number belongs to what follows it.
        let number_ends = match state {
            Zero => !".eE".contains(c),
            Integer => !(c.is_ascii_digit() || ".eE".contains(c)),
            Fraction => !(c.is_ascii_digit() || "eE".contains(c)),
            ExponentDigits => !c.is_ascii_digit(),
            _ => false,
        };
        if number_ends {
            state = After;
        }
        state = match (state, c) {
            (Value | ValueOrEnd | Key | KeyOrEnd | After, _) if space => state,
            (ValueOrEnd, ']') | (KeyOrEnd, '}') => {
                stack.pop();
                After
            }
            (Value | ValueOrEnd, '{' | '[') => {
                stack.push(if c == '{' { 'k' } else { 'a' });
                if stack.len() > 10_000 {
                    return Err(ErrorClass::Depth);
                }
                if c == '{' { KeyOrEnd } else { ValueOrEnd }
            }
            (Value | ValueOrEnd | Key | KeyOrEnd, '"') => InString,
            (Value | ValueOrEnd, '-') => Minus,
            (Value | ValueOrEnd | Minus, '0') => Zero,
            (Value | ValueOrEnd | Minus, '1'..='9') => Integer,
            (Value | ValueOrEnd, 't') => Word("rue"),
            (Value | ValueOrEnd, 'f') => Word("alse"),
            (Value | ValueOrEnd, 'n') => Word("ull"),
            (InString, '"') => After,
            (InString, '\\') => Escape,
            (InString, ' '..) => InString,
            (Escape, 'b' | 'f' | 'n' | 'r' | 't' | '"' | '\\' | '/') => InString,
            (Escape, 'u') => Hex(4),
            (Hex(left), c) if c.is_ascii_hexdigit() => {
                if left == 1 {
                    InString
                } else {
                    Hex(left - 1)
                }
            }
            (Word(rest), c) if rest.starts_with(c) => {
                if rest.len() == 1 {
                    After
                } else {
                    Word(&rest[1..])
                }
            }
            (Integer, '0'..='9') => Integer,
            (Zero | Integer, '.') => Point,
            (Point | Fraction, '0'..='9') => Fraction,
            (Zero | Integer | Fraction, 'e' | 'E') => Exponent,
            (Exponent, '+' | '-') => ExponentSign,
            (Exponent | ExponentSign | ExponentDigits, '0'..='9') => ExponentDigits,
            (After, _) => match (stack.pop(), c) {
                (Some('k'), ':') => {
                    stack.push('v');
                    Value
                }
                (Some('v'), ',') => {
                    stack.push('k');
                    Key
                }
                (Some('a'), ',') => {
                    stack.push('a');
                    Value
                }
                (Some('v'), '}') | (Some('a'), ']') => After,
                (None, _) => return Err(ErrorClass::Trailing),
                _ => return Err(ErrorClass::Syntax),
            },
            _ => return Err(ErrorClass::Syntax),
        };
        if nth == text.len() && !(state == After && stack.is_empty()) {
            return Err(ErrorClass::Eof);
        }
    }
    Ok(())
}

fn members(object: &str) -> Vec<(String, String)> {
    let inner = &object[1..object.len() - 1];
    let mut members = Vec::new();
    let (mut depth, mut in_string, mut escaped) = (0, false, false);
    let mut parts = (String::new(), None::<String>);
    for c in inner.chars().chain([',']) {
        let outside = !in_string && depth == 0;
        if outside && c == ',' {
            if let (key, Some(value)) = std::mem::take(&mut parts) {
                members.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            continue;
        }
        if outside && c == ':' {
            parts.1 = Some(String::new());
            continue;
        }
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            match c {
                '"' => in_string = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth -= 1,
                _ => {}
            }
        }
        parts.1.as_mut().unwrap_or(&mut parts.0).push(c);
    }
    members
}

/// What a string in quotes means.
pub fn decode(quoted: &str) -> String {
    let mut units: Vec<u16> = Vec::new();
    let mut chars = quoted[1..quoted.len() - 1].chars();
    let mut buffer = [0; 2];
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend_from_slice(c.encode_utf16(&mut buffer));
            continue;
        }
        units.push(match chars.next().unwrap() {
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'u' => u16::from_str_radix(&chars.by_ref().take(4).collect::<String>(), 16).unwrap(),
            other => other as u16,
        });
    }
    String::from_utf16_lossy(&units)
}

fn render(first: &str, last: &str) -> String {
    format!("{{\"first_name\":\"{}\",\"last_name\":\"{}\"", encode(first), encode(last))
}

fn encode(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out += &format!("\\u{:04x}", c as u32),
            _ => out.push(c),
        }
    }
    out
}
