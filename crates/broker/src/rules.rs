//! What a topic accepts: which record batches are refused, and which get the broker's time. As in
//! Kafka 4.1, for the settings that are named here.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use topicmill_records::{BatchHeader, Compression, HEADER_LEN, Record, RecordsError, layout, walk};

use super::refusal::Refusal;

/// The largest record batch a topic takes unless configured: 1 MiB and a batch's overhead.
pub const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// How far ahead of now a timestamp may be unless configured, in milliseconds (KIP-1030).
pub const DEFAULT_AFTER_MAX_MS: i64 = 60 * 60 * 1000;

/// The largest that a batch may be when it is decompressed to look at its records.
const MAX_DECOMPRESSED: usize = 256 << 20;

/// A topic's settings about the records it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `max.message.bytes`: the largest record batch in bytes.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`: whether records get the time at which they are appended.
    log_append_time: bool,
    /// `message.timestamp.before.max.ms`: how long before now a record's timestamp may be.
    before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how long after now it may be.
    after_max_ms: i64,
    /// `cleanup.policy`: whether each record needs a key. Nothing is ever compacted.
    compacted: bool,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            log_append_time: false,
            before_max_ms: i64::MAX,
            after_max_ms: DEFAULT_AFTER_MAX_MS,
            compacted: false,
        }
    }
}

/// A record batch that a topic takes.
#[derive(Debug)]
pub struct Admitted {
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: Bytes,
    /// The time at which it was appended, in milliseconds since the epoch, -1 where the topic
    /// keeps the records' own.
    pub append_time: i64,
}

/// Why a record batch is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}{}", message.map(|message| format!(": {message}")).unwrap_or_default())]
pub struct Refused {
    /// The protocol's error.
    pub error: ResponseError,
    /// What the refused records have in common.
    pub message: Option<&'static str>,
    /// The refused records by their number in the batch, with what is wrong (KIP-467); none when it
    /// is the batch.
    pub records: Vec<(i32, String)>,
}

impl From<ResponseError> for Refused {
    fn from(error: ResponseError) -> Refused {
        Refused { error, message: None, records: Vec::new() }
    }
}

impl Rules {
    /// Reads a topic's configuration.
    ///
    /// # Errors
    /// `InvalidConfig` for a setting that the broker would have to act on and does not.
    pub fn read(config: &BTreeMap<String, String>) -> Result<Rules, Refusal> {
        let mut rules = Rules::default();
        for (key, value) in config {
            let holds = match key.as_str() {
                "max.message.bytes" => value.parse().map(|bytes| rules.max_message_bytes = bytes).is_ok(),
                "compression.type" => value == "producer",
                "message.timestamp.type" => {
                    rules.log_append_time = value == "LogAppendTime";
                    matches!(value.as_str(), "CreateTime" | "LogAppendTime")
                }
                "message.timestamp.before.max.ms" => set_millis(value, &mut rules.before_max_ms),
                "message.timestamp.after.max.ms" => set_millis(value, &mut rules.after_max_ms),
                "cleanup.policy" => {
                    let mut policies = value.split(',').map(str::trim);
                    rules.compacted = policies.clone().any(|policy| policy == "compact");
                    policies.all(|policy| matches!(policy, "compact" | "delete"))
                }
                _ => true,
            };
            if !holds {
                let message = format!("{key}={value} is not supported by the embedded broker");
                return Err(Refusal { error: ResponseError::InvalidConfig, message });
            }
        }
        Ok(rules)
    }

    /// Judges the one batch that `bytes` hold. Its records are looked at only where its header does
    /// not decide for all of them.
    ///
    /// # Errors
    /// The protocol's error for a batch that is damaged or too large, or that holds records that
    /// the topic does not accept.
    pub fn admit(&self, bytes: Bytes) -> Result<Admitted, Refused> {
        let mut header = check(&bytes, self.max_message_bytes)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64);
        let in_question =
            self.compacted || header.is_log_append_time() || self.may_be_out_of_time(&header, now);
        if in_question {
            self.check_records(&header, &bytes, now)?;
        }
        if !self.log_append_time {
            return Ok(Admitted { header, bytes, append_time: -1 });
        }
        let bytes = stamp(&mut header, &bytes, now);
        Ok(Admitted { header, bytes, append_time: now })
    }

    /// Whether a record may be too old or too new, as far as the header says: it has the timestamp
    /// of the newest record, not that of the oldest.
    fn may_be_out_of_time(&self, header: &BatchHeader, now: i64) -> bool {
        let too_new = header.max_timestamp.saturating_sub(now) > self.after_max_ms;
        !self.log_append_time && (too_new || self.before_max_ms < i64::MAX)
    }

    /// Looks at each record, as Kafka's `LogValidator` does.
    fn check_records(&self, header: &BatchHeader, bytes: &[u8], now: i64) -> Result<(), Refused> {
        let mut body = Vec::new();
        let codec = Compression::from_id(header.codec()).ok_or(ResponseError::UnsupportedCompressionType)?;
        codec
            .decompress(&bytes[HEADER_LEN..header.size], &mut body, MAX_DECOMPRESSED)
            .map_err(|_| ResponseError::CorruptMessage)?;
        let mut records = Vec::new();
        walk(header, &body, 0, body.len(), 0, &mut records).map_err(|_| ResponseError::InvalidRecord)?;
        let mut error = ResponseError::InvalidRecord;
        let mut to_blame = Vec::new();
        for (number, record) in (0..).zip(&records) {
            if self.compacted && record.key.is_null() {
                to_blame.push((number, "Compacted topic cannot accept message without key.".to_owned()));
            } else if let Some(message) = self.out_of_time(header, record, now) {
                error = ResponseError::InvalidTimestamp;
                to_blame.push((number, message));
            }
        }
        if to_blame.is_empty() {
            return Ok(());
        }
        let message = match error {
            ResponseError::InvalidTimestamp => {
                "One or more records have been rejected due to invalid timestamp"
            }
            _ => "One or more records have been rejected due to record errors",
        };
        Err(Refused { error, message: Some(message), records: to_blame })
    }

    fn out_of_time(&self, header: &BatchHeader, record: &Record, now: i64) -> Option<String> {
        if self.log_append_time || record.timestamp == -1 {
            return header
                .is_log_append_time()
                .then(|| "Producer should not set timestamp type to LogAppendTime.".to_owned());
        }
        let age = now.saturating_sub(record.timestamp);
        let holds = age <= self.before_max_ms && age.saturating_neg() <= self.after_max_ms;
        (!holds).then(|| format!("Timestamp {} of message is out of range.", record.timestamp))
    }
}

fn set_millis(value: &str, to: &mut i64) -> bool {
    value.parse().is_ok_and(|millis| {
        *to = millis;
        millis >= 0
    })
}

/// Checks everything about a batch that needs no look at its records.
fn check(bytes: &[u8], max_size: usize) -> Result<BatchHeader, ResponseError> {
    let header = BatchHeader::read(bytes).map_err(|error| match error {
        RecordsError::Magic { .. } => ResponseError::UnsupportedForMessageFormat,
        _ => ResponseError::CorruptMessage,
    })?;
    if header.size > max_size {
        return Err(ResponseError::MessageTooLarge);
    }
    // A request carries one batch for a partition since version 3 of Produce.
    if header.size != bytes.len() || header.count < 1 || header.is_control() {
        return Err(ResponseError::InvalidRecord);
    }
    if header.base_offset != 0 || header.last_offset_delta != header.count - 1 {
        return Err(ResponseError::InvalidRecord);
    }
    header.check_crc(bytes).map_err(|_| ResponseError::CorruptMessage)?;
    if header.is_transactional() && header.producer_id < 0 {
        return Err(ResponseError::InvalidRecord);
    }
    Ok(header)
}

/// Stamps a batch with the broker's time: a bit, the greatest timestamp, and so another checksum.
fn stamp(header: &mut BatchHeader, bytes: &[u8], now: i64) -> Bytes {
    let mut stamped = BytesMut::from(bytes);
    header.attributes |= layout::LOG_APPEND_TIME;
    header.base_timestamp = now;
    header.max_timestamp = now;
    layout::ATTRIBUTES.put(&mut stamped, header.attributes.to_be_bytes());
    layout::MAX_TIMESTAMP.put(&mut stamped, now.to_be_bytes());
    header.crc = layout::put_crc(&mut stamped);
    stamped.freeze()
}
