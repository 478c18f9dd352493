//! What the daemon serves over HTTP.

pub(crate) mod metrics;
