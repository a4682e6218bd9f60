//! What goes wrong with the group and with fetching.

use super::*;

#[tokio::test]
async fn a_member_that_cannot_join_says_so_and_goes_on() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let scene = Scene::new(1).await;
    let away = Fault::always(ApiKey::JoinGroup, FaultAction::Error(COORDINATOR_NOT_AVAILABLE));
    let away = scene.broker.inject(away);
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    scene.troubled(Place::Group, true).await;
    scene.broker.lift(away);
    assert_eq!(assigned(&mut source).await.len(), 1);
    scene.troubled(Place::Group, false).await;
}

#[tokio::test]
async fn a_coordinator_that_takes_nobody_in_is_not_asked_without_a_pause() {
    const UNKNOWN_MEMBER_ID: i16 = 25;
    let scene = Scene::new(1).await;
    let refuses = Fault::always(ApiKey::JoinGroup, FaultAction::Error(UNKNOWN_MEMBER_ID));
    let refuses = scene.broker.inject(refuses);
    let mut source = scene.source(OffsetReset::Earliest, &[("retry.backoff.ms", "100")]).await;
    scene.troubled(Place::Group, true).await;
    assert!(timeout(Duration::from_secs(2), source.next(&Room::open())).await.is_err());
    let asked = scene.broker.seen(ApiKey::JoinGroup).requests;
    assert!(asked < 20, "{asked} times in two seconds");
    scene.broker.lift(refuses);
    assert_eq!(assigned(&mut source).await.len(), 1);
    scene.troubled(Place::Group, false).await;
}

#[tokio::test]
async fn a_group_that_was_removed_is_joined_anew() {
    const GROUP_ID_NOT_FOUND: i16 = 69;
    let scene = Scene::new(1).await;
    let mut source = scene.source(OffsetReset::Earliest, &[("heartbeat.interval.ms", "50")]).await;
    assigned(&mut source).await;
    scene.broker.inject(Fault::once(ApiKey::Heartbeat, FaultAction::Error(GROUP_ID_NOT_FOUND)));
    assert!(matches!(next(&mut source).await, SourceEvent::Lost(_)));
    assigned(&mut source).await;
}

#[tokio::test]
async fn a_leader_that_runs_out_of_time_joins_again() {
    let scene = Scene::new(1).await;
    // The leader counts partitions by what the cluster says at that time.
    let properties =
        [("max.poll.interval.ms", "1000"), ("session.timeout.ms", "1000"), ("heartbeat.interval.ms", "100")];
    let client = Client::connect(&scene.settings).await.unwrap();
    let frozen = scene.broker.inject(Fault::always(ApiKey::Metadata, FaultAction::Freeze));
    let mut source = scene.source_of(&client, OffsetReset::Earliest, &properties).await;
    let waited = timeout(Duration::from_secs(4), source.next(&Room::open())).await;
    assert!(waited.is_err(), "nobody has an assignment of nothing: {waited:?}");
    scene.broker.lift(frozen);
    assert_eq!(assigned(&mut source).await.len(), 1);
}

#[tokio::test]
async fn a_join_that_is_never_answered_loses_what_the_member_has_after_a_session() {
    let scene = Scene::new(1).await;
    let properties = [
        ("partition.assignment.strategy", "cooperative-sticky"),
        ("session.timeout.ms", "1000"),
        ("heartbeat.interval.ms", "100"),
    ];
    let mut source = scene.source(OffsetReset::Earliest, &properties).await;
    assert_eq!(assigned(&mut source).await.len(), 1);
    // The coordinator asks for a rebalance and vanishes: the join takes five minutes by itself.
    const REBALANCE_IN_PROGRESS: i16 = 27;
    let join = scene.broker.inject(Fault::always(ApiKey::JoinGroup, FaultAction::Freeze));
    scene.broker.inject(Fault::once(ApiKey::Heartbeat, FaultAction::Error(REBALANCE_IN_PROGRESS)));
    let heart = scene.broker.inject(Fault::always(ApiKey::Heartbeat, FaultAction::Freeze).after(1));
    assert!(matches!(next(&mut source).await, SourceEvent::Lost(_)));
    scene.troubled(Place::Group, true).await;
    scene.broker.lift(join);
    scene.broker.lift(heart);
    assert_eq!(assigned(&mut source).await.len(), 1);
    scene.troubled(Place::Group, false).await;
}

#[tokio::test]
async fn a_member_that_could_not_leave_comes_back_as_itself() {
    let scene = Scene::new(1).await;
    let source = async || scene.source_of(&scene.client, OffsetReset::Earliest, &[]).await;
    let mut first = source().await;
    assigned(&mut first).await;
    let before = scene.client.group("g").await.unwrap().members;
    // Its session is 45 s long.
    let away = scene.broker.inject(Fault::always(ApiKey::LeaveGroup, FaultAction::Close));
    first.close().await;
    scene.broker.lift(away);
    let mut second = source().await;
    let limit = Duration::from_secs(20);
    let again = timeout(limit, second.next(&Room::open())).await.expect("its own session is not waited for");
    assert!(matches!(again, Ok(SourceEvent::Assigned(_))), "{again:?}");
    assert_eq!(scene.client.group("g").await.unwrap().members, before);
    // One that has left is a new one.
    second.close().await;
    let mut third = source().await;
    assigned(&mut third).await;
    assert_ne!(scene.client.group("g").await.unwrap().members, before);
}

#[tokio::test]
async fn a_commit_that_the_coordinator_does_not_take_is_a_trouble() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let scene = Scene::new(1).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    let away = Fault::always(ApiKey::OffsetCommit, FaultAction::Error(COORDINATOR_NOT_AVAILABLE));
    let away = scene.broker.inject(away);
    let committing = commit(&source, first, 0);
    let troubled = async {
        scene.troubled(Place::Commit, true).await;
        scene.broker.lift(away);
    };
    timeout(LIMIT, async { tokio::join!(committing, troubled) }).await.unwrap();
    scene.troubled(Place::Commit, false).await;
}

#[tokio::test]
async fn a_commit_that_is_given_back_is_reported_by_who_gets_it() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let scene = Scene::new(1).await;
    let mut source = scene.source(OffsetReset::Earliest, &[("default.api.timeout.ms", "500")]).await;
    let [first] = &assigned(&mut source).await[..] else { panic!() };
    let away = FaultAction::Error(COORDINATOR_NOT_AVAILABLE);
    scene.broker.inject(Fault::always(ApiKey::OffsetCommit, away));
    let Assignment { partition, id: assignment, .. } = first.clone();
    let offset = Offset { partition, assignment, next: 1, leader_epoch: -1 };
    let before = scene.broker.seen(ApiKey::OffsetCommit).requests;
    timeout(LIMIT, source.commit(vec![offset])).await.unwrap().unwrap_err();
    let asked = scene.broker.seen(ApiKey::OffsetCommit).requests - before;
    let reported = scene.troubles.now().into_iter().find(|(place, _)| *place == Place::Commit).unwrap().1;
    assert_eq!(reported.attempts + 1, asked, "the last one is the caller's");
}

#[tokio::test]
async fn a_commit_that_is_refused_of_one_partition_holds_for_the_others() {
    const COORDINATOR_NOT_AVAILABLE: i16 = 15;
    let scene = Scene::new(2).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let mut all = Vec::new();
    while all.len() < 2 {
        all.extend(assigned(&mut source).await);
    }
    all.sort_by_key(|assigned| assigned.partition.partition);
    let offset = |assigned: &Assignment, next| Offset {
        partition: assigned.partition.clone(),
        assignment: assigned.id,
        next,
        leader_epoch: -1,
    };
    let both = || vec![offset(&all[0], 1), offset(&all[1], 1)];
    let refused = FaultAction::Error(COORDINATOR_NOT_AVAILABLE);
    let refused = scene.broker.inject(Fault::always(ApiKey::OffsetCommit, refused).on_partition("t", 0));
    let agreed = timeout(LIMIT, source.commit(both())).await.expect("nobody waits for the other").unwrap();
    assert_eq!(agreed, both()[1..]);
    // Alone it is not tried for so long that the others wait for it.
    let alone = timeout(LIMIT / 2, source.commit(both()[..1].to_vec())).await.expect("it is given back");
    assert_eq!(alone.unwrap_err().kind, ErrorKind::Retriable);
    scene.troubled(Place::Commit, true).await;
    scene.broker.lift(refused);
    assert_eq!(source.commit(both()).await.unwrap(), both());
    scene.troubled(Place::Commit, false).await;
    // What was never this member's is not committed by anybody.
    let over = Offset { assignment: topicmill_mill::batch::AssignmentId(u64::MAX), ..offset(&all[0], 2) };
    assert_eq!(source.commit(vec![over]).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_revoked_of_a_topic_that_was_deleted_is_not_waited_for() {
    let scene = Scene::new(1).await;
    let mut of = source_settings();
    (of.troubles, of.revoke_timeout) = (scene.troubles.clone(), LIMIT);
    let settings = scene.with(&[("metadata.max.age.ms", "1000"), ("heartbeat.interval.ms", "100")]);
    let client = Client::connect(&settings).await.unwrap();
    let mut source = NativeSource::new(&client, &settings, of).await.unwrap();
    assigned(&mut source).await;
    scene.broker.delete_topic("t").unwrap();
    // What is under way of it is never committed, so that nobody lets go.
    let SourceEvent::Revoked { release, .. } = next(&mut source).await else { panic!() };
    let lost = timeout(LIMIT / 3, source.next(&Room::open())).await.expect("it is not waited for").unwrap();
    assert!(matches!(lost, SourceEvent::Lost(_)), "{lost:?}");
    assert!(release.is_closed());
    scene.troubled(Place::Source("t".into()), true).await;
}

#[tokio::test]
async fn a_partition_that_cannot_be_fetched_is_a_trouble_of_its_own() {
    const KAFKA_STORAGE_ERROR: i16 = 56;
    let scene = Scene::new(2).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    let mut all = Vec::new();
    while all.len() < 2 {
        all.extend(assigned(&mut source).await);
    }
    let fault = Fault::always(ApiKey::Fetch, FaultAction::Error(KAFKA_STORAGE_ERROR)).on_partition("t", 0);
    let fault = scene.broker.inject(fault);
    scene.troubled(Place::Fetch(place(0)), true).await;
    scene.produce(1, 4).await;
    let well = all.iter().find(|assigned| assigned.partition == place(1)).unwrap();
    read_to(&mut source, well, 4).await;
    scene.broker.lift(fault);
    scene.troubled(Place::Fetch(place(0)), false).await;
    assert_eq!(scene.troubles.now(), []);
}

#[tokio::test]
async fn the_end_of_the_tasks_that_fetch_is_an_error_of_the_source() {
    let scene = Scene::new(1).await;
    let mut source = scene.source(OffsetReset::Earliest, &[]).await;
    assigned(&mut source).await;
    // As when the task that hands out batches has panicked.
    let (gone, batches) = mpsc::channel(1);
    drop(gone);
    source.batches = batches;
    let (event, events) = mpsc::channel(1);
    event.try_send(Err(EngineError::new(ErrorKind::Retriable, "the fetcher has ended"))).unwrap();
    source.events = events;
    let error = timeout(LIMIT, source.next(&Room::open())).await.unwrap().unwrap_err();
    assert_eq!((error.kind, &*error.message), (ErrorKind::Retriable, "the fetcher has ended"));
    drop(event);
    let error = timeout(LIMIT, source.next(&Room::closed())).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Retriable);
}
