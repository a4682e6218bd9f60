//! Offsets that were committed and that the log does not have, or has no longer.

use super::*;

/// A member commits the offset 77, which the log does not have, and leaves.
async fn leaves_at_77(stage: &Stage, source: NativeSource, mut seen: Seen) {
    seen.held.get_mut(&stage.partition(0)).unwrap().1 = 77;
    seen.commit(&source).await.unwrap();
    source.close().await;
}

const POLICIES: [OffsetReset; 3] = [OffsetReset::Earliest, OffsetReset::Latest, OffsetReset::None];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_the_log_does_not_have_begins_again_whatever_the_policy() {
    let stage = Stage::new(1).await;
    let (mut source, mut seen) = (stage.source(&[]).await, Seen::default());
    let event = next(&mut source).await;
    seen.take(&source, event).await;
    // Nothing was read: the offset is committed without a leader epoch.
    leaves_at_77(&stage, source, seen).await;
    stage.produce(0, 0..10).await;
    for policy in POLICIES {
        let (mut source, mut seen) = (stage.source_with(&[], policy).await, Seen::default());
        read(&mut source, &mut seen, 10).await;
        assert!(seen.read[&0].iter().copied().eq(0..10), "{policy:?}");
        source.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_beyond_the_end_of_its_epoch_goes_on_where_that_ends_whatever_the_policy() {
    let stage = Stage::new(1).await;
    stage.produce(0, 0..10).await;
    let (mut source, mut seen) = (stage.source(&[]).await, Seen::default());
    read(&mut source, &mut seen, 10).await;
    leaves_at_77(&stage, source, seen).await;
    for (policy, from) in POLICIES.into_iter().zip([10, 20, 30]) {
        let (mut source, mut seen) = (stage.source_with(&[], policy).await, Seen::default());
        // All of the log is of one epoch; nobody commits what is read here.
        while seen.held.get(&stage.partition(0)).is_none_or(|(_, position)| *position != from as i64) {
            let event = next(&mut source).await;
            seen.take(&source, event).await;
        }
        stage.produce(0, from..from + 10).await;
        read(&mut source, &mut seen, 10).await;
        assert!(seen.read[&0].iter().copied().eq(from..from + 10), "{policy:?}");
        source.close().await;
    }
}
