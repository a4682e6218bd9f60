//! Writes output batches: an idempotent producer (KIP-98) over whole batches.

use super::Client;
use crate::{
    batch::OutputBatch,
    engine::{ClientSettings, EngineError, Receipt, Sink},
};

/// The native [`Sink`].
#[derive(Debug)]
pub struct NativeSink {}

impl NativeSink {
    /// A producer with a new producer id; compression, linger and limits come from the properties.
    ///
    /// # Errors
    /// When a property is not supported or the cluster gives no producer id in time.
    pub async fn new(client: &Client, settings: &ClientSettings) -> Result<NativeSink, EngineError> {
        let _ = (client, settings);
        todo!()
    }
}

impl Sink for NativeSink {
    fn send(
        &mut self,
        batch: OutputBatch,
    ) -> impl Future<Output = Result<Receipt, EngineError>> + Send + 'static {
        let _ = batch;
        async { todo!() }
    }

    async fn close(self) {}
}
