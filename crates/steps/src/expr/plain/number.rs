//! Numbers as they are written, compared as the interpreter compares them.

use std::cmp::Ordering;

use jaq_json::Num;

use crate::expr::jaq::integer;

/// A number.
#[derive(Debug)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
    /// An integer of more than 64 bits.
    Big(Num),
}

impl Number {
    /// The number that is written so, in JSON or in an expression.
    #[inline]
    pub(super) fn of(text: &[u8]) -> Number {
        short(text).map_or_else(|| Number::of_long(text), Number::Integer)
    }

    fn of_long(text: &[u8]) -> Number {
        match integer(text) {
            Some(Num::Int(integer)) => Number::Integer(integer as i64),
            Some(big) => Number::Big(big),
            None => Number::Float(
                str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN),
            ),
        }
    }

    fn into_num(self) -> Num {
        match self {
            Number::Integer(integer) => Num::from_integral(integer),
            Number::Float(float) => Num::Float(float),
            Number::Big(big) => big,
        }
    }

    pub(super) fn order(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Integer(left), Number::Integer(right)) => left.cmp(&right),
            (left, right) => left.into_num().cmp(&right.into_num()),
        }
    }

    /// Not the same as being ordered equally: what is too big for a floating-point number is ordered
    /// like an infinite one, but is none.
    pub(super) fn equals(self, other: Number) -> bool {
        match (self, other) {
            (Number::Integer(left), Number::Integer(right)) => left == right,
            (left, right) => left.into_num() == right.into_num(),
        }
    }
}

/// An integer that surely has no more than 64 bits.
#[inline]
fn short(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if is_negative { -value } else { value })
}
