//! DEL: removes the routes and rules of a pod, and releases its address.

use super::{LOCK_WAIT, account::Account, busy, internal, owner, teardown, unrecorded};
use crate::node::{EndedPod, Node};
use cni::Error;
use net::{Netlink, pod::Pod};
use pool::Owner;
use record::Attachment;
use std::{
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};
use tracing::warn;

/// Takes a container's interface away. What is not there is no error.
pub(super) fn del(
    node: &Node,
    request: &cni::Request,
    carried: rpc::Request,
    account: &mut Account,
) -> Result<(), Error> {
    let owner = owner(request);
    let _lock = node.store.lock_attachment(&owner, Instant::now() + LOCK_WAIT).ok_or_else(busy)?;
    // CNI 1.1.0, "DEL": plugins should generally complete without error even if some resources are
    // missing.
    account.attachment = node.store.attachment(&owner);
    match (&account.attachment, &request.config.prev_result) {
        (Some(attachment), _) => {
            if let (Some(netns), Some(inside)) = (carried.netns, carried.pod_netlink) {
                leave((netns, inside), &attachment.pod());
            }
            remove(node, attachment).map_err(|error| internal("remove the pod's network", error))
        }
        (None, result) => {
            end_held(node, &owner)
                .map_err(|error| internal("remove what routes to the pod", error))?;
            result.as_ref().map_or(Ok(()), |result| {
                unrecorded::clear(node, request, result)
                    .map_err(|error| internal("remove what the pod left", error))
            })
        }
    }
}

/// Removes from a pod what does not go with its link: the pod may live on without this interface.
fn leave((netns, inside): (OwnedFd, OwnedFd), pod: &Pod) {
    let ops = pod.out_of_pod();
    if ops.is_empty() {
        return;
    }
    let inside = Netlink::over(inside, netns.as_fd());
    match inside.and_then(|mut inside| inside.apply_each(&ops)) {
        Ok(failures) => {
            for failure in failures {
                warn!(error = %failure, "failed to remove a rule from a pod");
            }
        }
        Err(error) => warn!(error = %error, "failed to remove a rule from a pod"),
    }
}

/// The DEL of a pod whose address is held: what routes to it goes, and so does its entry of the checkpoint.
/// The address itself stays held for as long as any.
fn end_held(node: &Node, owner: &Owner) -> anyhow::Result<()> {
    let pod = {
        let mut state = node.store.state();
        let Some(held) = state.held.values_mut().find(|it| it.owner().as_ref() == Some(owner))
        else {
            return Ok(());
        };
        held.entry = None;
        held.pod.take()
    };
    node.store.recorded.notify_one();
    let Some(pod) = pod.map(|it| it.pod()) else { return Ok(()) };
    let mut kernel = node.kernel();
    let link = kernel.link_by_name(&pod.host_name)?.filter(|link| link.mac == Some(pod.host_mac()));
    for failure in kernel.apply_each(&pod.unroute(link.map(|link| link.index)))? {
        warn!(error = %failure, "failed to remove what routes to a pod");
    }
    Ok(())
}

/// Removes everything of an attachment; its link is removed after this has returned.
pub(crate) fn remove(node: &Node, attachment: &Attachment) -> anyhow::Result<()> {
    let pod = attachment.pod();
    let mut kernel = node.kernel();
    // A newer pod of the same name has the same link name, but not this address.
    let link = kernel.link_by_name(&pod.host_name)?.filter(|link| link.mac == Some(pod.host_mac()));
    let host = link.map(|link| link.index);
    // Of two pods with one address on record or in the kernel, the one that is gone frees nothing: what
    // routes to the address is the other's, whom nobody knows.
    let is_anothers = host.is_none() && node.store.state().held.contains_key(&attachment.address);
    if !is_anothers {
        for failure in kernel.apply_each(&pod.unroute(host))? {
            warn!(error = %failure, "failed to remove what routes to a pod");
        }
    }
    drop(kernel);
    let ended = (!is_anothers).then_some(EndedPod { pod, host });
    teardown::release(node, &attachment.owner(), ended)
}
