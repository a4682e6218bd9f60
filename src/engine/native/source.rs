//! Reads the partitions that a consumer group assigns to this member.

use super::Client;
use crate::engine::{ClientSettings, EngineError, Offset, Source, SourceEvent, SourceSettings};

/// The native [`Source`].
#[derive(Debug)]
pub struct NativeSource {}

impl NativeSource {
    /// Joins the group in the background and starts to read.
    ///
    /// # Errors
    /// When a property is not supported.
    pub async fn new(
        client: &Client,
        client_settings: &ClientSettings,
        settings: SourceSettings,
    ) -> Result<NativeSource, EngineError> {
        let _ = (client, client_settings, settings);
        todo!()
    }
}

impl Source for NativeSource {
    async fn next(&mut self, room: bool) -> Result<SourceEvent, EngineError> {
        let _ = room;
        todo!()
    }

    fn commit(&self, offsets: Vec<Offset>) -> impl Future<Output = Result<(), EngineError>> + Send + 'static {
        let _ = offsets;
        async { todo!() }
    }

    async fn close(self) {}
}
