//! What becomes of a panic: a failure where that is all it needs to be, or the end of the process.

use anyhow::{Result, anyhow};
use std::{
    any::Any,
    cell::Cell,
    future::poll_fn,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    process,
    task::Poll,
};
use tracing::error;

thread_local! {
    /// Whether this thread works on what may panic.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// From now on a panic is in the log, and ends the process unless it is in [`caught`]: a daemon of
/// which one part has silently ended would serve the node badly, and a new one serves it well.
pub(crate) fn end_the_process() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panicked| {
        usual(panicked);
        let place = panicked.location().map(ToString::to_string);
        let what = message(panicked.payload());
        error!(place, what, "failed with a panic, which is a fault of this program");
        if !CAUGHT.get() {
            process::abort();
        }
    }));
}

/// Does work of which a panic is an error like another.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut work = pin!(work);
    poll_fn(|context| match caught_now(|| work.as_mut().poll(context)) {
        Ok(polled) => polled,
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// The same for work that does not wait.
pub(crate) fn caught_now<T>(work: impl FnOnce() -> T) -> Result<T> {
    let before = CAUGHT.replace(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    done.map_err(|panicked| anyhow!("a fault of ipamd, please report it: {}", message(&*panicked)))
}

/// What a panic said.
fn message(payload: &(dyn Any + Send)) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_ends_with_an_error_that_says_so() {
        let done: Result<()> = caught(async {
            tokio::task::yield_now().await;
            let none: Option<()> = std::env::var_os("set never").map(|_| ());
            none.expect("a thing of a library");
            Ok(())
        })
        .await;

        let error = done.unwrap_err().to_string();
        assert_eq!(error, "a fault of ipamd, please report it: a thing of a library");
        assert!(!CAUGHT.get());
    }

    #[tokio::test]
    async fn work_that_ends_well_is_left_alone() {
        assert_eq!(caught(async { Ok(7) }).await.unwrap(), 7);
    }
}
