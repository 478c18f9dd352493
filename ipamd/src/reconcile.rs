//! Observe, plan, carry out, sleep: the daemon's only loop.

use crate::{
    carry_out::CarryOut,
    node::{Node, now},
};
use pool::{Plan, Reason, Time};
use std::{sync::Arc, time::Duration};
use tracing::{info, warn};

/// How often to look for a device that EC2 has attached: it takes from a fraction of a second to
/// several (`facts/ec2-facts.md` §1.6), and only then is this done at all.
const DEVICE_POLL: Duration = Duration::from_millis(100);

/// Runs for ever.
pub(crate) async fn run(node: Arc<Node>, hands: CarryOut) {
    let mut last = None;
    if let Err(error) = hands.resume().await {
        warn!(error = format!("{error:#}"), "finish the interface that the last daemon began");
    }
    loop {
        let coming = hands.make_ready().await;
        let plan = node.plan();
        report(&plan, &mut last);
        if act(&node, &hands, &plan).await {
            continue;
        }
        let asleep = async {
            match (coming, plan.wake_at) {
                (true, _) => tokio::time::sleep(DEVICE_POLL).await,
                (false, Some(at)) => tokio::time::sleep(until(at)).await,
                (false, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = asleep => {}
            () = node.wake.notified() => {}
        }
    }
}

/// Carries out a plan up to the first refusal. Whether there was anything to do.
async fn act(node: &Node, hands: &CarryOut, plan: &Plan) -> bool {
    for action in &plan.actions {
        match hands.carry_out(action).await {
            Ok(()) => node.state().pool.succeeded(),
            Err(error) => {
                let cause = format!("{}{error:#}", hands.context());
                warn!(cause, "refused");
                node.state().pool.refused(cause, now());
                break;
            }
        }
    }
    !plan.actions.is_empty()
}

fn until(at: Time) -> Duration {
    at.0.saturating_sub(now().0)
}

/// One line when the reason changes.
fn report(plan: &Plan, last: &mut Option<Reason>) {
    if last.as_ref() != Some(&plan.reason) {
        info!(reason = %plan.reason, actions = ?plan.actions, "plan");
        *last = Some(plan.reason.clone());
    }
}
