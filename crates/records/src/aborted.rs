//! Finds out which batches of a fetch response belong to aborted transactions (KIP-98).

use super::{BatchHeader, HEADER_LEN, walk};

/// A transaction that was aborted, as a fetch response lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer whose transaction it was.
    pub producer_id: i64,
    /// The offset of the transaction's first record in the partition.
    pub first_offset: i64,
}

/// The aborted transactions of a response while it is read from front to back.
#[derive(Debug)]
pub(super) struct Aborted {
    /// Those that are yet to begin, the next one last.
    pending: Vec<AbortedTransaction>,
    /// The producers whose transaction, begun before the current batch, was aborted after it.
    open: Vec<i64>,
}

impl Aborted {
    pub(super) fn new(mut pending: Vec<AbortedTransaction>) -> Aborted {
        pending.sort_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        Aborted { pending, open: Vec::new() }
    }

    /// Moves on to the batch of `header`, whose bytes are `batch`, and returns whether its records
    /// belong to an aborted transaction. Moving to the same batch again changes nothing.
    pub(super) fn advance(&mut self, header: &BatchHeader, batch: &[u8]) -> bool {
        while let Some(next) = self.pending.pop_if(|next| next.first_offset < header.next_offset()) {
            if !self.open.contains(&next.producer_id) {
                self.open.push(next.producer_id);
            }
        }
        if !header.is_transactional() || self.open.is_empty() {
            return false;
        }
        if header.is_control() {
            if is_abort_marker(header, batch) {
                self.open.retain(|&producer_id| producer_id != header.producer_id);
            }
            return false;
        }
        self.open.contains(&header.producer_id)
    }
}

/// Whether the control batch `batch` ends a transaction by aborting it: its record's key is a
/// version and a type, both of 16 bits, where 0 is abort and 1 commit.
fn is_abort_marker(header: &BatchHeader, batch: &[u8]) -> bool {
    let mut records = Vec::new();
    let read = walk(header, batch, HEADER_LEN, batch.len(), 0, &mut records);
    let key = records.first().and_then(|record| record.key.get(batch));
    read.is_ok() && matches!(key, Some([_, _, 0, 0, ..]))
}
