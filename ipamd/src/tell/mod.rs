//! What the daemon tells people: log lines and answers, metrics, events.

pub(crate) mod events;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod report;
