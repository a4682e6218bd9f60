//! Fills a source topic so that it has the shape that was asked for.

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use topicmill_generate::{EventMaker, KeySource, Keys};
use topicmill_kafka::{Client, NativeSink};
use topicmill_mill::{
    batch::{OutputBatch, TopicPartition},
    clock,
    engine::{ClientSettings, Sink, Troubles},
};
use topicmill_records::{EncodedBatch, NO_HEADERS, RecordWriter};

use super::{BenchError, matrix::Shape};

/// The most batches in flight.
const ON_THE_WAY: usize = 64;

/// A source topic with its events.
#[derive(Clone, Debug)]
pub struct Source {
    /// The topic.
    pub topic: String,
    /// How many events it holds.
    pub events: u64,
    /// The encoded bytes of the records, framing included, before compression.
    pub bytes: u64,
}

/// Creates the topic and writes `events` events as batches of exactly the shape's records, the
/// partitions in turn.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn fill(
    client: &Client,
    settings: &ClientSettings,
    topic: &str,
    shape: Shape,
    events: u64,
) -> Result<Source, BenchError> {
    client.create_topic(topic, shape.partitions, None, &[]).await?;
    let mut settings = settings.clone();
    let properties = [
        ("compression.type", shape.codec.as_str()),
        // Batches stay as they are.
        ("batch.size", "1"),
        ("linger.ms", "0"),
    ];
    settings.properties.extend(properties.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let mut sink = NativeSink::new(client, &settings, Troubles::default()).await?;
    let name: Arc<str> = topic.into();
    let mut maker = BatchMaker::new(shape);
    let mut acknowledgements = FuturesUnordered::new();
    let (mut left, mut bytes, mut turn) = (events, 0, 0);
    while left > 0 {
        let count = left.min(shape.batch_records() as u64);
        let batch = maker.batch(count as usize);
        bytes += batch.bytes.len() as u64;
        let destination = TopicPartition::new(Arc::clone(&name), turn);
        acknowledgements.push(sink.send(OutputBatch {
            destination,
            chunks: vec![batch],
            ..OutputBatch::default()
        }));
        while acknowledgements.len() >= ON_THE_WAY {
            acknowledgements.next().await.transpose()?;
        }
        turn = (turn + 1) % shape.partitions;
        left -= count;
    }
    while acknowledgements.next().await.transpose()?.is_some() {}
    sink.close().await;
    Ok(Source { topic: topic.to_owned(), events, bytes })
}

/// Makes batches of a given number of events of a given size.
struct BatchMaker {
    natural: EventMaker,
    shape: Shape,
    made: u64,
}

impl BatchMaker {
    fn new(shape: Shape) -> BatchMaker {
        BatchMaker { natural: EventMaker::new(0, KeySource::new(Keys::None)), shape, made: 0 }
    }

    fn batch(&mut self, count: usize) -> EncodedBatch {
        let now = clock::now_ms();
        let mut writers = [RecordWriter::new(usize::MAX, count * (self.shape.value + 32))];
        if self.shape.is_natural() {
            self.natural.write(count, now, &mut writers, |_| 0);
        } else {
            for _ in 0..count {
                let value = self.large();
                writers[0].push(now, None, Some(&[value.as_bytes()]), NO_HEADERS);
            }
        }
        let [writer] = writers;
        writer.finish().pop().unwrap_or_default()
    }

    /// An event of exactly the size, each with another text, so that it compresses as text does
    /// and not as a repetition.
    fn large(&mut self) -> String {
        const FRAME: usize = r#"{"first_name":"","last_name":""}"#.len();
        let room = self.shape.value.saturating_sub(FRAME);
        let mut text = String::with_capacity(room + 20);
        let mut state = self.made;
        self.made += 1;
        while text.len() < room {
            // The splitmix64 sequence, as words of letters.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut bits = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            for _ in 0..6 {
                text.push(char::from(b'a' + (bits % 16) as u8));
                bits >>= 9;
            }
            text.push(' ');
        }
        text.truncate(room);
        let (first, last) = text.split_at(room / 2);
        format!(r#"{{"first_name":"{first}","last_name":"{last}"}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_the_records_and_the_size_asked_for() {
        let mut maker = BatchMaker::new(Shape { value: 1000, ..Shape::BASE });
        let value = maker.large();
        assert_eq!(value.len(), 1000);
        assert!(serde_json::from_str::<serde_json::Value>(&value).unwrap()["last_name"].is_string());
        assert_ne!(maker.large(), value);
        let batch = maker.batch(700);
        assert_eq!(batch.count, 700);
        assert!(batch.bytes.len() > 700_000);
        assert_eq!(BatchMaker::new(Shape::BASE).batch(10_000).count, 10_000);
    }
}
