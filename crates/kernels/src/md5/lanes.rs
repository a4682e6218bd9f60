//! Hands values to a vector kernel in groups of about the same length.

use super::{Md5Digest, md5};

/// Values of up to this many blocks are grouped first; almost all events are among them.
const SHORT: usize = 2;

/// Fewer values than this are digested one by one.
const MIN_GROUP: usize = 3;

/// Longer values than this are digested one by one, too: lanes gain little from a few of them.
const MAX_LEN: usize = 1 << 20;

/// The number of 64-byte blocks that `len` bytes and their padding take.
#[inline]
pub(super) fn block_count(len: usize) -> usize {
    (len + 8) / 64 + 1
}

/// Appends the digests of `values` to `out` in their order. `digest` gets full rows of `W` lanes,
/// one row or two, and is correct for values of all lengths to [`MAX_LEN`], but fast when they take the same
/// number of blocks.
#[inline]
pub(super) fn fill<'a, const W: usize>(
    values: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<Md5Digest>,
    digest: impl Fn(&[[&'a [u8]; W]], &mut [[Md5Digest; W]]),
) {
    let mut groups = [const { Group::<W>::new() }; SHORT];
    let mut long = Vec::new();
    out.reserve(values.size_hint().1.unwrap_or(0));
    for (index, value) in values.enumerate() {
        out.push(Md5Digest::default());
        if let Some(group) = groups.get_mut(block_count(value.len()) - 1) {
            if group.push(index, value) {
                group.flush(out, &digest);
            }
        } else if value.len() <= MAX_LEN {
            long.push((index, value));
        } else {
            out[index] = md5(value);
        }
    }
    long.sort_by_key(|(_, value)| block_count(value.len()));
    let [mut rest, two_blocks] = groups;
    let left_over = two_blocks.members().chain(long.iter().copied());
    for (index, value) in left_over {
        if rest.push(index, value) {
            rest.flush(out, &digest);
        }
    }
    rest.flush(out, &digest);
}

/// Values that wait until two rows of lanes are full.
struct Group<'a, const W: usize> {
    values: [[&'a [u8]; W]; 2],
    /// Where their digests go.
    indexes: [[usize; W]; 2],
    len: usize,
}

impl<'a, const W: usize> Group<'a, W> {
    const fn new() -> Self {
        Group { values: [[&[]; W]; 2], indexes: [[0; W]; 2], len: 0 }
    }

    /// Adds a value and returns whether the group is now full; it must not have been before.
    #[inline]
    fn push(&mut self, index: usize, value: &'a [u8]) -> bool {
        self.values.as_flattened_mut()[self.len] = value;
        self.indexes.as_flattened_mut()[self.len] = index;
        self.len += 1;
        self.len == 2 * W
    }

    fn members(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let indexes = self.indexes.as_flattened().iter().copied();
        indexes.zip(self.values.as_flattened().iter().copied()).take(self.len)
    }

    /// Digests the values and forgets them.
    #[inline]
    fn flush(&mut self, out: &mut [Md5Digest], digest: impl Fn(&[[&'a [u8]; W]], &mut [[Md5Digest; W]])) {
        if self.len < MIN_GROUP {
            self.members().for_each(|(index, value)| out[index] = md5(value));
        } else {
            // Empty lanes cost least.
            self.values.as_flattened_mut()[self.len..].fill(&[]);
            let rows = self.len.div_ceil(W);
            let mut digests = [[Md5Digest::default(); W]; 2];
            digest(&self.values[..rows], &mut digests[..rows]);
            let members = self.indexes.as_flattened().iter().zip(digests.as_flattened());
            members.take(self.len).for_each(|(&index, digest)| out[index] = *digest);
        }
        self.len = 0;
    }
}
