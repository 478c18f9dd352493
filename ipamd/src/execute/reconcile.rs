//! The daemon's loop: observe, plan, execute, sleep.

use crate::{clock::now, execute::Executor, node::Node, retry::Pauses, tell::report::Report};
use pool::Time;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tracing::warn;

/// The first pause before it is looked again for a device that EC2 has attached: it takes from a fraction
/// of a second to several (`docs/references.md#ec2-latency`). It doubles.
const FIRST_DEVICE_POLL: Duration = Duration::from_millis(100);

/// The longest: the kernel tells of a device that comes, and one that hangs may do so for ever.
const LONGEST_DEVICE_POLL: Duration = Duration::from_secs(10);

/// Concurrent actions: one for each interface that an instance type can have on a card, and more
/// than EC2's buckets serve from one instance.
const AT_ONCE: usize = 16;

/// How long changes are gathered before the next plan, while no pod waits for an address: a plan for
/// every pod that starts or stops would cost those that start at the same time more than all the rest.
const GATHER: Duration = Duration::from_millis(50);

/// How long the first plan waits for Kubernetes: it knows how many pods may run here, and which are to
/// come. After that it counts as silent.
const KUBERNETES_WAIT: Duration = Duration::from_secs(10);

/// Waits until Kubernetes was heard or counts as silent: before that nothing is given back, and nothing
/// is attached for the targets alone. A pod that waits for an address does not wait for this.
async fn hear_kubernetes(node: &Node) {
    let mut heard = node.heard.subscribe();
    let deadline = tokio::time::Instant::now() + KUBERNETES_WAIT;
    while !*heard.borrow_and_update() && !node.store.is_waited_for() {
        tokio::select! {
            changed = heard.changed() => if changed.is_err() { return },
            () = node.store.wake.notified() => {}
            () = tokio::time::sleep_until(deadline) => {
                warn!(waited = ?KUBERNETES_WAIT, "Kubernetes has not answered yet: the node plans without it");
                return;
            }
        }
    }
}

/// Runs for ever.
pub(crate) async fn run(node: Arc<Node>, executor: Executor) {
    let mut report = Report::default();
    hear_kubernetes(&node).await;
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut device_polls = Pauses::new(FIRST_DEVICE_POLL, LONGEST_DEVICE_POLL, 0);
    loop {
        let coming = executor.make_ready().await;
        let plan = node.store.begin();
        if let Some(refused) = report.plan(&plan) {
            node.add_failure.send_replace(Some(refused));
        }
        node.planned.send_if_modified(|last| {
            let is_new = last.as_ref() != Some(&plan.reason);
            *last = Some(plan.reason.clone());
            is_new
        });
        for action in plan.actions {
            let (executor, places) = (executor.clone(), places.clone());
            tokio::spawn(async move {
                // Closed never: the loop above runs for ever.
                let _place = places.acquire_owned().await;
                executor.execute(action).await;
            });
        }
        let sleep = sleep(coming, plan.wake_at.map(until), &mut device_polls);
        let asleep = async {
            match sleep {
                Some(sleep) => tokio::time::sleep(sleep).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asleep => {}
            () = node.store.wake.notified() => {
                if !node.store.is_waited_for() {
                    tokio::time::sleep(GATHER).await;
                }
            }
        }
    }
}

/// How long to sleep if nothing changes. `coming`: devices of attached interfaces are not there yet.
fn sleep(coming: bool, planned: Option<Duration>, device_polls: &mut Pauses) -> Option<Duration> {
    if !coming {
        device_polls.reset();
        return planned;
    }
    let poll = device_polls.next();
    Some(planned.map_or(poll, |planned| planned.min(poll)))
}

fn until(at: Time) -> Duration {
    at.0.saturating_sub(now().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_does_not_come_is_looked_for_less_and_less_often_and_a_plan_is_never_late() {
        let polls = &mut Pauses::new(FIRST_DEVICE_POLL, LONGEST_DEVICE_POLL, 0);
        let planned = Some(Duration::from_millis(1));

        let first = sleep(true, None, polls).unwrap();
        let tenth = (0..9).map(|_| sleep(true, None, polls).unwrap()).last().unwrap();

        assert!(first <= FIRST_DEVICE_POLL, "{first:?}");
        assert!(tenth <= LONGEST_DEVICE_POLL && tenth >= LONGEST_DEVICE_POLL / 2, "{tenth:?}");
        assert_eq!(sleep(true, planned, polls), planned);
        // With none to come the next one is looked for at once.
        assert_eq!(sleep(false, None, polls), None);
        assert!(sleep(true, None, polls).unwrap() <= FIRST_DEVICE_POLL);
    }
}
