//! The thread that makes batches of events.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use tokio::sync::mpsc;
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    clock,
};
use topicmill_records::{RecordWriter, partition_of};

use super::{EventMaker, GenerateSettings, KeySource, Keys, events::EVENT_SIZE_MAX, pace::Pace};

/// The largest batch in bytes: below the 1 MiB that brokers accept by default.
const BATCH_BYTES_MAX: usize = 1_000_000;

/// The events of a block: 270 KB of them. Larger ones would be no faster, and would take more than
/// their turn in the queue of a broker that a transformer uses too.
const BLOCK_EVENTS_MAX: u64 = 4_000;

/// The events that share one reading of the clock.
const EVENTS_PER_TIMESTAMP: u64 = 256;

/// Starts the thread. It ends when the count is reached, `stopped` is set, or `out` is closed;
/// everything that it made until then has been sent to `out`.
pub(super) fn start(
    settings: &GenerateSettings,
    partitions: i32,
    stopped: Arc<AtomicBool>,
    out: mpsc::Sender<OutputBatch>,
) -> std::io::Result<()> {
    let mut producer = Producer::new(settings, partitions);
    let mut pace = settings.rate.map(Pace::new);
    let mut left = settings.count.unwrap_or(u64::MAX);
    let run = move || {
        let started = Instant::now();
        while left > 0 && !stopped.load(Ordering::Relaxed) {
            let mut block = left.min(BLOCK_EVENTS_MAX);
            if let Some(pace) = &mut pace {
                block = block.min(pace.due(started.elapsed()));
                if block == 0 {
                    thread::sleep(pace.wait(started.elapsed()));
                    continue;
                }
                pace.made(block);
            }
            left -= block;
            if producer.block(block).into_iter().any(|batch| out.blocking_send(batch).is_err()) {
                return;
            }
        }
    };
    thread::Builder::new().name("generate".into()).spawn(run).map(drop)
}

/// Makes blocks of events and spreads them over the partitions.
struct Producer {
    maker: EventMaker,
    destinations: Vec<TopicPartition>,
    keyed: bool,
    turn: usize,
}

impl Producer {
    fn new(settings: &GenerateSettings, partitions: i32) -> Producer {
        let topic: Arc<str> = settings.topic.as_str().into();
        let destination = |partition| TopicPartition::new(Arc::clone(&topic), partition);
        Producer {
            maker: EventMaker::new(settings.seed, KeySource::new(settings.keys)),
            destinations: (0..partitions.max(1)).map(destination).collect(),
            keyed: settings.keys != Keys::None,
            turn: 0,
        }
    }

    /// The next `count` events. With keys, each goes to its key's partition; without, the whole
    /// block goes to the next partition in turn.
    fn block(&mut self, count: u64) -> Vec<OutputBatch> {
        let partitions = self.destinations.len();
        let targets = if self.keyed { partitions } else { 1 };
        let capacity = count as usize * EVENT_SIZE_MAX / targets;
        let mut writers: Vec<_> =
            (0..targets).map(|_| RecordWriter::new(BATCH_BYTES_MAX, capacity)).collect();
        let mut left = count;
        while left > 0 {
            let run = left.min(EVENTS_PER_TIMESTAMP);
            let choose = |key: Option<&[u8]>| key.map_or(0, |key| partition_of(key, partitions));
            self.maker.write(run as usize, clock::now_ms(), &mut writers, choose);
            left -= run;
        }
        let first = if self.keyed { 0 } else { self.turn };
        self.turn = (self.turn + 1) % partitions;
        let output = |(index, writer): (usize, RecordWriter)| OutputBatch {
            destination: self.destinations[first + index].clone(),
            chunks: writer.finish(),
            ..OutputBatch::default()
        };
        writers.into_iter().enumerate().map(output).filter(|batch| batch.record_count() > 0).collect()
    }
}
