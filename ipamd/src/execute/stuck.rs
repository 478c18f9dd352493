//! What is tried again and again: after a few tries somebody should know, and hear what to do.

use crate::{node::Node, tell::events::NodeNotice};
use pool::{Action, Refusal};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// So many refusals in a row are told: with their pauses they take a quarter of a minute.
const TOLD_AFTER: u32 = 4;

/// Interfaces that EC2 does not take back, and how often in a row it has refused.
#[derive(Debug, Default)]
pub(super) struct Stuck(Mutex<BTreeMap<Action, u32>>);

impl Stuck {
    /// Notes how an action ended.
    pub(super) fn note(&self, node: &Node, action: &Action, refusal: Option<&Refusal>) {
        let Some(what) = what_to_do(action) else { return };
        let Some(refusal) = refusal else {
            self.counts().remove(action);
            return;
        };
        let mut counts = self.counts();
        let refused = counts.entry(action.clone()).or_default();
        *refused += 1;
        if *refused == TOLD_AFTER {
            let Refusal { message, .. } = refusal;
            let note = format!("{what} The last answer was: {message}");
            node.notices.tell(NodeNotice::warning("InterfaceNotReleased", note));
        }
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Action, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is wrong when an action is refused again and again, and what to do; `None` for those that are told
/// as reasons of the plan.
fn what_to_do(action: &Action) -> Option<String> {
    match action {
        Action::DeleteEni { eni } => Some(format!(
            "{eni} has no pods any more and cannot be detached. It is tried again; detach it by hand if \
             that goes on, and look whether the node's role may call DetachNetworkInterface."
        )),
        Action::Discard { eni } => Some(format!(
            "{eni} is detached and cannot be deleted, and holds its addresses. It is tried again; delete \
             it by hand if that goes on, and look whether the node's role may call DeleteNetworkInterface."
        )),
        Action::AttachEni { .. }
        | Action::Assign { .. }
        | Action::Unassign { .. }
        | Action::SetGroups { .. }
        | Action::EndWithInstance { .. }
        | Action::Tag { .. }
        | Action::Inspect { .. }
        | Action::Settle { .. }
        | Action::CountFree { .. } => None,
    }
}
