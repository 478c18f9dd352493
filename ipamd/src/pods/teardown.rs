//! Links and connections of pods are removed after their DEL: until the kernel has none of them, their
//! address is nobody's.

use crate::{
    node::{EndedPod, Node, ReaperQueue},
    retry::Pauses,
};
use anyhow::{Context, Result};
use net::{
    Conntrack, EgressSelector, Link, Netlink,
    layout::{LEAVING_GROUP, POD_GROUP, POD_GROUP_MASK},
    pod::Pod,
    together,
};
use pool::Owner;
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tracing::{debug, warn};

/// When to try again after the kernel refused to remove a link. Its address waits as long. It
/// doubles.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest: a link that the kernel keeps does not fill the log.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a link stays after its DEL. To remove it takes half a millisecond of a processor before
/// the kernel begins to wait: the DEL answers before that.
const STAYS: Duration = Duration::from_millis(5);

/// Links that are removed at once. The kernel waits twenty milliseconds for its readers once for all, and
/// works 0.4 ms on each under the lock that every ADD and DEL needs.
const TOGETHER: usize = 24;

/// How much of its time the thread spends on the kernel's list of connections at most: one part of so many.
/// On a node with hundreds of thousands of them it takes a while.
const CONNECTIONS_SHARE: u32 = 10;

/// The longest that addresses wait for that.
const LONGEST_BETWEEN: Duration = Duration::from_secs(2);

/// Takes an address back. It cools from now on; with something that the kernel has of its pod, from when
/// that is gone.
///
/// # Errors
/// It cannot be put on record.
pub(crate) fn release(node: &Node, owner: &Owner, ended: Option<EndedPod>) -> Result<()> {
    let address = ended.as_ref().map(|ended| ended.pod.address);
    node.store.state().release(owner, address)?;
    if let Some(ended) = ended {
        reap(node, ended);
    }
    node.store.recorded.notify_one();
    node.store.wake.notify_one();
    Ok(())
}

/// Removes the links and connections of pods whose DEL is on record, which the daemon before this one did
/// not come to remove.
pub(crate) fn reap_leftovers(node: &Node) -> Result<()> {
    let links = node.kernel().links().context("list the node's links")?;
    let mut state = node.store.state();
    let used: Vec<Ipv4Addr> = state.pool.allocations().map(|(_, it)| it.address).collect();
    let cooling = state.journal.snapshot().cooling.keys();
    let ended: Vec<EndedPod> = cooling
        .filter(|address| !used.contains(address))
        .filter_map(|address| leftover(*address, &links))
        .collect();
    for it in &ended {
        state.pool.quarantine(it.pod.address, BTreeSet::new());
    }
    let free: BTreeSet<Ipv4Addr> =
        state.journal.snapshot().cooling.keys().filter(|it| !used.contains(it)).copied().collect();
    drop(state);
    if !free.is_empty() {
        forget_connections(&free);
    }
    for it in ended {
        warn!(address = %it.pod.address, link = it.pod.host_name, "remove the link of a pod that has ended");
        reap(node, it);
    }
    Ok(())
}

/// Starts the thread that removes what pods leave, so that no DEL waits for it.
pub(crate) fn start(node: &Arc<Node>, queue: ReaperQueue) -> Result<()> {
    let mut kernel = Netlink::open().context("open a netlink socket")?;
    let node = node.clone();
    thread::Builder::new().name("reap".into()).spawn(move || {
        let mut links = vec![];
        let mut unlinked = Unlinked::default();
        let mut pauses = Pauses::new(AGAIN, LONGEST_PAUSE, 0);
        loop {
            let next = match unlinked.due() {
                Some(due) => queue.0.recv_timeout(due),
                None if links.is_empty() => {
                    queue.0.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
                }
                None => queue.0.recv_timeout(pauses.next()),
            };
            match next {
                Ok(ended) => links.push(ended),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            thread::sleep(STAYS);
            links.extend(queue.0.try_iter());
            links = std::mem::take(&mut links)
                .chunks(TOGETHER)
                .flat_map(|some| {
                    let stay = unlink_together(&mut kernel, some);
                    let gone = some.iter().map(|ended| ended.pod.address);
                    let gone = gone.filter(|it| stay.iter().all(|ended| ended.pod.address != *it));
                    unlinked.addresses.extend(gone);
                    stay
                })
                .collect();
            if links.is_empty() {
                pauses.reset();
            }
            if unlinked.due().is_some_and(|due| due.is_zero()) {
                unlinked.let_go(&node);
            }
        }
    })?;
    Ok(())
}

/// Addresses without a link, of whose connections the kernel may know.
#[derive(Debug, Default)]
struct Unlinked {
    addresses: BTreeSet<Ipv4Addr>,
    not_before: Option<Instant>,
}

impl Unlinked {
    /// In which time their connections are removed; `None` without any.
    fn due(&self) -> Option<Duration> {
        let now = Instant::now();
        let due = self.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        (!self.addresses.is_empty()).then_some(due)
    }

    /// Removes their connections, and lets others have them.
    fn let_go(&mut self, node: &Node) {
        let addresses = std::mem::take(&mut self.addresses);
        let began = Instant::now();
        forget_connections(&addresses);
        let pause = (began.elapsed() * CONNECTIONS_SHARE).min(LONGEST_BETWEEN);
        self.not_before = Some(Instant::now() + pause);
        for address in addresses {
            node.store.unquarantine(address);
        }
    }
}

/// Removes what the kernel knows of connections of addresses whose pods have ended. That it does not is no
/// reason to keep them from others for ever.
fn forget_connections(addresses: &BTreeSet<Ipv4Addr>) {
    match Conntrack::open().and_then(|mut connections| connections.forget(addresses)) {
        Ok(0) => {}
        Ok(count) => debug!(count, ?addresses, "removed connections of pods that have ended"),
        Err(error) => {
            warn!(error = %error, ?addresses, "failed to remove connections of pods that have ended: the next pods with their addresses may get packets of these");
        }
    }
}

/// Has what a pod left removed without waiting for it: a link takes the kernel twenty milliseconds.
fn reap(node: &Node, ended: EndedPod) {
    let Err(ended) = node.reaper.try_send(ended) else { return };
    if !unlink(&mut node.kernel(), &ended) {
        return node.reaper.send(ended);
    }
    forget_connections(&[ended.pod.address].into());
    node.store.unquarantine(ended.pod.address);
}

/// Removes the links of pods that are still there; returns the pods whose links stay.
fn unlink_together(kernel: &mut Netlink, ended: &[EndedPod]) -> Vec<EndedPod> {
    let there: Result<Vec<Option<u32>>> = ended.iter().map(|it| there(kernel, it)).collect();
    let links: Vec<u32> = there.iter().flatten().flatten().copied().collect();
    if there.is_ok() && links.len() != 1 && removed_together(kernel, &links) {
        return vec![];
    }
    // Each by itself: one that the kernel keeps keeps no other.
    ended.iter().filter(|it| !unlink(kernel, it)).cloned().collect()
}

fn removed_together(kernel: &mut Netlink, links: &[u32]) -> bool {
    if links.is_empty() {
        return true;
    }
    let removed = together::remove(kernel, links, LEAVING_GROUP);
    if let Err(error) = &removed {
        debug!(error = %error, ?links, "failed to remove links together; each by itself");
    }
    removed.is_ok()
}

/// The index of a pod's link, if it is there. It may have gone with its namespace, and its index or name be
/// another's by now.
fn there(kernel: &mut Netlink, EndedPod { pod, host }: &EndedPod) -> Result<Option<u32>> {
    let Some(host) = host else { return Ok(None) };
    let link = kernel.link_by_name(&pod.host_name)?;
    let is_its = |link: &Link| link.index == *host && link.mac == Some(pod.host_mac());
    Ok(link.filter(is_its).map(|link| link.index))
}

/// Removes a pod's link if it is still there, and tells whether it is gone now.
fn unlink(kernel: &mut Netlink, ended: &EndedPod) -> bool {
    let pod = &ended.pod;
    let removed = there(kernel, ended).and_then(|link| match link {
        Some(link) => Ok(kernel.apply(&[pod.unlink(link)])?),
        None => Ok(()),
    });
    if let Err(error) = removed {
        warn!(error = format!("{error:#}"), link = pod.host_name, address = %pod.address, "failed to remove a link; its address stays in quarantine");
        return false;
    }
    true
}

/// The link that a pod with this address had, if it is there: its hardware address tells.
fn leftover(address: Ipv4Addr, links: &[Link]) -> Option<EndedPod> {
    let pod = |link: &Link| Pod {
        host_name: link.name.clone(),
        pod_name: String::new(),
        address,
        table: net::op::MAIN_TABLE,
        egress: EgressSelector::Main,
        mtu: link.mtu,
        host_mac: None,
        role: net::pod::Role::First,
    };
    let ours = links.iter().filter(|link| link.veth && link.group & POD_GROUP_MASK == POD_GROUP);
    let mut of_address = ours.filter(|link| link.mac == Some(pod(link).host_mac()));
    of_address.next().map(|link| EndedPod { pod: pod(link), host: Some(link.index) })
}
