//! Reading again from what is committed, and leaving partitions out.

use super::*;

fn joins(scene: &Scene) -> u64 {
    scene.broker.seen(ApiKey::JoinGroup).requests
}

#[tokio::test]
async fn a_partition_is_read_again_from_its_committed_offset_without_a_rebalance() {
    let scene = Scene::new(2).await;
    scene.produce(0, 10).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let all = assigned(&mut source).await;
    let [first, other] = &all[..] else { panic!("{all:?}") };
    read_to(&mut source, first, 10).await;
    commit(&source, first, 4).await;
    let before = joins(&scene);
    scene.produce(0, 20).await;
    source.rewind(vec![first.partition.clone(), TopicPartition::new("t", 9)]).await;
    let [second] = &assigned(&mut source).await[..] else { panic!() };
    assert_eq!((&second.partition, second.position, second.is_committed), (&first.partition, 4, true));
    assert!(second.id > other.id);
    read_to(&mut source, second, 30).await;
    // Nothing counts for the old assignment, everything for the new one.
    commit(&source, first, 30).await;
    assert_eq!(scene.client.committed("g", "t").await.unwrap()[&0], 4);
    commit(&source, second, 30).await;
    commit(&source, other, 0).await;
    assert_eq!(scene.client.committed("g", "t").await.unwrap(), [(0, 30), (1, 0)].into());
    assert_eq!(joins(&scene), before);
}

#[tokio::test]
async fn nothing_of_the_old_assignment_comes_once_a_rewind_returns() {
    let scene = Scene::new(1).await;
    scene.produce(0, 400).await;
    let mut source = scene.source(OffsetReset::Earliest, &[("fetch.max.bytes", "1024")]).await;
    let mut current = assigned(&mut source).await.remove(0);
    let mut reached = 0;
    for round in 0..20 {
        // Wherever it is: in the queue, being fetched, being looked for.
        for _ in 0..round % 4 {
            if let SourceEvent::Batch(batch, _) = next(&mut source).await {
                reached = batch.next_offset;
            }
        }
        if round % 3 == 0 {
            commit(&source, &current, reached.max(current.position)).await;
        }
        source.rewind(vec![place(0)]).await;
        if round % 5 == 0 {
            source.rewind(vec![place(0)]).await;
        }
        let again = assigned(&mut source).await;
        assert_eq!(again.len(), 1);
        assert!(again[0].id > current.id);
        current = again[0].clone();
        reached = current.position;
    }
    read_to(&mut source, &current, 400).await;
}

#[tokio::test]
async fn a_rewind_waits_for_a_coordinator_that_is_away() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let scene = Scene::new(1).await;
    scene.produce(0, 6).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    commit(&source, first, 2).await;
    let away = scene
        .broker
        .inject(Fault::always(ApiKey::OffsetFetch, FaultAction::Error(COORDINATOR_NOT_AVAILABLE)));
    source.rewind(vec![place(0)]).await;
    scene.troubled(Place::Fetch(place(0)), true).await;
    assert!(timeout(Duration::from_millis(300), source.next(&Room::open())).await.is_err());
    scene.broker.lift(away);
    let [second] = &assigned(&mut source).await[..] else { panic!() };
    assert_eq!((second.position, second.is_committed), (2, true));
    read_to(&mut source, second, 6).await;
    scene.troubled(Place::Fetch(place(0)), false).await;
}

#[tokio::test]
async fn a_revoke_that_comes_meanwhile_wins_over_a_rewind() {
    const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
    let scene = Scene::new(1).await;
    let properties = [("heartbeat.interval.ms", "50")];
    let mut first = scene.source(OffsetReset::Earliest, &properties).await;
    assert_eq!(assigned(&mut first).await.len(), 1);
    let loading = Fault::always(ApiKey::OffsetFetch, FaultAction::Error(COORDINATOR_LOAD_IN_PROGRESS));
    let loading = scene.broker.inject(loading);
    first.rewind(vec![place(0)]).await;
    let _second = scene.source(OffsetReset::Earliest, &properties).await;
    let SourceEvent::Revoked { partitions, release } = next(&mut first).await else { panic!() };
    assert_eq!(partitions, [place(0)]);
    scene.broker.lift(loading);
    // While it is being given up, the partition is not assigned again, nor can it be rewound.
    first.rewind(vec![place(0)]).await;
    assert!(timeout(Duration::from_millis(300), first.next(&Room::open())).await.is_err());
    drop(release);
}

#[tokio::test]
async fn a_partition_that_is_full_is_left_out_of_fetching_and_comes_back_at_once() {
    let scene = Scene::new(2).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let mut all = Vec::new();
    while all.len() < 2 {
        all.extend(assigned(&mut source).await);
    }
    let room = Room { full: [place(0)].into(), ..Room::open() };
    // What is being fetched may still come: longer than a request waits for records.
    assert!(timeout(Duration::from_millis(1200), source.next(&room)).await.is_err());
    scene.produce(0, 4).await;
    scene.produce(1, 4).await;
    let mut read = 0;
    while read < 4 {
        let SourceEvent::Batch(batch, _) = next_in(&mut source, &room).await else { panic!() };
        assert_eq!(batch.origin, place(1));
        read = batch.next_offset;
    }
    assert!(timeout(Duration::from_millis(300), source.next(&room)).await.is_err());
    let full = all.iter().find(|assigned| assigned.partition == place(0)).unwrap();
    read_to(&mut source, full, 4).await;
}
