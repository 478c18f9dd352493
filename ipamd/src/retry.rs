//! Retries, with growing pauses, what the start of the daemon depends on.

use std::time::Duration;
use tracing::warn;

/// The first pause after something at start did not answer; it doubles up to [`LONGEST_PAUSE`].
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest: a node that boots before its metadata service is there is not late by more.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(15);

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
