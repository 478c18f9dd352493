//! What the daemon counts, for Prometheus: one function for each thing that happens.
//!
//! Counting costs a map lookup. Gauges (addresses in use, the reason of the pool's state) are not
//! counted: they are read when the page is requested, so that nothing has to be kept in step.

mod page;
mod table;

pub(crate) use page::Page;
pub(crate) use table::*;

use pool::Cause;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What was counted since the daemon began. One for the process, so that it need not be passed to
/// every place that counts.
static COUNTED: Mutex<Page> = Mutex::new(Page::new());

fn counted() -> MutexGuard<'static, Page> {
    // A thread that panicked while it held the lock left a number behind or did not.
    COUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was counted until now.
pub(crate) fn page() -> Page {
    counted().clone()
}

/// The runtime asked for something, and was answered.
pub(crate) fn answered(verb: &'static str, took: Duration, outcome: Outcome) {
    let mut counted = counted();
    match verb {
        "ADD" => counted.add(&ADD_REQUESTS, &[], 1.0),
        // The peer's word for a DEL of the runtime.
        "DEL" => counted.add(&DEL_REQUESTS, &["PodDeleted"], 1.0),
        _ => {}
    }
    counted.observe(&REQUEST_SECONDS, &[verb, outcome.label()], took.as_secs_f64());
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it was meant.
    Done,
    /// With an error.
    Failed,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// An ADD found no free address at once, and waited for one.
pub(crate) fn waited(took: Duration) {
    counted().observe(&WAIT_SECONDS, &[], took.as_secs_f64());
}

/// An ADD got no address.
pub(crate) fn no_address() {
    counted().add(&NO_ADDRESS, &[], 1.0);
}

/// A call of EC2 was answered: `code` is that of a refusal, empty when nobody answered.
pub(crate) fn called(action: &'static str, took: Duration, answer: Result<(), &str>) {
    let mut counted = counted();
    counted.add(&EC2_CALLS, &[action], 1.0);
    let (failed, status) = match answer {
        Ok(()) => ("false", "200"),
        Err(code) => ("true", code),
    };
    counted.observe(&API_LATENCY_MS, &[action, failed, status], took.as_secs_f64() * 1e3);
    if let Err(code) = answer {
        counted.add(&EC2_ERRORS, &[action], 1.0);
        counted.add(&API_ERRORS, &[action, code], 1.0);
    }
}

/// An action of the plan was refused. `step` is the peer's word for where.
pub(crate) fn refused(step: &'static str, cause: Cause) {
    let mut counted = counted();
    counted.add(&IPAMD_ERRORS, &[step], 1.0);
    counted.add(&REFUSALS, &[cause.word()], 1.0);
}

/// The daemon serves; it began so long ago.
pub(crate) fn serving(since: Duration) {
    // It never waits for the Kubernetes API, and an attempt that fails does not end the process.
    counted().observe(&STARTUP_SECONDS, &["true", "false", ""], since.as_secs_f64());
}

/// Things that others took or changed, or the kernel lost, were put back.
pub(crate) fn repaired(kind: &'static str, count: usize) {
    // A count of things in one kernel is far below what a float holds exactly.
    counted().add(&REPAIRED, &[kind], u32::try_from(count).unwrap_or(u32::MAX).into());
}

/// The kernel was looked at because something of ours may be missing.
pub(crate) fn looked() {
    counted().add(&REPAIR_LOOKS, &[], 1.0);
}

/// A pod had ended without a DEL.
pub(crate) fn gone() {
    counted().add(&GONE, &[], 1.0);
}

/// What is wrong with the surroundings now; every other check found nothing.
pub(crate) fn surroundings(checks: &[&'static str], wrong: &BTreeSet<&'static str>) {
    let mut counted = counted();
    for check in checks {
        counted.set(&SURROUNDINGS, &[check], if wrong.contains(check) { 1.0 } else { 0.0 });
    }
}

/// Whether this node is the one that searches for interfaces of dead nodes.
pub(crate) fn sweeper(is: bool) {
    counted().set(&SWEEPER, &[], if is { 1.0 } else { 0.0 });
}

/// An interface of a dead node was deleted.
pub(crate) fn swept() {
    counted().add(&SWEPT, &[], 1.0);
}

/// Lines of a log are lost.
pub(crate) fn log_lost(log: &str, lines: u64) {
    // A count of lines is far below what a float holds exactly.
    counted().add(&LOG_LOST, &[log], u32::try_from(lines).unwrap_or(u32::MAX).into());
}

/// Somebody gave a pod's address to the node.
pub(crate) fn taken_by_node() {
    counted().add(&TAKEN_BY_NODE, &[], 1.0);
}

/// A rule of another program sends packets of pods elsewhere.
pub(crate) fn overruled() {
    counted().add(&OVERRULED, &[], 1.0);
}

/// Packets of pods go elsewhere because of another program.
pub(crate) fn astray(pods: usize) {
    counted().add(&ASTRAY, &[], u32::try_from(pods).unwrap_or(u32::MAX).into());
}

/// Another program undoes what is repaired, again and again.
pub(crate) fn fights() {
    counted().add(&REPAIR_FIGHTS, &[], 1.0);
}
