//! Writes the end of a transaction to all that it has written to: control batches into the logs
//! (KIP-98), and to groups whether their pending offsets count.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use topicmill_records::{BatchHeader, Compression, NO_HEADERS, ProducerStamp, RecordWriter, layout};

use super::state::{Marker, Outcome, Participant};
use crate::core::Core;

/// The size in bytes that is enough for a control batch.
const SIZE: usize = 256;

/// Writes the end of a transaction and returns the participants that cannot take it yet.
pub fn write(core: &Core, marker: Marker, participants: &BTreeSet<Participant>) -> BTreeSet<Participant> {
    let (header, bytes) = control_batch(marker, now_ms());
    let cannot = |participant: &&Participant| match participant {
        Participant::Group(group) => {
            core.groups.end_transaction(group, marker.producer.id, marker.outcome);
            false
        }
        Participant::Partition(topic, number) => {
            // A topic that was deleted has nothing to end.
            let Some(topic) = core.topics.get(topic) else { return false };
            let Some(partition) = topic.partition(*number) else { return false };
            match partition.append_end(marker, &header, bytes.clone()) {
                Ok(()) => false,
                Err(error) => {
                    tracing::debug!(topic = %topic.name, partition = number, %error, "no end was written");
                    error == ResponseError::NotLeaderOrFollower
                }
            }
        }
    };
    participants.iter().filter(cannot).cloned().collect()
}

/// The control batch that ends a transaction: one record, whose key is a version and a type, its
/// value a version and the coordinator's epoch.
fn control_batch(marker: Marker, now_ms: i64) -> (BatchHeader, Bytes) {
    let kind = match marker.outcome {
        Outcome::Abort => 0,
        Outcome::Commit => 1,
    };
    let mut writer = RecordWriter::new(SIZE, SIZE);
    writer.push(now_ms, Some(&[0, 0, 0, kind]), Some(&[&[0; 6]]), NO_HEADERS);
    let [batch] = writer.finish().try_into().expect("one record makes one batch");
    let stamp = ProducerStamp {
        producer_id: marker.producer.id,
        epoch: marker.producer.epoch,
        base_sequence: -1,
        transactional: true,
    };
    let mut bytes = BytesMut::from(&batch.seal(stamp, Compression::None)[..]);
    let attributes = layout::TRANSACTIONAL | layout::CONTROL;
    layout::ATTRIBUTES.put(&mut bytes, attributes.to_be_bytes());
    layout::put_crc(&mut bytes);
    let bytes = bytes.freeze();
    (BatchHeader::read(&bytes).expect("it was just written"), bytes)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}
