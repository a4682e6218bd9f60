//! What a line says of a result before its value.

use serde_json::json;

use super::topic::{headers_of, lossy};
use crate::trial::{Plain, Written};

/// Where a result goes, with key and headers if they are not those of the record that was read:
/// `→ orders[3], key "7", headers {"trace":"1"}`.
pub(super) fn heading(written: &Written, read: &Plain) -> String {
    let Written { place, record } = written;
    let mut text = format!("→ {}", place.topic.as_deref().unwrap_or("the destination"));
    if let Some(partition) = place.partition {
        text += &format!("[{partition}]");
    }
    if record.key != read.key {
        text += &format!(", key {}", json!(record.key.as_deref().map(lossy)));
    }
    if record.headers != read.headers {
        text += &format!(", headers {}", headers_of(record));
    }
    text
}
