use topicmill_records::NO_HEADERS;

use super::{super::outlets::resolve, *};
use crate::batch::TopicPartition;

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
    let written = transformed.chunks().map(|chunk| chunk.count as usize).sum();
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

/// What a transform does with a record.
#[derive(Clone, Debug)]
enum Deed {
    Write,
    Fail,
    Skip,
    /// To these topics and partitions.
    Emit(Vec<(Option<&'static str>, Option<i32>)>),
}

/// Does what it is told with the record at each index.
struct Does(Vec<(usize, Deed)>);

impl Transform for Does {
    fn apply(&mut self, _: &Values<'_>, out: &mut Output<'_>) {
        for (index, deed) in &self.0 {
            match deed {
                Deed::Write => out.write(*index, &[b"written"]),
                Deed::Fail => out.fail(*index, ValueError::new(ErrorClass::Other, "no")),
                Deed::Skip => out.skip(*index),
                Deed::Emit(places) => {
                    for (topic, partition) in places {
                        let topic = topic.map(Arc::from);
                        out.emit(
                            *index,
                            &Emission {
                                topic: topic.as_ref(),
                                partition: *partition,
                                timestamp: 7,
                                key: Some(b"key"),
                                value: Some(&[b"emit", b"ted"]),
                                headers: NO_HEADERS,
                            },
                        );
                    }
                }
            }
        }
    }
}

fn batch_of(count: i64, tombstone: i64) -> PartitionBatch {
    let record = |index: i64| Record {
        offset: 100 + index,
        timestamp: 7,
        key: Span::NULL,
        value: if index == tombstone { Span::NULL } else { Span::new(1, 1) },
        headers: Span::new(0, 1),
    };
    PartitionBatch {
        buffer: [NO_HEADERS, b"v"].concat().into(),
        records: (0..count).map(record).collect(),
        ..PartitionBatch::default()
    }
}

/// The topic, partition, and sources of each output of five records, of which the one at index 3 is a tombstone.
type Outputs = Vec<(Option<String>, Option<i32>, Vec<u32>)>;

fn outputs(transformed: &Transformed) -> Outputs {
    let failed: Vec<usize> = transformed.failures.iter().map(|failure| failure.index).collect();
    let output = |output: &Outgoing| {
        let sources: Vec<u32> = output.sources.listed(0..5, failed.iter().copied()).collect();
        let written: u32 = output.chunks.iter().map(|chunk| chunk.count).sum();
        assert_eq!(written as usize, sources.len(), "a source for each record");
        (output.place.topic.as_deref().map(str::to_owned), output.place.partition, sources)
    };
    transformed.outputs.iter().map(output).collect()
}

#[test]
fn each_output_record_knows_the_record_that_it_comes_from() {
    let does = |deeds: &[(usize, Deed)]| {
        let transformed = apply(&mut Does(deeds.to_vec()), &batch_of(5, 3), 1 << 20).unwrap();
        (outputs(&transformed), transformed.failures.len(), transformed.skipped)
    };
    let (here, there) = ((None, None), (Some("there"), None));
    let all = [(0, Deed::Write), (1, Deed::Fail), (2, Deed::Write), (4, Deed::Write)];
    assert_eq!(does(&all), (vec![(None, None, vec![0, 2, 3, 4])], 1, 0));
    // A tombstone that is left out is passed on, and one that is handled is not.
    let filtered = [(0, Deed::Write), (1, Deed::Fail), (2, Deed::Skip), (4, Deed::Write)];
    assert_eq!(does(&filtered), (vec![(None, None, vec![0, 3, 4])], 1, 1));
    let nothing = [(0, Deed::Skip), (1, Deed::Skip), (2, Deed::Skip), (3, Deed::Skip), (4, Deed::Skip)];
    assert_eq!(does(&nothing), (vec![], 0, 5));
    let several = [
        (0, Deed::Write),
        (1, Deed::Emit(vec![there, here, there])),
        (2, Deed::Fail),
        (3, Deed::Emit(vec![(None, Some(9))])),
        (4, Deed::Emit(vec![there, (Some("there"), Some(9)), here])),
    ];
    let there = |partition, sources| (Some("there".to_owned()), partition, sources);
    let expected = vec![
        (None, None, vec![0, 1, 4]),
        there(None, vec![1, 1, 4]),
        (None, Some(9), vec![3]),
        there(Some(9), vec![4]),
    ];
    assert_eq!(does(&several), (expected, 1, 0));
}

#[test]
fn results_of_a_record_come_together_and_in_turn() {
    let here = Deed::Emit(vec![(None, None)]);
    let outcome = |deeds: &[(usize, Deed)]| {
        apply(&mut Does(deeds.to_vec()), &batch_of(5, 3), 1 << 20)
            .map(|transformed| transformed.outputs.len())
    };
    let order = |index, handled| Err(Breach::Order { index, handled });
    for last in [Deed::Write, Deed::Fail, Deed::Skip] {
        let what = format!("{last:?} after a result");
        assert_eq!(outcome(&[(0, here.clone()), (0, last.clone())]), order(0, 1), "{what}");
        assert_eq!(outcome(&[(0, last), (0, here.clone())]), order(0, 1), "a result after it");
    }
    let between = [(0, here.clone()), (1, Deed::Write), (0, here.clone())];
    assert_eq!(outcome(&between), order(0, 2));
    assert_eq!(outcome(&[(5, here.clone())]), Err(Breach::Beyond { index: 5, records: 5 }));
    assert_eq!(outcome(&[(usize::MAX, here)]), Err(Breach::Beyond { index: usize::MAX, records: 5 }));
}

#[test]
fn what_is_made_of_parts_is_what_is_made_of_the_whole() {
    let there = Deed::Emit(vec![(Some("there"), None), (None, None), (None, Some(2))]);
    let deeds = [Deed::Write, there.clone(), Deed::Fail, Deed::Skip, Deed::Write, there, Deed::Write];
    let batch = batch_of(deeds.len() as i64, -1);
    let made = |range: std::ops::Range<usize>| {
        let part = deeds[range.clone()].iter().cloned().enumerate().collect();
        let room = OutputRoom { chunk_limit: 1 << 20, expected: 100 };
        apply_to(&mut Does(part), Values::of(&batch, range), room).unwrap()
    };
    let sources = |transformed: &Transformed| -> Vec<_> {
        let failed = || transformed.failures.iter().map(|failure| failure.index);
        let outputs = transformed.outputs.iter();
        let mut outputs: Vec<_> = outputs
            .map(|output| (output.place.clone(), output.sources.listed(0..7, failed()).collect::<Vec<_>>()))
            .collect();
        outputs.sort_by_key(|(place, _)| (place.topic.clone(), place.partition));
        outputs
    };
    let whole = made(0..7);
    for middle in 0..=7 {
        let mut joined = Transformed::default();
        joined.append(made(0..middle), 0, middle);
        joined.append(made(middle..7), middle, 7 - middle);
        assert_eq!(sources(&joined), sources(&whole), "cut at {middle}");
        assert_eq!((&joined.failures, joined.skipped), (&whole.failures, whole.skipped));
    }
}

#[test]
fn a_partition_that_is_reached_in_several_ways_gets_its_records_in_their_order() {
    let (here, named, other) = ((None, None), (Some("destination"), Some(3)), (Some("other"), None));
    let deeds = [
        (0, Deed::Emit(vec![named, here])),
        (1, Deed::Write),
        (2, Deed::Emit(vec![other, named])),
        (3, Deed::Fail),
        (4, Deed::Write),
    ];
    let transformed = apply(&mut Does(deeds.to_vec()), &batch_of(5, -1), 1 << 20).unwrap();
    let origin = TopicPartition::new("source", 3);
    let resolved = resolve(transformed.outputs, &"destination".into(), &origin).unwrap();
    let shown: Vec<_> = resolved
        .iter()
        .map(|(to, chunks, sources)| {
            let count: usize = chunks.iter().map(|chunk| chunk.records().unwrap().len()).sum();
            let sources: Vec<u32> = sources.listed(0..5, [3].into_iter()).collect();
            assert_eq!(count, sources.len());
            (to.to_string(), sources)
        })
        .collect();
    assert_eq!(shown, [("destination[3]".to_owned(), vec![0, 0, 1, 2, 4]), ("other[3]".to_owned(), vec![2])]);
    let (_, chunks, _) = &resolved[0];
    let values = chunks.iter().flat_map(|chunk| {
        let records = chunk.records().unwrap();
        records.into_iter().map(|record| record.value.get(&chunk.bytes).unwrap().to_vec()).collect::<Vec<_>>()
    });
    let expected: [&[u8]; 5] = [b"emitted", b"emitted", b"written", b"emitted", b"written"];
    assert_eq!(values.collect::<Vec<_>>(), expected);
}
