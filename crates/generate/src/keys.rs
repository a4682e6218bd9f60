//! The keys of generated events, and the partition that a key belongs to.

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

/// The partition of a key among `partitions`, as the Java client's default partitioner chooses it.
#[inline]
pub fn partition_of(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

/// The 32-bit Murmur2 hash with the seed that Kafka's clients use.
fn murmur2(bytes: &[u8]) -> u32 {
    const MIX: u32 = 0x5bd1_e995;
    let scramble = |word: u32| {
        let word = word.wrapping_mul(MIX);
        (word ^ (word >> 24)).wrapping_mul(MIX)
    };
    let mut hash = 0x9747_b28c ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
        hash = hash.wrapping_mul(MIX) ^ scramble(word);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        let rest = tail.iter().rev().fold(0, |rest, &byte| rest << 8 | u32::from(byte));
        hash = (hash ^ rest).wrapping_mul(MIX);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(MIX);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_java_clients() {
        // The values that Kafka's own unit tests name, as signed numbers there.
        for (text, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }

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
