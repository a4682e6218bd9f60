//! Decodes the records of one partition in a response piece by piece, each with its share of the
//! memory.

use std::time::Duration;

use bytes::Bytes;
use tokio::{task::yield_now, time::timeout};
use topicmill_mill::budget::{Budget, Permit, cost};
use topicmill_records::{AbortedTransaction, AssembleSettings, Assembled, Assembler, RecordsError};

use crate::Isolation;

/// The size in bytes at which a piece ends.
pub(super) const PIECE_BYTES_MAX: usize = 1 << 20;

/// The number of records at which a piece ends: very small ones cost far more than their bytes.
const PIECE_RECORDS_MAX: usize = 32 << 10;

/// The remaining pieces of a response.
#[derive(Debug)]
pub(crate) struct ResponsePieces {
    assembler: Assembler,
    budget: Budget,
    /// What the response's share of the memory has left for its pieces.
    reserve: Permit,
    /// How long to wait for memory before continuing without; unlimited if unset.
    patience: Option<Duration>,
    /// The share of a record that is too large to be unpacked without one.
    ahead: Option<Permit>,
    /// A piece that waits for its share.
    ready: Option<Assembled>,
    position: i64,
}

impl ResponsePieces {
    /// The records in `bytes`, fetched from `position`; shares come out of `reserve` first.
    pub fn new(
        bytes: Bytes,
        position: i64,
        aborted: Vec<AbortedTransaction>,
        isolation: Isolation,
        budget: &Budget,
        reserve: Permit,
    ) -> ResponsePieces {
        let settings = AssembleSettings {
            read_committed: isolation == Isolation::ReadCommitted,
            check_crc: false,
            max_bytes: PIECE_BYTES_MAX,
            max_records: PIECE_RECORDS_MAX,
        };
        let assembler = Assembler::new(bytes, position, aborted, settings);
        let (budget, patience) = (budget.clone(), None);
        ResponsePieces { assembler, budget, reserve, patience, ahead: None, ready: None, position }
    }

    /// Does not wait longer than `patience` for memory, for readers that may wait for one another.
    /// What is taken then is counted all the same.
    pub fn with_patience(self, patience: Duration) -> ResponsePieces {
        ResponsePieces { patience: Some(patience), ..self }
    }

    /// The offset after the last piece; after an error, that of the first record not handed out.
    pub fn next_offset(&self) -> i64 {
        self.assembler.next_offset()
    }

    /// What is left of the reserve.
    pub fn into_reserve(self) -> Permit {
        self.reserve
    }

    /// The next piece, which has records or moves the offset on. Cancel-safe.
    ///
    /// # Errors
    /// When a batch cannot be read; nothing follows then.
    pub async fn next(&mut self) -> Option<Result<(Assembled, Permit), RecordsError>> {
        while self.ready.is_none() {
            if self.ahead.is_none()
                && let Some(size) = self.assembler.needs()
            {
                self.ahead = Some(self.share(cost(size, size, 1)).await);
            }
            match self.assembler.next()? {
                Err(error) => return Some(Err(error)),
                // Skipping part of a batch takes time, which others need too.
                Ok(piece) if piece.records.is_empty() && piece.next_offset <= self.position => {
                    yield_now().await;
                }
                Ok(piece) => self.ready = Some(piece),
            }
        }
        let cost = self.ready.as_ref().map_or(0, piece_cost);
        let share = match self.ahead.take() {
            Some(share) => {
                share.charge(share.bytes(), cost);
                share
            }
            None => self.share(cost).await,
        };
        let piece = self.ready.take()?;
        self.position = piece.next_offset;
        Some(Ok((piece, share)))
    }

    async fn share(&mut self, bytes: usize) -> Permit {
        let share = self.budget.acquire_batch(&mut self.reserve, bytes);
        match self.patience {
            None => share.await,
            Some(patience) => match timeout(patience, share).await {
                Ok(share) => share,
                Err(_) => self.budget.overdraw(bytes),
            },
        }
    }
}

/// What a piece costs besides the response that it belongs to.
pub(super) fn piece_cost(piece: &Assembled) -> usize {
    cost(piece.memory, piece.buffer.len(), piece.records.capacity())
}

#[cfg(test)]
mod tests {
    use topicmill_records::{Compression, NO_HEADERS, ProducerStamp, RecordWriter};

    use super::*;

    /// A batch of `count` records of `len` bytes each.
    fn batch(count: usize, len: usize, compression: Compression) -> Bytes {
        let mut writer = RecordWriter::new(usize::MAX >> 1, count * (len + 20) + 100);
        (0..count).for_each(|_| writer.push(5, None, Some(&[&vec![b'x'; len]]), NO_HEADERS));
        writer.finish().remove(0).seal(ProducerStamp::NONE, compression)
    }

    fn pieces(bytes: Bytes, budget: &Budget) -> ResponsePieces {
        let reserve = budget.try_acquire(1000).unwrap();
        ResponsePieces::new(bytes, 0, Vec::new(), Isolation::ReadCommitted, budget, reserve)
    }

    #[tokio::test]
    async fn a_bomb_costs_time_and_no_memory() {
        let budget = Budget::new(16 << 20);
        for (count, len) in [(2_000_000, 1), (300, 500_000)] {
            let bomb = batch(count, len, Compression::Zstd);
            assert!(bomb.len() < 2 << 20, "{}", bomb.len());
            let (mut pieces, mut read, mut most) = (pieces(bomb, &budget), 0, 0);
            while let Some(piece) = pieces.next().await {
                let (piece, share) = piece.unwrap();
                let holds = piece.memory + piece.records.capacity() * 40;
                assert!(share.bytes() > holds && holds < 4 << 20, "{holds} of {}", share.bytes());
                read += piece.records.len();
                most = most.max(budget.used());
            }
            assert_eq!(read, count);
            assert!(most < 8 << 20, "{most}");
        }
    }

    #[tokio::test]
    async fn a_piece_waits_for_its_share_while_others_are_on_the_road() {
        let budget = Budget::new(6 << 20);
        let mut pieces = pieces(batch(10_000, 1000, Compression::Zstd), &budget);
        let mut road = Vec::new();
        loop {
            tokio::select! {
                biased;
                piece = pieces.next() => road.push(piece.unwrap().unwrap()),
                () = yield_now() => break,
            }
        }
        assert!((1..5).contains(&road.len()), "{}", road.len());
        assert!(budget.used() <= budget.capacity());
        road.clear();
        let (piece, _) = pieces.next().await.unwrap().unwrap();
        assert!(piece.records[0].offset > 0);
    }

    #[tokio::test]
    async fn a_record_larger_than_the_budget_passes_alone() {
        let budget = Budget::new(1 << 20);
        let mut pieces = pieces(batch(3, 5_000_000, Compression::Lz4), &budget);
        for offset in 0..3 {
            let (piece, share) = pieces.next().await.unwrap().unwrap();
            assert_eq!(piece.records.iter().map(|record| record.offset).collect::<Vec<_>>(), [offset]);
            assert!(share.bytes() > 10_000_000 && budget.used() < 20_000_000);
        }
        assert!(pieces.next().await.is_none());
        drop(pieces);
        assert_eq!(budget.used(), 0);
    }
}
