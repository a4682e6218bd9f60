//! Looks at many characters at once, with AVX2.

use std::arch::x86_64::*;

use topicmill_records::Span;

use super::{Located, portable, shape};

const WIDTH: usize = 32;
const HEAD: usize = 2 * WIDTH;

/// As [`locate`](super::locate).
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
pub fn locate(buffer: &[u8], span: Span) -> Option<Located> {
    let value = span.get(buffer).expect("not a tombstone");
    // Most values fit in here: their characters are classified before it is known where the strings
    // begin, so that finding one end does not wait for the other.
    let head = buffer[span.start()..].first_chunk::<HEAD>().map_or(0, |head| {
        let (low, high) = head.split_at(WIDTH);
        let [low, high] = [low, high].map(|half| special_characters(half.try_into().expect("a half")));
        u64::from(low) | u64::from(high) << WIDTH
    });
    let if_quote = |at: usize| (value.get(at) == Some(&b'"')).then_some(at);
    let text_end = |start: usize| {
        if start < HEAD && head >> start != 0 {
            return if_quote(start + (head >> start).trailing_zeros() as usize);
        }
        let mut at = start;
        while at < value.len() {
            // What follows the value in the buffer may be read, but does not count.
            let special = match buffer[span.start() + at..].first_chunk() {
                Some(characters) => special_characters(characters),
                None => special_characters(&padded(&value[at..])),
            };
            if special != 0 {
                return if_quote(at + special.trailing_zeros() as usize);
            }
            at += WIDTH;
        }
        None
    };
    // Characters beyond ASCII are marked here, but need not be special.
    shape::follow(value, text_end).or_else(|| portable_if_not_ascii(value))
}

#[cold]
fn portable_if_not_ascii(value: &[u8]) -> Option<Located> {
    if value.is_ascii() { None } else { portable::locate(value) }
}

/// The first characters and, where there are not enough, zeros, which are special.
#[cold]
fn padded(characters: &[u8]) -> [u8; WIDTH] {
    let mut padded = [0; WIDTH];
    let len = characters.len().min(WIDTH);
    padded[..len].copy_from_slice(&characters[..len]);
    padded
}

/// A bit for each character that ends a string, has to be escaped or is not ASCII.
#[inline]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn special_characters(characters: &[u8; WIDTH]) -> u32 {
    // SAFETY: there are 32 bytes.
    let characters = unsafe { _mm256_loadu_si256(characters.as_ptr().cast()) };
    // As signed numbers, bytes beyond ASCII are less than a space, too.
    let below_space = _mm256_cmpgt_epi8(_mm256_set1_epi8(b' ' as i8), characters);
    // `"`, `&`, `<` and `>` differ in their lower halves, which index this table.
    let table =
        _mm_setr_epi8(0, 0, b'"' as i8, 0, 0, 0, b'&' as i8, 0, 0, 0, 0, 0, b'<' as i8, 0, b'>' as i8, 0);
    let looked_up = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), characters);
    let others = _mm256_cmpeq_epi8(characters, looked_up);
    let backslash = _mm256_cmpeq_epi8(characters, _mm256_set1_epi8(b'\\' as i8));
    let special = _mm256_or_si256(_mm256_or_si256(below_space, others), backslash);
    _mm256_movemask_epi8(special) as u32
}
