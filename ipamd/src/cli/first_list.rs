//! When the network list of a node is installed that has none yet: from then on its kubelet calls it
//! Ready, and Kubernetes sends pods.

use super::install;
use crate::{
    node::Node,
    settings::Networking,
    tell::report::{self, AddFailure},
};
use pool::{Cause, Reason};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info, warn};

/// How long is waited for who says nothing: Kubernetes, of the node's ENIConfig, and EC2, of the first
/// interface. After that pods may come: their events tell why they do not start, where the Node's cannot.
const SILENCE: Duration = Duration::from_secs(30);

/// How often the event of the Node is written again that says why it is not Ready: events last an hour.
const TELL_AGAIN: Duration = Duration::from_secs(1_800);

/// What there is to do about the network list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Pods will get addresses, or what keeps them from it passes by itself.
    Install,
    /// It is not known yet.
    Wait,
    /// No pod can start here before somebody has mended this.
    Refused(AddFailure),
}

/// Installs the network list: at once where there is one already, as on a node that is Ready, and with
/// the node's own subnet; otherwise once it is known that pods can get addresses.
pub(super) fn install(node: &Arc<Node>) -> anyhow::Result<()> {
    if node.settings.networking == Networking::Node || install::has_conflist(&node.settings) {
        return install::conflist(&node.settings);
    }
    let node = node.clone();
    tokio::spawn(async move {
        hold(&node).await;
        match install::conflist(&node.settings) {
            Ok(()) => info!("the network list is installed: pods may come"),
            Err(error) => {
                error!(error = format!("{error:#}"), "failed to install the network list")
            }
        }
    });
    Ok(())
}

/// Returns when the list is to be installed.
async fn hold(node: &Node) {
    let mut silent_at = Instant::now() + SILENCE;
    let (mut planned, mut heard) = (node.planned.subscribe(), node.heard.subscribe());
    let mut last = None;
    loop {
        let is_heard = *heard.borrow_and_update();
        let reason = planned.borrow_and_update().clone();
        let verdict = judge(reason.as_ref(), node.has_interface_of_source(), is_heard);
        match &verdict {
            Verdict::Install => return,
            Verdict::Wait if Instant::now() >= silent_at => {
                warn!(waited = ?SILENCE, "failed to learn whether pods get addresses here: the network list is installed all the same");
                return;
            }
            Verdict::Refused(failure) if last.as_ref() != Some(&verdict) => {
                warn!(
                    why = failure.message,
                    "no network list is installed, and the node stays NotReady: no pod could start here"
                );
            }
            Verdict::Wait | Verdict::Refused(_) => {}
        }
        let refused = matches!(verdict, Verdict::Refused(_));
        if refused {
            // What was mended is asked for anew.
            silent_at = Instant::now() + SILENCE;
        }
        tokio::select! {
            changed = planned.changed() => if changed.is_err() { return },
            changed = heard.changed() => if changed.is_err() { return },
            () = sleep_until(silent_at), if !refused => {}
            () = sleep(TELL_AGAIN), if refused => {
                if let Verdict::Refused(failure) = &verdict {
                    node.add_failure.send_replace(Some(failure.clone()));
                }
            }
        }
        last = Some(verdict);
    }
}

/// What there is to do, by what the last plan says, whether an interface for pods is there, and whether
/// Kubernetes has told of this node and of ENIConfigs.
fn judge(reason: Option<&Reason>, has_interface: bool, is_heard: bool) -> Verdict {
    if has_interface {
        return Verdict::Install;
    }
    let Some(reason) = reason else { return Verdict::Wait };
    let refused = || report::refusal(reason).map_or(Verdict::Wait, Verdict::Refused);
    match reason {
        Reason::NoSource { .. } if !is_heard => Verdict::Wait,
        Reason::NoSource { .. } => refused(),
        Reason::BackingOff { refusal, .. }
            if matches!(refusal.cause, Cause::Wrong | Cause::Denied) =>
        {
            refused()
        }
        // EC2 has not said yet what it makes of the ENIConfig.
        Reason::Short(_) | Reason::Coming { .. } | Reason::Changing => Verdict::Wait,
        Reason::Satisfied | Reason::Surplus | Reason::Full(_) | Reason::BackingOff { .. } => {
            Verdict::Install
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::{Refusal, Time};

    #[test]
    fn a_node_whose_eniconfig_is_missing_or_refused_gets_no_list_before_that_is_mended() {
        for reason in [missing(), refused(Cause::Wrong), refused(Cause::Denied)] {
            let verdict = judge(Some(&reason), false, true);

            assert!(matches!(verdict, Verdict::Refused(_)), "{reason:?}: {verdict:?}");
        }
    }

    #[test]
    fn whoever_has_not_answered_yet_is_waited_for() {
        assert_eq!(judge(None, false, false), Verdict::Wait);
        assert_eq!(judge(Some(&missing()), false, false), Verdict::Wait);
        for reason in [Reason::Short(9), Reason::Coming { addresses: 9 }, Reason::Changing] {
            assert_eq!(judge(Some(&reason), false, true), Verdict::Wait, "{reason:?}");
        }
    }

    #[test]
    fn a_node_with_an_interface_for_pods_gets_its_list_whatever_else_is() {
        assert_eq!(judge(None, true, false), Verdict::Install);
        assert_eq!(judge(Some(&refused(Cause::Wrong)), true, true), Verdict::Install);
    }

    #[test]
    fn what_passes_by_itself_and_a_node_that_wants_nothing_yet_keep_no_list_back() {
        let busy = [Cause::Throttled, Cause::Unavailable, Cause::NoAddresses].map(refused);
        for reason in busy.iter().chain([&Reason::Satisfied]) {
            assert_eq!(judge(Some(reason), false, true), Verdict::Install, "{reason:?}");
        }
    }

    fn missing() -> Reason {
        Reason::NoSource { why: "ENIConfig `a` does not exist: create it".into() }
    }

    fn refused(cause: Cause) -> Reason {
        let refusal = Refusal { cause, message: "no".into() };
        Reason::BackingOff { refusal, until: Time::default() }
    }
}
