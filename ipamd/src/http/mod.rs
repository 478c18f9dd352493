//! What the daemon serves over HTTP.

mod allowance;
pub(crate) mod metrics;
