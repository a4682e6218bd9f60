//! A produce request for one batch of one partition, and what its answer means.
//!
//! The request is assembled by hand so that the batch is written from where it lies: a codec
//! would copy it once more.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, ProduceRequest, ProduceResponse},
    protocol::HeaderVersion,
};

use crate::{
    batch::TopicPartition,
    engine::native::{
        connection::Connection,
        error::{KafkaError, Remedy, WireError, check},
        reply::Reply,
    },
};

/// From this version on lengths are compact and structures end with tagged fields (KIP-482).
const FLEXIBLE: i16 = 9;

/// `acks=all`: every in-sync replica has the batch before the answer comes.
const ACKS_ALL: i16 = -1;

/// Queues a sealed batch for its partition.
pub async fn send(
    connection: &Connection,
    to: &TopicPartition,
    batch: &Bytes,
    timeout: Duration,
) -> Result<Reply<ProduceResponse>, WireError> {
    let version = connection.version(ApiKey::Produce)?;
    let header_version = ProduceRequest::header_version(version);
    let mut head = connection.head(ApiKey::Produce, version, header_version, 64 + to.topic.len());
    // The broker gives up a little before this side does, so that its answer is still heard.
    let broker_timeout = timeout.as_millis() * 9 / 10;
    let tail = put_fields(&mut head.bytes, version, to, batch.len(), broker_timeout as i32);
    connection.send_parts(head, batch.clone(), Bytes::from_static(tail), timeout).await
}

/// Writes the fields before the batch and returns the bytes after it.
fn put_fields(
    out: &mut BytesMut,
    version: i16,
    to: &TopicPartition,
    size: usize,
    timeout_ms: i32,
) -> &'static [u8] {
    if version >= FLEXIBLE {
        out.put_u8(0); // no transactional id
        out.put_i16(ACKS_ALL);
        out.put_i32(timeout_ms);
        put_compact(out, 1); // one topic
        put_compact(out, to.topic.len());
        out.put_slice(to.topic.as_bytes());
        put_compact(out, 1); // one partition
        out.put_i32(to.partition);
        put_compact(out, size);
        &[0, 0, 0] // no tagged fields of the partition, the topic and the request
    } else {
        out.put_i16(-1);
        out.put_i16(ACKS_ALL);
        out.put_i32(timeout_ms);
        out.put_i32(1);
        out.put_i16(to.topic.len() as i16);
        out.put_slice(to.topic.as_bytes());
        out.put_i32(1);
        out.put_i32(to.partition);
        out.put_i32(size as i32);
        &[]
    }
}

/// A compact length: one more than it is, as an unsigned varint.
fn put_compact(out: &mut BytesMut, length: usize) {
    let mut rest = length as u64 + 1;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the log.
    Delivered,
    /// It is to be sent again as it is.
    Again(KafkaError),
    /// It is not in the log because of its size or one of its records, which is not named.
    Cut(KafkaError),
    /// It is not in the log because of these records, named by their index, for these reasons.
    Refused(Vec<(usize, String)>),
    /// Whether it is in the log is not certain, or it never will be.
    Failed(KafkaError, Option<String>),
}

impl Verdict {
    /// Whether the batch of this very request is not in the log, for certain.
    pub fn is_certain_loss(&self) -> bool {
        match self {
            Verdict::Delivered => false,
            Verdict::Cut(_) | Verdict::Refused(_) => true,
            Verdict::Again(error) | Verdict::Failed(error, _) => matches!(
                error.0,
                ResponseError::OutOfOrderSequenceNumber | ResponseError::NotLeaderOrFollower
            ),
        }
    }
}

/// Reads the answer to [`send`] for a batch of `count` records.
pub fn verdict(response: &ProduceResponse, count: usize) -> Verdict {
    use ResponseError::*;
    let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
    let Some(answer) = answer else {
        return Verdict::Failed(KafkaError(UnknownServerError), Some("the response is empty".to_owned()));
    };
    let Err(error) = check(answer.error_code) else { return Verdict::Delivered };
    match error.0 {
        // An earlier attempt was heard although its answer was not (KIP-98).
        DuplicateSequenceNumber => Verdict::Delivered,
        MessageTooLarge | RecordListTooLarge => Verdict::Cut(error),
        // KIP-467; an index that is none of the batch names no record.
        InvalidRecord | InvalidTimestamp => {
            let mut refused: Vec<_> = answer
                .record_errors
                .iter()
                .filter_map(|record| {
                    let index = usize::try_from(record.batch_index).ok().filter(|index| *index < count)?;
                    let message = record.batch_index_error_message.as_ref().or(answer.error_message.as_ref());
                    Some((index, message.map_or_else(|| error.to_string(), ToString::to_string)))
                })
                .collect();
            refused.sort();
            refused.dedup_by_key(|(index, _)| *index);
            if refused.is_empty() { Verdict::Cut(error) } else { Verdict::Refused(refused) }
        }
        _ => match error.remedy() {
            Remedy::Retry | Remedy::RefreshMetadata => Verdict::Again(error),
            Remedy::RefreshCoordinator | Remedy::Restart | Remedy::GiveUp => {
                Verdict::Failed(error, answer.error_message.as_ref().map(ToString::to_string))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::{
        messages::produce_response::{
            BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
        },
        protocol::Decodable,
    };

    use super::*;

    #[test]
    fn the_codec_reads_what_is_written_by_hand() {
        let to = TopicPartition::new("a-topic", 7);
        for size in [5, 200, 70_000] {
            for version in 3..=11 {
                let batch = vec![9; size];
                let mut out = BytesMut::new();
                let tail = put_fields(&mut out, version, &to, size, 1234);
                out.extend_from_slice(&batch);
                out.extend_from_slice(tail);
                let mut bytes = out.freeze();
                let request = ProduceRequest::decode(&mut bytes, version).unwrap();
                assert!(bytes.is_empty());
                assert_eq!((request.acks, request.timeout_ms), (-1, 1234));
                assert_eq!(request.transactional_id, None);
                let topic = &request.topic_data[0];
                assert_eq!(topic.name.0.as_str(), "a-topic");
                assert_eq!(topic.partition_data[0].index, 7);
                assert_eq!(topic.partition_data[0].records.as_deref(), Some(&batch[..]));
            }
        }
    }

    fn answer(error: ResponseError, refused: &[i32]) -> Verdict {
        let record = |index: &i32| BatchIndexAndErrorMessage::default().with_batch_index(*index);
        let partition = PartitionProduceResponse::default()
            .with_error_code(error.code())
            .with_record_errors(refused.iter().map(record).collect());
        let topic = TopicProduceResponse::default().with_partition_responses(vec![partition]);
        verdict(&ProduceResponse::default().with_responses(vec![topic]), 5)
    }

    #[test]
    fn each_code_has_its_verdict() {
        use ResponseError::*;
        assert_eq!(answer(DuplicateSequenceNumber, &[]), Verdict::Delivered);
        for error in [NotLeaderOrFollower, NotEnoughReplicas, RequestTimedOut, UnknownTopicOrPartition] {
            assert_eq!(answer(error, &[]), Verdict::Again(KafkaError(error)));
        }
        for error in [
            OutOfOrderSequenceNumber,
            UnknownProducerId,
            InvalidProducerEpoch,
            ProducerFenced,
            TopicAuthorizationFailed,
        ] {
            assert_eq!(answer(error, &[]), Verdict::Failed(KafkaError(error), None));
        }
        assert_eq!(answer(MessageTooLarge, &[]), Verdict::Cut(KafkaError(MessageTooLarge)));
        assert_eq!(answer(InvalidRecord, &[]), Verdict::Cut(KafkaError(InvalidRecord)));
        assert_eq!(answer(InvalidRecord, &[5, -1]), Verdict::Cut(KafkaError(InvalidRecord)));
        let Verdict::Refused(refused) = answer(InvalidRecord, &[4, 1, 4, 7]) else { panic!("not refused") };
        assert_eq!(refused.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 4]);
    }
}
