//! The route of a partition: the carrier to its leader, and the producer to write under. Commands
//! are taken while both are looked for, as that may take long.

use std::{mem::take, pin::pin, sync::Arc, time::Duration};

use kafka_protocol::ResponseError::TopicAuthorizationFailed;
use tokio::time::{Instant, timeout};
use topicmill_mill::engine::EngineError;

use super::{
    carrier::Carrier,
    partition::PartitionWriter,
    producer::{self, Producer},
    questions::is_because,
    routed::Unavailable,
};

/// A batch that is not answered for this long may have gone to a broker that no longer leads.
pub const OVERDUE_AFTER: Duration = Duration::from_secs(3);

impl PartitionWriter {
    /// What sending requires, or why it is not available now.
    pub(super) async fn find(&mut self) -> Result<Result<(Carrier, Producer), Unavailable>, EngineError> {
        let carrier = match self.find_carrier().await? {
            Ok(carrier) => carrier,
            Err(unavailable) => return Ok(Err(unavailable)),
        };
        if let Some(transaction) = self.transaction.clone() {
            let to = self.to.clone();
            let enlisting = async move { transaction.enlist(&to).await };
            if let Err(error) = self.attend(enlisting).await? {
                let routed = &self.shared.routed;
                if routed.is_routed(&self.to.topic) && is_because(&error, TopicAuthorizationFailed) {
                    return Ok(Err(Unavailable::Refused(routed.refuse(&self.to.topic, error.message))));
                }
                return Err(EngineError { partition: Some(self.to.clone()), ..error });
            }
        }
        let producer = self.find_producer().await?;
        Ok(producer.map(|producer| (carrier, producer)).map_err(Unavailable::from))
    }

    async fn find_carrier(&mut self) -> Result<Result<Carrier, Unavailable>, EngineError> {
        let is_suspect = self.sealed.front().is_some_and(|batch| batch.is_suspect);
        let open = self.carrier.as_ref().filter(|carrier| !carrier.is_closed());
        if let Some(carrier) = open
            && is_suspect == self.alone.is_some()
        {
            return Ok(Ok(carrier.clone()));
        }
        (self.carrier, self.alone) = (None, None);
        let (shared, to) = (Arc::clone(&self.shared), self.to.clone());
        let mode = self.transaction.as_ref().map(|transaction| transaction.mode.clone());
        let found = if is_suspect {
            let alone = self.attend(Arc::clone(&shared.alone).lock_owned()).await?;
            self.alone = Some(alone);
            self.attend(async move { shared.carrier_alone(&to, mode.as_ref()).await }).await?
        } else {
            self.attend(async move { shared.carrier(&to, mode.as_ref()).await }).await?
        };
        Ok(found.inspect(|carrier| self.carrier = Some(carrier.clone())))
    }

    /// The producer to write under. A new one begins once everything sent under the previous one is
    /// answered, as it does not fence that one.
    async fn find_producer(&mut self) -> Result<Result<Producer, EngineError>, EngineError> {
        if let Some(producer) = self.producer {
            return Ok(Ok(producer));
        }
        let (disowned, shared) = (take(&mut self.disowned), Arc::clone(&self.shared));
        let asking = async move {
            futures_util::future::join_all(disowned).await;
            producer::ask(&shared.cluster).await
        };
        let producer = self.attend(asking).await?;
        Ok(producer.inspect(|producer| self.producer = Some(*producer)))
    }

    /// Waits for `what`, obeying commands meanwhile.
    pub(super) async fn attend<T>(&mut self, what: impl Future<Output = T>) -> Result<T, EngineError> {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return Ok(done),
                command = self.commands.recv(), if self.is_open => self.obey(command)?,
            }
        }
    }

    /// A silent broker may no longer lead the partition; a new leader would write what is in flight
    /// at once.
    pub(super) async fn look_for_leader(&mut self) -> Result<(), EngineError> {
        let (shared, to) = (Arc::clone(&self.shared), self.to.clone());
        let looking = async move {
            let cluster = &shared.cluster;
            if cluster.metadata(&to.topic).await.is_ok_and(|known| known.taken.elapsed() > OVERDUE_AFTER) {
                cluster.invalidate();
            }
            cluster.leader(&to).await
        };
        let found = self.attend(timeout(OVERDUE_AFTER, looking)).await?;
        self.look_at = Instant::now() + OVERDUE_AFTER;
        let known = self.carrier.as_ref().map(Carrier::broker);
        if let Ok(Ok(leader)) = found
            && known.is_some_and(|known| known != leader.broker)
        {
            tracing::debug!(partition = %self.to, ?known, now = leader.broker, "producing to another leader");
            self.recall();
        }
        Ok(())
    }
}
