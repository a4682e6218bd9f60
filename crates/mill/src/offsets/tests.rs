use proptest::prelude::*;

use super::*;

fn assignment(assignment: u64, position: i64) -> Assignment {
    let partition = TopicPartition::new("t", 0);
    Assignment { partition, id: AssignmentId(assignment), position, is_committed: true, is_late: false }
}

fn batch(assignment: u64, next_offset: i64) -> PartitionBatch {
    PartitionBatch {
        origin: TopicPartition::new("t", 0),
        assignment: AssignmentId(assignment),
        next_offset,
        ..PartitionBatch::default()
    }
}

fn begin(offsets: &mut Offsets, batch: &PartitionBatch) -> Option<Ticket> {
    offsets.begin(batch, Permit::none())
}

fn next(offsets: &Offsets) -> Option<i64> {
    offsets.committable().first().map(|offset| offset.next)
}

#[test]
fn an_acknowledgement_of_an_earlier_assignment_never_commits() {
    let mut offsets = Offsets::default();
    offsets.assign(&assignment(1, 0));
    let old = begin(&mut offsets, &batch(1, 10)).unwrap();
    offsets.assign(&assignment(2, 0));
    offsets.acknowledge(&old);
    assert_eq!(next(&offsets), None);
    assert!(begin(&mut offsets, &batch(1, 20)).is_none(), "a stale batch is refused");
    let new = begin(&mut offsets, &batch(2, 5)).unwrap();
    offsets.acknowledge(&new);
    assert_eq!(next(&offsets), Some(5));
}

#[test]
fn a_halted_partition_commits_what_stands_before_the_failure_and_no_more() {
    let mut offsets = Offsets::default();
    offsets.assign(&assignment(1, 0));
    let [a, b, c] = [10, 20, 30].map(|next| begin(&mut offsets, &batch(1, next)).unwrap());
    assert!(offsets.halt_before(&b, Halt::Stopped));
    assert!(offsets.is_wanted(&a) && !offsets.is_wanted(&b) && !offsets.is_wanted(&c));
    offsets.acknowledge(&c);
    assert_eq!(next(&offsets), None);
    assert!(!offsets.is_landed(&TopicPartition::new("t", 0)), "the one before is still waited for");
    offsets.acknowledge(&a);
    assert_eq!(next(&offsets), Some(10));
    assert!(begin(&mut offsets, &batch(1, 40)).is_none());
    assert!(!offsets.all_settled());
    offsets.committed(&offsets.committable());
    assert!(offsets.all_settled());
}

#[test]
fn a_halt_behind_everything_waits_for_all_of_it_until_some_fails() {
    let mut offsets = Offsets::default();
    offsets.assign(&assignment(1, 0));
    let partition = TopicPartition::new("t", 0);
    let [a, b] = [10, 20].map(|next| begin(&mut offsets, &batch(1, next)).unwrap());
    assert!(offsets.halt(&partition, AssignmentId(1), Halt::Rewinding));
    assert!(!offsets.is_wanted(&b) && begin(&mut offsets, &batch(1, 30)).is_none());
    offsets.acknowledge(&a);
    assert!(!offsets.is_landed(&partition));
    assert!(!offsets.halt_before(&b, Halt::Stopped), "it is halted already");
    assert!(offsets.is_landed(&partition) && offsets.halted(&partition) == Some(Halt::Rewinding));
    assert_eq!(next(&offsets), Some(10));
}

#[test]
fn a_position_that_was_chosen_is_committed_before_anything_is_read() {
    let mut offsets = Offsets::default();
    let chosen = Assignment { is_committed: false, ..assignment(1, 70) };
    offsets.assign(&chosen);
    assert!(offsets.has_unplaced() && !offsets.all_settled());
    let committable = offsets.committable();
    assert_eq!(committable.iter().map(|offset| offset.next).collect::<Vec<_>>(), [70]);
    assert_eq!(offsets.committed(&committable).len(), 1);
    assert!(!offsets.has_unplaced() && !offsets.has_uncommitted() && offsets.all_settled());
    offsets.assign(&chosen);
    offsets.remove(&chosen.partition);
    assert!(!offsets.has_unplaced() && !offsets.has_uncommitted());
}

#[test]
fn a_split_batch_counts_when_all_its_parts_do() {
    let mut offsets = Offsets::default();
    offsets.assign(&assignment(1, 7));
    let ticket = begin(&mut offsets, &batch(1, 9)).unwrap();
    offsets.split(&ticket, 3);
    offsets.acknowledge(&ticket);
    offsets.acknowledge(&ticket);
    assert_eq!(next(&offsets), None);
    offsets.acknowledge(&ticket);
    assert_eq!(next(&offsets), Some(9));
}

proptest! {
    /// Whatever the order of acknowledgements, the committable offset is that of the longest
    /// prefix of acknowledged batches.
    #[test]
    fn the_committable_offset_is_the_acknowledged_prefix(
        sizes in prop::collection::vec(1i64..50, 1..40),
        shuffle in any::<prop::sample::Index>(),
        keys in prop::collection::vec(any::<u32>(), 40),
    ) {
        let mut offsets = Offsets::default();
        offsets.assign(&assignment(3, 100));
        let mut at = 100;
        let ends: Vec<i64> = sizes.iter().map(|size| { at += size; at }).collect();
        let mut tickets: Vec<(usize, Ticket)> = Vec::new();
        for (i, end) in ends.iter().enumerate() {
            tickets.push((i, begin(&mut offsets, &batch(3, *end)).unwrap()));
        }
        tickets.sort_by_key(|(i, _)| keys[*i]);
        let stop = shuffle.index(tickets.len() + 1);
        let mut done = vec![false; ends.len()];
        for (i, ticket) in tickets.into_iter().take(stop) {
            offsets.acknowledge(&ticket);
            done[i] = true;
            let prefix = done.iter().take_while(|done| **done).count();
            let expected = prefix.checked_sub(1).map(|last| ends[last]);
            prop_assert_eq!(next(&offsets), expected);
        }
    }
}
