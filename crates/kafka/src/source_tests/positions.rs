//! Where partitions are read from.

use topicmill_mill::budget::Budget;

use super::*;
use crate::{Isolation, Reader};

#[tokio::test]
async fn a_position_chosen_by_policy_can_be_committed_before_anything_is_read() {
    let scene = Scene::new(1).await;
    scene.produce(0, 10).await;
    let mut source = scene.source(OffsetReset::Latest, &[]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    assert_eq!((first.position, first.is_committed), (10, false));
    commit(&source, first, first.position).await;
    source.close().await;
    scene.produce(0, 5).await;
    let mut source = scene.source(OffsetReset::Latest, &[]).await;
    let [second] = &assigned(&mut source).await[..] else { panic!() };
    assert_eq!((second.position, second.is_committed), (10, true));
    read_to(&mut source, second, 15).await;
}

#[tokio::test]
async fn a_new_source_in_the_same_process_remembers_where_the_group_saw_the_topic_first() {
    let scene = Scene::new(2).await;
    scene.produce(0, 10).await;
    scene.produce(1, 4).await;
    let source = async || scene.source_of(&scene.client, OffsetReset::Latest, &[]).await;
    let mut first = source().await;
    assert!(matches!(next(&mut first).await, SourceEvent::Assigned(_)));
    // Nothing is committed.
    first.close().await;
    scene.produce(0, 3).await;
    scene.produce(1, 3).await;
    let mut second = source().await;
    let mut positions = Vec::new();
    while positions.len() < 2 {
        let some = assigned(&mut second).await;
        positions.extend(some.iter().map(|a| (a.partition.partition, a.position, a.is_committed)));
    }
    positions.sort_unstable();
    assert_eq!(positions, [(0, 10, false), (1, 4, false)]);
}

#[tokio::test]
async fn a_partition_that_is_new_to_a_group_is_read_from_its_beginning() {
    let scene = Scene::new(1).await;
    scene.produce(0, 10).await;
    let mut source = scene.source(OffsetReset::Latest, &[("metadata.max.age.ms", "1000")]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    commit(&source, first, 10).await;
    scene.broker.add_partitions("t", 2).unwrap();
    scene.produce(1, 6).await;
    let new = loop {
        match next(&mut source).await {
            SourceEvent::Assigned(assigned) => {
                if let Some(new) = assigned.into_iter().find(|a| a.partition == place(1)) {
                    break new;
                }
            }
            SourceEvent::Revoked { release, .. } => drop(release),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((new.position, new.is_committed), (0, false));
    // Another process has only what the group has committed.
    source.close().await;
    let mut source = scene.source(OffsetReset::Latest, &[]).await;
    let mut positions = Vec::new();
    while positions.len() < 2 {
        let some = assigned(&mut source).await;
        positions.extend(some.iter().map(|a| (a.partition.partition, a.position, a.is_committed)));
    }
    positions.sort_unstable();
    assert_eq!(positions, [(0, 10, true), (1, 0, false)]);
}

#[tokio::test]
async fn without_a_policy_only_a_group_that_has_committed_nothing_is_refused() {
    let scene = Scene::new(2).await;
    let mut source = scene.source(OffsetReset::None, &[]).await;
    let error = timeout(LIMIT, source.next(&Room::open())).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Fatal);
    assert!(error.partition.is_some(), "{error}");
    source.close().await;

    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    for assigned in assigned(&mut source).await.iter().filter(|a| a.partition == place(0)) {
        commit(&source, assigned, 0).await;
    }
    source.close().await;
    let mut source = scene.source(OffsetReset::None, &[]).await;
    let mut positions = Vec::new();
    while positions.len() < 2 {
        positions.extend(assigned(&mut source).await.iter().map(|a| (a.partition.partition, a.is_committed)));
    }
    positions.sort_unstable();
    assert_eq!(positions, [(0, true), (1, false)]);
}

#[tokio::test]
async fn one_partition_without_a_leader_holds_up_no_other_in_a_new_group() {
    let scene = Scene::new(3).await;
    for partition in 0..3 {
        scene.produce(partition, 4).await;
    }
    scene.broker.set_leaderless("t", 1, true).unwrap();
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let mut read = Vec::new();
    while read.len() < 2 {
        match next(&mut source).await {
            SourceEvent::Assigned(assigned) => assert!(assigned.iter().all(|a| a.partition != place(1))),
            SourceEvent::Batch(batch, _) if batch.next_offset == 4 => read.push(batch.origin.partition),
            SourceEvent::Batch(..) => {}
            other => panic!("{other:?}"),
        }
    }
    read.sort_unstable();
    assert_eq!(read, [0, 2]);
    scene.troubled(Place::Fetch(place(1)), true).await;
    scene.broker.set_leaderless("t", 1, false).unwrap();
    let [late] = &assigned(&mut source).await[..] else { panic!() };
    assert_eq!(late.partition, place(1));
    read_to(&mut source, late, 4).await;
    scene.troubled(Place::Fetch(place(1)), false).await;
}

#[tokio::test]
async fn what_retention_removed_is_told_in_order_whatever_the_policy() {
    for reset in [OffsetReset::Earliest, OffsetReset::Latest, OffsetReset::None] {
        let scene = Scene::new(1).await;
        scene.produce(0, 20).await;
        let mut source = scene.source(OffsetReset::Earliest, &[]).await;
        let [first] = &assigned(&mut source).await[..] else { panic!() };
        commit(&source, first, 6).await;
        source.close().await;
        scene.broker.delete_records("t", 0, 12).unwrap();
        let mut source = scene.source(reset, &[]).await;
        let [second] = &assigned(&mut source).await[..] else { panic!() };
        assert_eq!((second.position, second.is_committed), (6, true), "{reset:?}");
        let SourceEvent::Skipped(gap) = next(&mut source).await else { panic!() };
        let (partition, assignment, reason) = (place(0), second.id, GapReason::Retention);
        assert_eq!(gap, Gap { partition, assignment, from: 6, to: 12, reason }, "{reset:?}");
        let SourceEvent::Batch(batch, _) = next(&mut source).await else { panic!() };
        assert_eq!(batch.records[0].offset, 12, "{reset:?}");
    }
}

#[tokio::test]
async fn a_gap_while_reading_stands_between_its_batches() {
    let scene = Scene::new(1).await;
    scene.produce(0, 6).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    read_to(&mut source, first, 6).await;
    // Nothing of this is fetched before all of it is gone.
    let room = Room { full: [place(0)].into(), ..Room::open() };
    assert!(timeout(Duration::from_millis(1200), source.next(&room)).await.is_err());
    scene.produce(0, 10).await;
    scene.broker.delete_records("t", 0, 16).unwrap();
    scene.produce(0, 2).await;
    let SourceEvent::Skipped(gap) = next(&mut source).await else { panic!() };
    assert_eq!((gap.assignment, gap.from, gap.to), (first.id, 6, 16));
    read_to(&mut source, first, 18).await;
}

#[tokio::test]
async fn what_was_read_and_is_cut_off_is_read_again_under_a_new_assignment() {
    let scene = Scene::new(1).await;
    scene.produce(0, 10).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    read_to(&mut source, first, 10).await;
    commit(&source, first, 10).await;
    scene.broker.truncate("t", 0, 4).unwrap();
    scene.produce(0, 4).await;
    assert!(matches!(next(&mut source).await, SourceEvent::Lost(lost) if lost == [place(0)]));
    let [second] = &assigned(&mut source).await[..] else { panic!() };
    assert_eq!((second.position, second.is_committed), (4, false));
    // What is known now lies before what was committed.
    commit(&source, second, 4).await;
    let committed = scene.client.committed("g", "t").await.unwrap();
    assert_eq!(committed, [(0, 4)].into());
    read_to(&mut source, second, 8).await;
}

#[tokio::test]
async fn each_batch_says_the_epoch_of_the_record_before_its_end() {
    let scene = Scene::new(1).await;
    let mut epochs = Vec::new();
    for _ in 0..3 {
        scene.produce(0, 4).await;
        epochs.push((scene.broker.offsets("t", 0).unwrap().1, scene.client.clone()));
        scene.broker.set_leaderless("t", 0, true).unwrap();
        scene.broker.set_leaderless("t", 0, false).unwrap();
    }
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    let (mut end, mut last) = (0, -1);
    while end < 12 {
        let SourceEvent::Batch(batch, _) = next(&mut source).await else { panic!() };
        end = batch.next_offset;
        // Two epochs pass from one run of records to the next.
        let run = i32::try_from((end - 1) / 4).unwrap();
        assert_eq!(batch.leader_epoch, run * 2, "at {end}");
        assert!(batch.leader_epoch >= last);
        last = batch.leader_epoch;
    }
    let offset =
        |next, leader_epoch| Offset { partition: place(0), assignment: first.id, next, leader_epoch };
    source.commit(vec![offset(end, last)]).await.unwrap();
}

#[tokio::test]
async fn a_topic_made_anew_is_read_from_its_beginning_and_nothing_of_it_under_the_old_assignment() {
    for reset in [OffsetReset::Earliest, OffsetReset::Latest] {
        let scene = Scene::new(1).await;
        scene.produce(0, 6).await;
        let mut source = scene.source(reset, &[]).await;
        let [first] = &assigned(&mut source).await[..] else { panic!() };
        commit(&source, first, 6).await;
        // While nothing is fetched, the new topic grows beyond the position in the old one.
        let room = Room { full: [place(0)].into(), ..Room::open() };
        assert!(
            timeout(Duration::from_millis(1200), source.next(&room)).await.is_err()
                || reset == OffsetReset::Earliest
        );
        scene.broker.delete_topic("t").unwrap();
        scene.broker.create_topic("t", 1, &[]).unwrap();
        scene.produce(0, 10).await;
        // The offset of the old topic reaches the coordinator after all.
        commit(&source, first, 6).await;
        let again = loop {
            match next(&mut source).await {
                SourceEvent::Lost(_) => {}
                SourceEvent::Assigned(assigned) => break assigned[0].clone(),
                SourceEvent::Batch(batch, _) => {
                    assert_eq!(batch.assignment, first.id);
                    assert!(batch.next_offset <= 6, "it is of the new topic");
                }
                SourceEvent::Revoked { release, .. } => drop(release),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((again.position, again.is_committed), (0, false), "{reset:?}");
        assert_ne!(again.id, first.id);
        read_to(&mut source, &again, 10).await;
    }
}

#[tokio::test]
async fn a_topic_that_is_gone_is_a_trouble_until_it_is_there() {
    let scene = Scene::new(1).await;
    let properties = [("metadata.max.age.ms", "1000")];
    let mut source = scene.source(OffsetReset::Earliest, &properties).await;
    assigned(&mut source).await;
    let place = Place::Source("t".into());
    scene.broker.delete_topic("t").unwrap();
    scene.troubled(place.clone(), true).await;
    // The group assigns nothing, and the topic is still looked for.
    while !matches!(next(&mut source).await, SourceEvent::Assigned(assigned) if assigned.is_empty()) {}
    scene.troubled(place.clone(), true).await;
    scene.broker.create_topic("t", 1, &[]).unwrap();
    scene.troubled(place, false).await;
    source.close().await;
    assert_eq!(scene.troubles.now(), []);
}

#[tokio::test]
async fn what_remote_storage_does_not_give_is_waited_for_and_not_passed_over() {
    let scene = Scene::new(1).await;
    scene.produce(0, 10).await;
    scene.broker.hold_remote("t", 0, 6).unwrap();
    let mut source = scene.source(OffsetReset::Earliest, &[("fetch.max.wait.ms", "200")]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    // For longer than it takes to believe that the log has nothing there.
    scene.troubled(Place::Fetch(place(0)), true).await;
    let came = timeout(Duration::from_secs(2), source.next(&Room::open())).await;
    assert!(came.is_err(), "nothing can be read there: {came:?}");
    let (client, budget) = (&scene.client, Budget::new(1 << 20));
    let mut reader = Reader::new(client, place(0), 0, 10, Isolation::ReadCommitted, budget);
    let read = timeout(Duration::from_secs(3), reader.next()).await;
    assert!(read.is_err(), "nor is it the end of the log: {read:?}");
    scene.broker.hold_remote("t", 0, 0).unwrap();
    let mut records = 0;
    while records < 10 {
        let SourceEvent::Batch(batch, _) = next(&mut source).await else { panic!() };
        assert_eq!(batch.assignment, first.id);
        records += batch.records.len();
    }
    scene.troubled(Place::Fetch(place(0)), false).await;
}

#[tokio::test]
async fn a_static_leader_that_comes_back_shares_out_what_came_while_it_was_away() {
    let scene = Scene::new(1).await;
    let fixed = [("group.instance.id", "one")];
    let mut source = scene.source(OffsetReset::Earliest, &fixed).await;
    assert_eq!(assigned(&mut source).await.len(), 1);
    source.close().await;
    scene.broker.add_partitions("t", 3).unwrap();
    let mut source = scene.source(OffsetReset::Earliest, &fixed).await;
    let mut places = BTreeSet::new();
    while places.len() < 3 {
        match next(&mut source).await {
            SourceEvent::Assigned(assigned) => places.extend(assigned.into_iter().map(|a| a.partition)),
            SourceEvent::Revoked { release, .. } => drop(release),
            other => panic!("{other:?}"),
        }
    }
}
