//! The start: DELs that came meanwhile, pods that ended, and routes to those that live.

use super::{handle, orphans, teardown};
use crate::{node::Node, tell::events::NodeNotice};
use anyhow::Result;
use record::{Attachment, Maker};
use tracing::warn;

/// Brings the kernel in line with the record: pods that ended while no daemon ran go, and what
/// routes to those that live is there.
pub(crate) fn restore(node: &Node) -> Result<()> {
    let waiting = record::spool::drain(&node.settings.run_dir).unwrap_or_else(|error| {
        warn!(error = %error, "failed to read the DELs that wait: their pods keep their addresses");
        vec![]
    });
    for (path, request) in waiting {
        let (reply, answered) = handle(node, request, &|| false);
        answered.tell(node);
        if reply.exit_code != 0 {
            warn!(path = %path.display(), answer = reply.stdout, "failed to carry out a DEL from the spool");
        } else if let Err(error) = std::fs::remove_file(&path) {
            // A DEL that is carried out again finds nothing.
            warn!(error = %error, path = %path.display(), "failed to remove a DEL that was carried out");
        }
    }
    let unreadable = record::spool::set_aside(&node.settings.run_dir)?;
    if let Some(first) = unreadable.first() {
        let (files, first) = (unreadable.len(), first.display());
        warn!(files, %first, "failed to read DELs that waited: their files are kept aside");
        let note = format!(
            "{files} DELs that waited for ipamd cannot be read: their pods keep their addresses until their network namespaces are seen to be gone. They are kept for who wants to look, such as {first}; remove them when done"
        );
        node.notices.tell(NodeNotice::warning("DelUnreadable", note));
    }
    teardown::reap_leftovers(node)?;
    if let Err(error) = choose_egress(node) {
        warn!(
            error = format!("{error:#}"),
            "failed to note how pods find their tables: they keep what they have"
        );
    }
    let of_node = node.kernel().all_addresses()?;
    node.host.note_addresses(&of_node.into_iter().map(|(_, address)| address.ip()).collect());
    for attachment in node.desired().pods {
        route(node, &attachment)?;
    }
    Ok(())
}

/// Routes to a pod that has its link; one whose link and namespace are gone ends.
pub(super) fn route(node: &Node, attachment: &Attachment) -> Result<()> {
    let pod = attachment.pod();
    let link = node.kernel().link_by_name(&pod.host_name)?;
    let link = link.filter(|link| link.mac == Some(pod.host_mac()));
    match link {
        Some(link) => {
            if let Err(error) = node.kernel().apply(&pod.on_host(link.index, node.host.pods_see()))
            {
                warn!(error = %error, pod = attachment.pod_name, "failed to route to a pod");
            }
        }
        None if orphans::has_ended(node, attachment)? => {
            if let Err(error) = orphans::end(node, attachment) {
                warn!(
                    error = format!("{error:#}"),
                    pod = attachment.pod_name,
                    "failed to end a pod whose namespace is gone"
                );
            }
        }
        // Its DEL will come, or its namespace will go; until then the address is not given to
        // anybody.
        None => {
            warn!(pod = attachment.pod_name, host_name = pod.host_name, "a pod without its veth")
        }
    }
    Ok(())
}

/// Notes for every pod how it finds its table under the settings in force.
fn choose_egress(node: &Node) -> Result<()> {
    let mut state = node.store.state();
    let known: Vec<Attachment> = state.journal.snapshot().attachments.values().cloned().collect();
    // The peer's pods keep the peer's layout until they end.
    for attachment in known.into_iter().filter(|it| it.made_by == Maker::Ours) {
        let egress = state.egress(&node.settings, &attachment.allocation(), attachment.table);
        if attachment.egress != egress {
            state.journal.allocated(Attachment { egress, ..attachment })?;
        }
    }
    Ok(())
}
