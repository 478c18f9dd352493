//! What the daemon reports: log lines, answers, metrics, events.

pub(crate) mod events;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod report;
