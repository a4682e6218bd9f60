use std::{
    collections::BTreeMap,
    future::{pending, ready},
    sync::Mutex,
};

use topicmill_mill::{
    batch::{AssignmentId, OutputBatch, TopicPartition},
    engine::{ErrorKind, Receipt, Refusal},
    transform::{ErrorClass, ValueError},
};
use topicmill_records::partition_of;

use super::*;

/// What a [`MemorySink`] answers to a batch.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    Acknowledge,
    Refuse,
    Fail,
    Never,
}

struct MemorySink {
    batches: Arc<Mutex<Vec<OutputBatch>>>,
    answer: Answer,
}

impl Sink for MemorySink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        self.batches.lock().unwrap().push(batch);
        let answer = self.answer;
        async move {
            match answer {
                Answer::Acknowledge => Ok(Receipt::default()),
                Answer::Refuse => {
                    let error = ValueError::new(ErrorClass::Refused, "no");
                    Ok(Receipt { refused: vec![Refusal { index: 0, error }] })
                }
                Answer::Fail => Err(EngineError::new(ErrorKind::Retriable, "gone")),
                Answer::Never => pending().await,
            }
        }
    }

    fn forget(&mut self, _origin: &TopicPartition, _assignment: AssignmentId) {}

    async fn close(self) {}
}

type Batches = Arc<Mutex<Vec<OutputBatch>>>;

fn sink(answer: Answer) -> (MemorySink, Batches) {
    let batches = Batches::default();
    (MemorySink { batches: Arc::clone(&batches), answer }, batches)
}

fn settings(count: Option<u64>) -> GenerateSettings {
    GenerateSettings { topic: "t".into(), partitions: 1, count, rate: None, seed: 5, keys: Keys::None }
}

fn per_partition(batches: &Batches) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    for batch in batches.lock().unwrap().iter() {
        *counts.entry(batch.destination.partition).or_default() += batch.record_count();
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_count_is_exact_and_spread_over_the_partitions() {
    let (memory, batches) = sink(Answer::Acknowledge);
    let summary = into_sink(memory, &settings(Some(100_001)), 3, pending(), |_| ()).await.unwrap();
    let counts = per_partition(&batches);
    assert_eq!(summary.events, 100_001);
    assert_eq!(counts.values().sum::<usize>(), 100_001);
    assert_eq!(counts.len(), 3);
    let chunks: Vec<_> = batches.lock().unwrap().drain(..).flat_map(|batch| batch.chunks).collect();
    assert!(chunks.iter().all(|chunk| chunk.bytes.len() <= 1_000_000));
    assert_eq!(summary.bytes, chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum::<u64>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn keyed_events_go_to_their_keys_partition() {
    let (memory, batches) = sink(Answer::Acknowledge);
    let settings = GenerateSettings { keys: Keys::Sequence, ..settings(Some(1_000)) };
    into_sink(memory, &settings, 4, pending(), |_| ()).await.unwrap();
    let mut expected = BTreeMap::new();
    for number in 0..1_000 {
        *expected.entry(partition_of(number.to_string().as_bytes(), 4) as i32).or_default() += 1;
    }
    assert_eq!(per_partition(&batches), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_flushes_what_was_made() {
    let (memory, batches) = sink(Answer::Acknowledge);
    let summary = into_sink(memory, &settings(None), 1, ready(()), |_| ()).await.unwrap();
    assert_eq!(summary.events, per_partition(&batches).values().sum::<usize>() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_acknowledgements_the_generator_waits() {
    let (memory, batches) = sink(Answer::Never);
    let settings = settings(None);
    let endless = into_sink(memory, &settings, 1, pending(), |_| ());
    assert!(tokio::time::timeout(Duration::from_millis(500), endless).await.is_err());
    let size: usize = batches.lock().unwrap().iter().map(OutputBatch::size).sum();
    assert!(size < OUTSTANDING_BYTES_MAX + 2_000_000, "{size}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_failed_delivery_is_an_error_and_so_is_a_refusal() {
    let failed = into_sink(sink(Answer::Fail).0, &settings(None), 1, pending(), |_| ()).await;
    assert_eq!(failed.unwrap_err().to_string(), "gone");
    let refused = into_sink(sink(Answer::Refuse).0, &settings(None), 1, pending(), |_| ()).await;
    assert_eq!(refused.unwrap_err().to_string(), "t refused 1 events: refused: no");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_rate_makes_small_batches() {
    let (memory, batches) = sink(Answer::Acknowledge);
    let settings = GenerateSettings { rate: Some(20_000.0), ..settings(Some(2_000)) };
    let summary = into_sink(memory, &settings, 1, pending(), |_| ()).await.unwrap();
    assert!(summary.elapsed >= Duration::from_millis(95));
    assert!(batches.lock().unwrap().len() >= 5);
}

#[test]
fn the_summary_says_it_all_in_a_line() {
    let summary = Summary {
        events: 1_000,
        bytes: 53_000,
        elapsed: Duration::from_millis(500),
        cpu: Some(Duration::from_millis(10)),
    };
    let line = "1000 events in 0.500 s: 2000 events/s, 0.1 MB/s, 10.000 CPU µs/event";
    assert_eq!(summary.to_string(), line);
}

#[test]
fn only_a_generator_without_rate_sends_one_request_at_a_time() {
    let client = |in_flight: Option<&str>| ClientSettings {
        brokers: Vec::new(),
        properties: in_flight.map(|value| (IN_FLIGHT.to_owned(), value.to_owned())).into_iter().collect(),
        connect_timeout: Duration::from_secs(1),
    };
    let in_flight = |client: ClientSettings| client.properties.get(IN_FLIGHT).cloned();
    assert_eq!(in_flight(taking_turns(&client(None), None)).as_deref(), Some("1"));
    assert_eq!(in_flight(taking_turns(&client(Some("5")), None)).as_deref(), Some("5"));
    assert_eq!(in_flight(taking_turns(&client(None), Some(1e5))), None);
}
