//! What is left of a batch when the broker refuses some of its records. A rare path.

use std::ops::Range;

/// The records left of `count` without the `refused` indexes, as ranges.
pub fn runs(count: usize, refused: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for index in refused.take_while(|index| *index < count) {
        runs.push(start..index);
        start = index + 1;
    }
    runs.push(start..count);
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_out_what_is_refused() {
        assert_eq!(runs(5, [1, 3].into_iter()), [0..1, 2..3, 4..5]);
        assert!(runs(3, [0, 1, 2].into_iter()).is_empty());
        assert_eq!(runs(2, [7].into_iter()), runs(2, std::iter::empty()));
    }
}
