//! Exactly once: which transaction a batch is sent in, and when nothing of one is in flight any more.

use std::pin::Pin;

use super::{Delivery, lanes::Lanes};
use crate::{
    batch::TransactionNumber,
    engine::{EngineError, Sink, Stake, Staked, TransactionEnd},
};

impl<K: Sink> Delivery<K> {
    /// Sends in transactions from now on.
    pub fn open_transactions(&mut self) {
        self.open = Some(TransactionNumber(0));
    }

    /// Ends sending in the open transaction, and opens the next one. Returns the one that is
    /// sealed; `None` at least once.
    pub fn seal(&mut self) -> Option<TransactionNumber> {
        let sealed = self.open?;
        self.open = Some(sealed.next());
        Some(sealed)
    }

    /// Whether nothing of a transaction is in flight.
    pub fn is_landed(&self, transaction: TransactionNumber) -> bool {
        self.of_transactions[side(transaction)] == 0
    }

    /// Makes offsets part of a transaction that is sealed.
    pub fn stake(
        &mut self,
        transaction: TransactionNumber,
        stake: Stake,
    ) -> Pin<Box<dyn Future<Output = Result<Staked, EngineError>> + Send>> {
        Box::pin(self.sink.stake(transaction, stake))
    }

    /// Commits a transaction of which nothing is in flight.
    pub fn commit(
        &mut self,
        transaction: TransactionNumber,
    ) -> Pin<Box<dyn Future<Output = Result<TransactionEnd, EngineError>> + Send>> {
        Box::pin(self.sink.commit(transaction))
    }

    /// Gives up everything in flight, and aborts the transactions that it belongs to. The answer is that of
    /// [`Sink::abort`].
    pub fn abort(
        &mut self,
    ) -> Pin<Box<dyn Future<Output = Result<Option<TransactionNumber>, EngineError>> + Send>> {
        self.flights.clear();
        self.lanes = Lanes::new(self.routes.window);
        self.of_transactions = [0, 0];
        self.seal();
        Box::pin(self.sink.abort())
    }
}

/// Which of the two transactions that may be alive.
pub(super) fn side(transaction: TransactionNumber) -> usize {
    (transaction.0 % 2) as usize
}
