//! What pods hold, in the peer's format and in the peer's place, within a second of a change: a way
//! back to the peer, and a second record for ourselves.

use crate::node::Node;
use anyhow::{Context, Result};
use pool::{Time, adopt::Unknown};
use record::{
    Attachment,
    checkpoint::{self, Allocation},
};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};
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
    let mut allocations: Vec<Allocation> =
        node.store.attachments().iter().map(allocation).collect();
    allocations.extend(node.store.state().held.iter().filter_map(|(held, why)| guard(*held, why)));
    let path = &node.settings.backing_store;
    let left_out = checkpoint::write(path, &allocations)
        .with_context(|| format!("write {}", path.display()))?;
    for twice in left_out {
        error!(pod = twice.pod_name, address = ?twice.ipv4, "two pods on record have one address: the checkpoint has the first");
    }
    Ok(())
}

/// An entry for a pod that runs and that nobody knows: the peer keeps entries without a pod's name, and
/// gives their addresses to nobody.
fn guard(address: Ipv4Addr, why: &Unknown) -> Option<Allocation> {
    let Unknown::Link(link) = why else { return None };
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

fn allocation(attachment: &Attachment) -> Allocation {
    Allocation {
        network: attachment.network.clone(),
        container: attachment.container.clone(),
        interface: attachment.interface.clone(),
        ipv4: Some(attachment.address),
        ipv6: None,
        since: Time(Duration::from_millis(attachment.since_ms)),
        pod_namespace: attachment.pod_namespace.clone(),
        pod_name: attachment.pod_name.clone(),
        interfaces: 1,
    }
}
