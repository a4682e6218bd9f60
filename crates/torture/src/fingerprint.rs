//! Whether two readers saw the same record at each offset, without keeping the records.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Where two readers may be found to differ, in records.
const BLOCK: u64 = 1024;

/// What a reader has seen of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    records: u64,
    hash: u64,
    /// After each full block: the last offset and the hash of everything so far.
    blocks: Vec<(i64, u64)>,
}

impl Fingerprint {
    /// Takes note of a record.
    pub fn add(&mut self, offset: i64, value: Option<&[u8]>) {
        self.hash = xxh3_64_with_seed(&offset.to_le_bytes(), self.hash);
        self.hash = match value {
            Some(value) => xxh3_64_with_seed(value, self.hash),
            None => self.hash.rotate_left(1),
        };
        self.records += 1;
        if self.records.is_multiple_of(BLOCK) {
            self.blocks.push((offset, self.hash));
        }
    }

    /// How many records were seen.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// An offset by which the two differ; `None` when they are the same.
    pub fn differs(&self, other: &Fingerprint) -> Option<i64> {
        if self == other {
            return None;
        }
        let mut pairs = self.blocks.iter().zip(&other.blocks);
        let last = self.blocks.last().max(other.blocks.last()).map_or(0, |&(offset, _)| offset);
        Some(pairs.find(|(a, b)| a != b).map_or(last + 1, |(&(a, _), &(b, _))| a.min(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_value_another_offset_and_one_more_are_told_apart() {
        let print = |change: &dyn Fn(i64) -> (i64, String)| {
            let mut print = Fingerprint::default();
            for n in 0..5000 {
                let (offset, value) = change(n);
                print.add(offset, Some(value.as_bytes()));
            }
            print
        };
        let same = print(&|n| (n, n.to_string()));
        assert_eq!(same.differs(&same.clone()), None);
        let value = print(&|n| (n, if n == 3000 { "x".into() } else { n.to_string() }));
        assert_eq!(same.differs(&value), Some(3071), "the end of the block");
        let offset = print(&|n| (n + i64::from(n > 2000), n.to_string()));
        assert_eq!(same.differs(&offset), Some(2047));
        let mut longer = same.clone();
        longer.add(5000, None);
        assert!(same.differs(&longer).is_some());
    }
}
