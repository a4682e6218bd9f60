//! How a batch becomes final: sent, acknowledged, committed.
