//! Pods that end without a DEL: their addresses are released once their namespaces are gone.
//!
//! When an ADD has failed, and then its DEL too, containerd removes the namespace and asks no more
//! (`docs/references.md#runtime-failed-del`); and a namespace can be removed by hand. Whoever finds
//! an attachment on record without its link reports it ([`Node::suspect_orphan`]). A thread looks at
//! the attachment after a while, and again as long as the link is missing; with nothing suspected
//! the thread sleeps.
//!
//! Law 1 (ARCHITECTURE.md): an address stays with its pod until a DEL, or until the pod's namespace
//! is seen to be gone. So a namespace that is there keeps its address, also when nothing of ours is
//! in it.

use crate::{node::Node, pods, tell::metrics};
use anyhow::Result;
use nix::{
    errno::Errno,
    sys::statfs::{FsType, statfs},
};
use pool::Owner;
use record::Attachment;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tracing::{debug, info, warn};

/// What files of namespaces lie on (`NSFS_MAGIC` of `linux/magic.h`).
const NSFS: FsType = FsType(0x6e73_6673);

/// The shortest time between two looks at the same attachment, whatever the setting.
const SHORTEST: Duration = Duration::from_secs(1);

/// Attachments on record whose link is missing, and when to look at each. Never more than are on
/// record.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    due: Mutex<BTreeMap<Owner, Instant>>,
    more: Condvar,
}

impl Orphans {
    fn due(&self) -> MutexGuard<'_, BTreeMap<Owner, Instant>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until one is due, and takes it out.
    fn next(&self) -> Owner {
        let mut due = self.due();
        loop {
            let first = due.iter().min_by_key(|(_, at)| **at);
            let first = first.map(|(owner, at)| (owner.clone(), *at));
            due = match first {
                None => self.more.wait(due).unwrap_or_else(PoisonError::into_inner),
                Some((owner, at)) => {
                    let left = at.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        due.remove(&owner);
                        return owner;
                    }
                    let woken = self.more.wait_timeout(due, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            }
        }
    }
}

impl Node {
    /// Notes that an attachment on record has no link. Normally its DEL comes next.
    pub(crate) fn suspect_orphan(&self, owner: &Owner) {
        let wait = self.settings.gone_after.max(SHORTEST);
        self.orphans.due().entry(owner.clone()).or_insert_with(|| Instant::now() + wait);
        self.orphans.more.notify_one();
    }
}

/// Starts the thread that looks at what is suspected.
pub(crate) fn start(node: Arc<Node>) -> Result<()> {
    let look = move || {
        loop {
            let owner = node.orphans.next();
            match look(&node, &owner) {
                Ok(Answer::Clear) => {}
                Ok(Answer::Suspect) => node.suspect_orphan(&owner),
                Err(error) => {
                    warn!(error = format!("{error:#}"), %owner, "look after a pod without its link; try again");
                    node.suspect_orphan(&owner);
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
    let Some(_lock) = node.lock_attachment(owner, Instant::now()) else {
        return Ok(Answer::Suspect);
    };
    let Some(attachment) = node.attachment(owner) else { return Ok(Answer::Clear) };
    if is_linked(node, &attachment)? {
        return Ok(Answer::Clear);
    }
    if Namespace::at(Path::new(&attachment.netns)) != Namespace::Gone {
        let (pod, address) = (&attachment.pod_name, attachment.address);
        debug!(pod, %address, "a pod without its link: it may be alive, and its address stays with it");
        return Ok(Answer::Suspect);
    }
    end(node, &attachment)?;
    Ok(Answer::Clear)
}

/// Does what a DEL does, for a pod that is gone.
pub(crate) fn end(node: &Node, attachment: &Attachment) -> Result<()> {
    pods::remove(node, attachment)?;
    let Attachment { pod_namespace, pod_name, address, netns, .. } = attachment;
    let pod = format!("{pod_namespace}/{pod_name}");
    info!(pod, %address, netns, "a pod has ended without a DEL: its namespace is gone, and its address comes back");
    metrics::gone();
    Ok(())
}

/// Whether the pod's namespace is gone: with it goes its end of the pair, and with that ours.
pub(crate) fn has_ended(node: &Node, attachment: &Attachment) -> Result<bool> {
    let gone = Namespace::at(Path::new(&attachment.netns)) == Namespace::Gone;
    Ok(gone && !is_linked(node, attachment)?)
}

/// Whether the node's end of the pair is there, under whatever name.
fn is_linked(node: &Node, attachment: &Attachment) -> Result<bool> {
    let pod = attachment.pod();
    let mut kernel = node.kernel();
    let named = kernel.link_by_name(&pod.host_name)?;
    Ok(named.is_some_and(|link| link.mac == Some(pod.host_mac()))
        || kernel.link_by_mac(pod.host_mac())?.is_some())
}

/// A pod's namespace, as far as this process can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// It is there.
    There,
    /// It is gone: its file is, or is one that an unmounted namespace left.
    Gone,
    /// Nothing is known: the folder of its file is not there either. So it is in a container into
    /// which the node's folder is not mounted, and for `/proc/PID/ns/net`, where the folder goes with
    /// the process, and the number means another one in a container.
    Unseen,
}

impl Namespace {
    /// Looks at the file of a namespace.
    pub(crate) fn at(path: &Path) -> Self {
        match statfs(path) {
            Ok(found) if found.filesystem_type() == NSFS => Self::There,
            Ok(_) => Self::Gone,
            Err(Errno::ENOENT) if path.parent().is_some_and(Path::is_dir) => Self::Gone,
            Err(_) => Self::Unseen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_gone_when_its_folder_is_there_and_it_is_not() {
        for (path, want) in [
            ("/proc/self/ns/net", Namespace::There),
            // As a file that an unmounted namespace left.
            ("/proc/self/status", Namespace::Gone),
            ("/proc/self/nonexistent", Namespace::Gone),
            ("/nonexistent/netns/a", Namespace::Unseen),
            ("/proc/0/ns/net", Namespace::Unseen),
            ("", Namespace::Unseen),
        ] {
            assert_eq!(Namespace::at(Path::new(path)), want, "{path}");
        }
    }

    #[test]
    fn what_is_due_first_is_looked_at_first_and_once() {
        let orphans = Orphans::default();
        let owner = |container: &str| Owner {
            network: "n".into(),
            container: container.into(),
            interface: "eth0".into(),
        };
        let now = Instant::now();
        orphans.due().insert(owner("a"), now);
        orphans.due().insert(owner("b"), now.checked_sub(SHORTEST).unwrap());

        let order = [orphans.next(), orphans.next()];

        assert_eq!(order, [owner("b"), owner("a")]);
        assert!(orphans.due().is_empty());
    }
}
