//! Pauses that grow, and retries of what the start of the daemon depends on.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};
use tracing::warn;

/// The first pause after something at start did not answer; it doubles up to [`LONGEST_PAUSE`].
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest: a node that boots before its metadata service is there is not late by more.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Pauses that double from a first to a longest one. Each is cut by up to a half, by a number of its
/// owner's, so that nodes that were refused together come back apart. Pure.
#[derive(Clone, Debug)]
pub(crate) struct Pauses {
    first: Duration,
    longest: Duration,
    seed: u64,
    in_a_row: u32,
}

impl Pauses {
    /// None has been made yet.
    pub(crate) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, seed, in_a_row: 0 }
    }

    /// The pause after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let grown = self.first.saturating_mul(2_u32.saturating_pow(self.in_a_row));
        let grown = grown.min(self.longest);
        let mut hasher = DefaultHasher::new();
        (self.seed, self.in_a_row).hash(&mut hasher);
        self.in_a_row = self.in_a_row.saturating_add(1);
        let range = u64::try_from(grown.as_millis() / 2).unwrap_or(u64::MAX);
        grown.saturating_sub(Duration::from_millis(hasher.finish() % range.max(1)))
    }

    /// It worked: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.in_a_row = 0;
    }
}

/// Tries until it works, with growing pauses and a line in the log for each.
pub(crate) async fn patiently<T, E, F>(what: &str, attempt: impl Fn() -> F) -> T
where
    E: Into<anyhow::Error>,
    F: Future<Output = Result<T, E>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                let error: anyhow::Error = error.into();
                warn!(error = format!("{error:#}"), retry_in = ?pause, "failed to {what}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
