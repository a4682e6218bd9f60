use topicmill_records::NO_HEADERS;

use super::*;

/// Handles the given indexes in the given order; `fail` instead of `write` where it says so.
struct Handles(Vec<(usize, bool)>);

impl Transform for Handles {
    fn apply(&mut self, _: &Values<'_>, out: &mut Output<'_>) {
        for (index, fails) in &self.0 {
            if *fails {
                out.fail(*index, ValueError::new(ErrorClass::Other, "no"));
            } else {
                out.write(*index, &[b"written"]);
            }
        }
    }
}

/// What becomes of five records, of which the one at index 3 is a tombstone.
fn outcome(handled: &[(usize, bool)]) -> Result<(usize, Vec<usize>), Breach> {
    let value = |index| if index == 3 { Span::NULL } else { Span::new(1, 1) };
    let record = |index: i64| Record {
        offset: 100 + index,
        timestamp: 0,
        key: Span::NULL,
        value: value(index),
        headers: Span::new(0, 1),
    };
    let batch = PartitionBatch {
        buffer: [NO_HEADERS, b"v"].concat().into(),
        records: (0..5).map(record).collect(),
        ..PartitionBatch::default()
    };
    let transformed = apply(&mut Handles(handled.to_vec()), &batch, 1 << 20)?;
    let written = transformed.chunks.iter().map(|chunk| chunk.count as usize).sum();
    Ok((written, transformed.failures.iter().map(|failure| failure.index).collect()))
}

#[test]
fn a_transform_that_keeps_its_contract_is_let_be() {
    let all = [0, 1, 2, 4].map(|index| (index, false));
    assert_eq!(outcome(&all), Ok((5, vec![])));
    assert_eq!(outcome(&[(0, true), (1, false), (4, true)]), Ok((2, vec![0, 2, 4])));
    assert_eq!(outcome(&[]), Ok((1, vec![0, 1, 2, 4])));
}

#[test]
fn an_index_that_comes_twice_or_too_late_or_does_not_exist_is_a_breach() {
    for again in [false, true] {
        let order = |index, handled| Err(Breach::Order { index, handled });
        assert_eq!(outcome(&[(0, false), (1, false), (1, again)]), order(1, 2));
        assert_eq!(outcome(&[(0, again), (2, false), (1, again)]), order(1, 3));
        assert_eq!(outcome(&[(4, false), (0, again), (1, false)]), order(0, 5), "the first one is told");
        let beyond = |index| Err(Breach::Beyond { index, records: 5 });
        assert_eq!(outcome(&[(0, false), (5, again)]), beyond(5));
        assert_eq!(outcome(&[(4, false), (5, again)]), beyond(5), "the next one, and yet none");
        assert_eq!(outcome(&[(usize::MAX, again)]), beyond(usize::MAX));
    }
}
