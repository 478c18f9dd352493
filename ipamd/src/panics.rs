//! What becomes of a panic: a failure where that is all it needs to be, or the end of the process.

use crate::tell::log;
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
            // What was said must be written before the end.
            log::flush();
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

    /// The name of the test below, by which it runs itself, and the variable that has it play the daemon.
    const DAEMON: &str = "panics::tests::a_panic_of_any_thread_is_in_the_log_and_ends_the_process";
    const LOG: &str = "ENI_CNI_TEST_PANICS_TO";

    #[test]
    fn a_panic_of_any_thread_is_in_the_log_and_ends_the_process() {
        if let Some(log) = std::env::var_os(LOG) {
            play_a_daemon(&log.into_string().unwrap());
        }
        for part in ["repair", "worker"] {
            let file = std::env::temp_dir().join(format!("eni-panics-{}-{part}", process::id()));
            let itself = std::env::current_exe().unwrap();
            let mut daemon = process::Command::new(itself);
            daemon.args(["--exact", DAEMON, "--nocapture"]).env(LOG, &file).env("PART", part);

            let ended = daemon.output().unwrap();

            let told = std::fs::read_to_string(&file).unwrap_or_default();
            let _ = std::fs::remove_file(&file);
            let signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
            assert_eq!(signal, Some(nix::libc::SIGABRT), "{part}: {ended:?}");
            let shown = String::from_utf8_lossy(&ended.stderr);
            let words = "failed with a panic, which is a fault of this program";
            for said in [told.as_str(), &shown] {
                assert!(said.contains(words), "{part}: {said}");
                assert!(said.contains("half a change"), "{part}: {said}");
            }
        }
    }

    /// A daemon in which a thread of its own, or one of those that wait for networks, panics.
    fn play_a_daemon(log: &str) {
        let environment = [("AWS_VPC_K8S_CNI_LOG_FILE", log)];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        log::start(&crate::settings::Settings::read(&environment.into()).unwrap());
        end_the_process();
        let panics = || panic!("half a change");
        if std::env::var_os("PART").is_some_and(|it| it == "repair") {
            let _ = std::thread::Builder::new().spawn(panics).unwrap().join();
        } else {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let _ = runtime.block_on(runtime.spawn(async move { panics() }));
        }
        process::exit(0);
    }

    #[tokio::test]
    async fn work_that_ends_well_is_left_alone() {
        assert_eq!(caught(async { Ok(7) }).await.unwrap(), 7);
    }
}
