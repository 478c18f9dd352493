//! Pods that end without a DEL: their addresses are released once their namespaces are gone.
//!
//! When an ADD has failed, and then its DEL too, containerd removes the namespace and asks no more
//! (`docs/references.md#runtime-failed-del`); and a namespace can be removed by hand. Whoever finds
//! an attachment on record without its link reports it ([`crate::node::Orphans`]). A thread looks at
//! the attachment after a while, and again as long as the link is missing; with nothing suspected
//! the thread sleeps.
//!
//! Law 1 (ARCHITECTURE.md): an address stays with its pod until a DEL, or until the pod's namespace
//! is seen to be gone. So a namespace that is there keeps its address, also when nothing of ours is
//! in it.

use super::del;
use crate::{node::Node, tell::metrics};
use anyhow::Result;
use net::netns::Namespace;
use pool::Owner;
use record::Attachment;
use std::{path::Path, sync::Arc, thread, time::Instant};
use tracing::{debug, info, warn};

/// Starts the thread that looks at what is suspected.
pub(crate) fn start(node: Arc<Node>) -> Result<()> {
    let look = move || {
        loop {
            let owner = node.orphans.next();
            match look(&node, &owner) {
                Ok(Answer::Clear) => {}
                Ok(Answer::Suspect) => node.orphans.suspect(&owner),
                Err(error) => {
                    warn!(error = format!("{error:#}"), %owner, "failed to look after a pod without its link; try again");
                    node.orphans.suspect(&owner);
                }
            }
        }
    };
    thread::Builder::new().name("gone".into()).spawn(look)?;
    Ok(())
}

/// Whether to look again.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The pod has its link, or has ended.
    Clear,
    /// It has no link, and may be alive.
    Suspect,
}

fn look(node: &Node, owner: &Owner) -> Result<Answer> {
    // An ADD or a DEL that is at work on it knows better.
    let Some(_lock) = node.store.lock_attachment(owner, Instant::now()) else {
        return Ok(Answer::Suspect);
    };
    let Some(attachment) = node.store.attachment(owner) else { return Ok(Answer::Clear) };
    if is_linked(node, &attachment)? {
        return Ok(Answer::Clear);
    }
    if !namespace_is_gone(&attachment) {
        let (pod, address) = (&attachment.pod_name, attachment.address);
        debug!(pod, %address, "a pod without its link: it may be alive, and its address stays with it");
        return Ok(Answer::Suspect);
    }
    end(node, &attachment)?;
    Ok(Answer::Clear)
}

/// Does what a DEL does, for a pod that is gone.
pub(crate) fn end(node: &Node, attachment: &Attachment) -> Result<()> {
    del::remove(node, attachment)?;
    let Attachment { pod_namespace, pod_name, address, netns, .. } = attachment;
    let pod = format!("{pod_namespace}/{pod_name}");
    info!(pod, %address, netns, "a pod has ended without a DEL: its namespace is gone, and its address comes back");
    metrics::gone();
    Ok(())
}

/// Whether the pod's namespace is gone: with it goes its end of the pair, and with that ours.
pub(crate) fn has_ended(node: &Node, attachment: &Attachment) -> Result<bool> {
    Ok(namespace_is_gone(attachment) && !is_linked(node, attachment)?)
}

/// Whether a pod's namespace is gone. That of a pod that was taken over may never have been known: then
/// its link tells alone, as it does the peer.
fn namespace_is_gone(attachment: &Attachment) -> bool {
    attachment.netns.is_empty() || Namespace::at(Path::new(&attachment.netns)) == Namespace::Gone
}

/// Whether the node's end of the pair is there, under whatever name.
fn is_linked(node: &Node, attachment: &Attachment) -> Result<bool> {
    let pod = attachment.pod();
    let mut kernel = node.kernel();
    let named = kernel.link_by_name(&pod.host_name)?;
    Ok(named.is_some_and(|link| link.mac == Some(pod.host_mac()))
        || kernel.link_by_mac(pod.host_mac())?.is_some())
}
