//! GC: the runtime's list names candidates, the kernel tells which pods are gone.

use super::{del, internal};
use crate::{node::Node, pods::orphans::has_ended};
use anyhow::Result;
use cni::Error;
use record::Attachment;
use std::{collections::BTreeSet, time::Instant};
use tracing::{info, warn};

/// The most failures that an error spells out: it is one line of a log.
const SPELLED_OUT: usize = 5;

/// Takes back the addresses of containers that the runtime does not know any more.
///
/// A list that does not mention a container is no proof that it is gone: another runtime may have
/// it. So nothing of a pod is touched whose namespace is still there.
pub(super) fn gc(node: &Node, request: &cni::Request) -> Result<(), Error> {
    let network = &request.config.name;
    let Some(valid) = &request.config.valid_attachments else {
        info!(network, "GC without a list of attachments: nothing is known, nothing is removed");
        return Ok(());
    };
    let valid: BTreeSet<(&str, &str)> =
        valid.iter().map(|it| (it.container_id.as_str(), it.ifname.as_str())).collect();
    let all = node.store.attachments();
    let mut failures = vec![];
    for attachment in all.iter().filter(|it| is_stale(it, network, &valid)) {
        // CNI 1.1.0, "GC": a plugin should report errors, and continue with the rest.
        if let Err(error) = remove(node, attachment) {
            failures.push(format!("{}: {error:#}", attachment.owner()));
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(together(&failures)) }
}

/// Whether an attachment is one of this network that the runtime does not name.
fn is_stale(attachment: &Attachment, network: &str, valid: &BTreeSet<(&str, &str)>) -> bool {
    let key = (attachment.container.as_str(), attachment.interface.as_str());
    attachment.network == network && !valid.contains(&key)
}

fn remove(node: &Node, attachment: &Attachment) -> Result<()> {
    let owner = attachment.owner();
    let Attachment { pod_name: pod, address, netns, .. } = attachment;
    // An ADD or a DEL that is at work on it is newer than the list.
    let Some(_lock) = node.store.lock_attachment(&owner, Instant::now()) else { return Ok(()) };
    if node.store.attachment(&owner).as_ref() != Some(attachment) {
        return Ok(());
    }
    if !has_ended(node, attachment)? {
        warn!(%owner, pod, %address, netns, "GC: the runtime does not name this container, but its namespace is still there: the address stays with it until DEL, or until the namespace is removed");
        return Ok(());
    }
    info!(%owner, pod, %address, "GC: the container is gone");
    del::remove(node, attachment)
}

fn together(failures: &[String]) -> Error {
    let shown = failures.iter().take(SPELLED_OUT).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join("; ");
    let more = match failures.len().saturating_sub(SPELLED_OUT) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    internal(&format!("remove {} stale attachments", failures.len()), format!("{shown}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    /// CNI requirements 48, 49.
    #[test]
    fn stale_is_what_the_list_of_its_own_network_does_not_name() {
        let valid = BTreeSet::from([("a", "eth0"), ("b", "eth0")]);

        for (network, container, interface, want) in [
            ("aws-cni", "a", "eth0", false),
            ("aws-cni", "a", "eth1", true),
            ("aws-cni", "c", "eth0", true),
            ("other", "c", "eth0", false),
        ] {
            let attachment = attachment(network, container, interface);

            let stale = is_stale(&attachment, "aws-cni", &valid);

            assert_eq!(stale, want, "{network} {container} {interface}");
        }
        assert!(is_stale(&attachment("aws-cni", "a", "eth0"), "aws-cni", &BTreeSet::new()));
    }

    /// CNI requirement 48.
    #[test]
    fn all_that_failed_is_reported_together() {
        let failures: Vec<String> = (0..7).map(|it| format!("c{it}: disk full")).collect();

        let two = together(&failures[..2]).msg;
        let seven = together(&failures).msg;

        assert_eq!(two, "remove 2 stale attachments: c0: disk full; c1: disk full");
        assert!(seven.ends_with("c4: disk full; and 2 more"), "{seven}");
    }

    fn attachment(network: &str, container: &str, interface: &str) -> Attachment {
        Attachment {
            network: network.into(),
            container: container.into(),
            interface: interface.into(),
            ..examples::attachment()
        }
    }
}
