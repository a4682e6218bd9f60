//! Varints: zigzag, the numbers inside a record; unsigned, the lengths in flexible messages.

use bytes::BufMut;

/// Reads one signed varint of at most 64 bits from the front of `bytes` and moves past it.
#[inline]
pub fn read(bytes: &mut &[u8]) -> Option<i64> {
    let mut at = 0;
    let value = read_at(bytes, &mut at)?;
    *bytes = &bytes[at..];
    Some(value)
}

/// Reads one signed varint of at most 64 bits from `bytes[*at..]` and moves `at` past it.
#[inline(always)]
pub fn read_at(bytes: &[u8], at: &mut usize) -> Option<i64> {
    // Nearly all numbers in a batch are lengths and deltas of one or two bytes.
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag(u64::from(first)));
    }
    let second = *bytes.get(*at + 1)?;
    if second < 0x80 {
        *at += 2;
        return Some(unzigzag(u64::from(first & 0x7f) | u64::from(second) << 7));
    }
    let (value, len) = read_long(&bytes[*at..])?;
    *at += len;
    Some(value)
}

/// The number and its length in bytes.
#[cold]
fn read_long(bytes: &[u8]) -> Option<(i64, usize)> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some((unzigzag(value), i + 1));
        }
    }
    None
}

/// Appends `value` as a signed varint.
#[inline]
pub fn write(out: &mut Vec<u8>, value: i64) {
    put_unsigned_varint(out, zigzag(value));
}

/// Appends `value` as an unsigned varint (KIP-482).
#[inline]
pub fn put_unsigned_varint(out: &mut impl BufMut, value: u64) {
    let mut rest = value;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// The number of bytes that [`write`] appends for `value`.
#[inline]
pub fn len(value: i64) -> usize {
    (zigzag(value) | 1).ilog2() as usize / 7 + 1
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_has_the_length_told() {
        for value in [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::from(i32::MAX), i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out.len(), len(value), "{value}");
            let mut rest = &out[..];
            assert_eq!(read(&mut rest), Some(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_unsigned_varint_has_seven_bits_a_byte() {
        for (value, bytes) in [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (300, &[0xac, 2])] {
            let mut out = Vec::new();
            put_unsigned_varint(&mut out, value);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn a_varint_that_does_not_end_is_none() {
        assert_eq!(read(&mut &[0x80, 0x80][..]), None);
        assert_eq!(read(&mut &[0xff; 11][..]), None);
    }
}
