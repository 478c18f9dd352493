//! What pods hold, in the peer's format and in the peer's place, within a second of a change: a way
//! back to the peer, and a second record for ourselves.

use crate::{
    clock,
    node::{Node, Unclear},
};
use anyhow::{Context, Result};
use pool::{Owner, Time, adopt::Unknown};
use record::{
    Attachment,
    checkpoint::{self, Allocation},
};
use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc, time::Duration};
use tracing::{error, warn};

/// How long changes are gathered before they are written: a burst of pods costs two files.
const GATHER: Duration = Duration::from_millis(300);

/// The first pause after a write failed; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest: a disk that is full for an hour is written to soon after.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Writes the checkpoint now, and after every change from now on.
pub(crate) fn start(node: &Arc<Node>) {
    let node = node.clone();
    node.store.recorded.notify_one();
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        loop {
            node.store.recorded.notified().await;
            tokio::time::sleep(GATHER).await;
            let writing = node.clone();
            let written = tokio::task::spawn_blocking(move || write(&writing)).await;
            match written.context("write the checkpoint").flatten() {
                Ok(()) => pause = FIRST_PAUSE,
                Err(error) => {
                    let path = node.settings.backing_store.display();
                    warn!(error = format!("{error:#}"), %path, retry_in = ?pause, "failed to write the checkpoint: the peer would not know the newest pods");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    node.store.recorded.notify_one();
                }
            }
        }
    });
}

/// Writes the checkpoint of this moment.
///
/// # Errors
/// What the kernel says; the old file is still there then.
pub(crate) fn write(node: &Node) -> Result<()> {
    let attachments = node.store.attachments();
    let mut allocations = allocations(&attachments);
    let held = node.store.state().held.clone();
    let on_record: BTreeSet<_> = attachments.iter().map(Attachment::owner).collect();
    let held = held.iter().filter_map(|(address, held)| of_held(*address, held));
    allocations.extend(held.filter(|it| !on_record.contains(&owner(it))));
    let path = &node.settings.backing_store;
    let left_out = checkpoint::write(path, &allocations)
        .with_context(|| format!("write {}", path.display()))?;
    for twice in left_out {
        error!(pod = twice.pod_name, address = ?twice.ipv4, "two pods on record have one address: the checkpoint has the first");
    }
    Ok(())
}

/// What the peer is told of an address that is held: a pod that is known as any other, one whose link is
/// gone as the peer itself knew it, and one that runs and that nobody knows as a pod without a name.
fn of_held(address: Ipv4Addr, held: &Unclear) -> Option<Allocation> {
    if let Some(pod) = &held.pod {
        return allocations(std::slice::from_ref(&**pod)).pop();
    }
    let Unknown::Link(link) = &held.why else { return held.entry.clone() };
    Some(Allocation {
        network: "aws-cni".into(),
        container: format!("held-{link}"),
        interface: "eth0".into(),
        ipv4: Some(address),
        ipv6: None,
        since: Time::default(),
        pod_namespace: String::new(),
        pod_name: String::new(),
        interfaces: 1,
    })
}

fn owner(entry: &Allocation) -> Owner {
    let Allocation { network, container, interface, .. } = entry.clone();
    Owner { network, container, interface }
}

/// The entries of pods on record. At its start the peer drops an entry with a pod's name when no link has
/// the name that this pod's gets from it: one whose link has another name goes without, unless the
/// container has that link as well, which ends with it.
fn allocations(attachments: &[Attachment]) -> Vec<Allocation> {
    let has_peers_name =
        |it: &Attachment| cni::names::is_host_veth(&it.host_name, &it.pod_namespace, &it.pod_name);
    let told: BTreeSet<&str> =
        attachments.iter().filter(|it| has_peers_name(it)).map(|it| &*it.container).collect();
    let name = |it: &Attachment, name: &String| {
        if told.contains(&*it.container) { name.clone() } else { String::new() }
    };
    let allocation = |it: &Attachment| Allocation {
        network: it.network.clone(),
        container: it.container.clone(),
        interface: it.interface.clone(),
        ipv4: Some(it.address),
        ipv6: None,
        since: clock::to_machine(Time(Duration::from_millis(it.since_ms))),
        pod_namespace: name(it, &it.pod_namespace),
        pod_name: name(it, &it.pod_name),
        interfaces: 1,
    };
    attachments.iter().map(allocation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::attachment;

    #[test]
    fn a_pod_whose_link_has_another_name_goes_without_its_own_lest_the_peer_takes_it_for_gone() {
        let first = pod("old", "eth0", "eni0d7763386da");
        let another = pod("new", "eth0", "eni00000000000");
        let more = pod("old", "net1", "eni11111111111");

        let names: Vec<_> =
            allocations(&[first, another, more]).into_iter().map(|it| it.pod_name).collect();

        assert_eq!(names, ["web-0", "", "web-0"]);
    }

    #[test]
    fn a_pod_whose_link_is_gone_is_told_as_the_peer_knew_it() {
        let entry = allocations(&[pod("c", "eth0", "eni0d7763386da")]).pop();
        let address = [10, 0, 0, 9].into();
        let gone = Unclear::new(Unknown::LinkGone("default/web-0".into()));

        let told = of_held(address, &Unclear { entry: entry.clone(), ..gone.clone() });

        assert_eq!((told, of_held(address, &gone)), (entry, None));
    }

    fn pod(container: &str, interface: &str, host_name: &str) -> Attachment {
        Attachment {
            container: container.into(),
            interface: interface.into(),
            host_name: host_name.into(),
            pod_name: "web-0".into(),
            ..attachment()
        }
    }
}
