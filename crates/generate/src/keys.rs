//! The keys of generated events.

use strum::{Display, EnumMessage, EnumString, VariantArray};

/// Which keys events get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, EnumMessage, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Keys {
    /// None: the key is null.
    #[default]
    None,
    /// The event's number from 0, in decimal.
    Sequence,
    /// One of 1000 keys, the k-th of which is k times as rare as the first (Zipf's law).
    Zipf,
}

/// The number of keys under Zipf's law.
const ZIPF_KEYS: usize = 1000;

/// The longest decimal number of 64 bits.
const DIGITS_MAX: usize = 20;

/// Gives one key after the other without allocating.
#[derive(Debug)]
pub struct KeySource {
    keys: Keys,
    sequence: u64,
    digits: [u8; DIGITS_MAX],
    /// The key number for each of 65536 equally probable draws.
    ranks: Vec<u16>,
}

impl KeySource {
    /// A source of `keys` from the first one on.
    pub fn new(keys: Keys) -> KeySource {
        let ranks = if keys == Keys::Zipf { zipf_ranks() } else { Vec::new() };
        KeySource { keys, sequence: 0, digits: [0; DIGITS_MAX], ranks }
    }

    /// The next key; `draw` are the random bits for keys that are drawn.
    #[inline]
    pub fn next(&mut self, draw: u16) -> Option<&[u8]> {
        let number = match self.keys {
            Keys::None => return None,
            Keys::Sequence => {
                self.sequence += 1;
                self.sequence - 1
            }
            Keys::Zipf => u64::from(self.ranks[usize::from(draw)]),
        };
        Some(decimal(number, &mut self.digits))
    }
}

#[inline]
fn decimal(mut number: u64, digits: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut start = DIGITS_MAX;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

fn zipf_ranks() -> Vec<u16> {
    let weight = |key: usize| 1.0 / (key + 1) as f64;
    let total: f64 = (0..ZIPF_KEYS).map(weight).sum();
    let mut ranks = Vec::with_capacity(1 << 16);
    let mut below = 0.0;
    for key in 0..ZIPF_KEYS {
        below += weight(key);
        ranks.resize((below / total * 65536.0).round() as usize, key as u16);
    }
    ranks.resize(1 << 16, ZIPF_KEYS as u16 - 1);
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_counts_from_zero() {
        let mut keys = KeySource::new(Keys::Sequence);
        let first: Vec<_> = (0..12).map(|_| keys.next(9).unwrap().to_vec()).collect();
        assert_eq!(first[0], b"0");
        assert_eq!(first[11], b"11");
        assert_eq!(decimal(u64::MAX, &mut [0; DIGITS_MAX]), u64::MAX.to_string().as_bytes());
    }

    #[test]
    fn zipf_favours_the_first_keys_and_reaches_the_last() {
        let ranks = zipf_ranks();
        let count = |key| ranks.iter().filter(|&&rank| rank == key).count();
        assert_eq!(ranks.len(), 1 << 16);
        assert!(count(0).abs_diff(2 * count(1)) <= 2, "{} {}", count(0), count(1));
        assert!(count(999) > 0);
    }
}
