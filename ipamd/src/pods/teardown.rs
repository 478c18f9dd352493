//! Links are removed after their DEL: until the kernel reports one gone, its address is nobody's.

use crate::{
    node::{EndedLink, Node, ReaperQueue},
    retry::Pauses,
};
use anyhow::{Context, Result};
use net::{
    EgressSelector, Netlink,
    layout::{POD_GROUP, POD_GROUP_MASK},
    pod::Pod,
};
use pool::Owner;
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tracing::warn;

/// When to try again after the kernel refused to remove a link. Its address waits as long. It
/// doubles.
const AGAIN: Duration = Duration::from_secs(1);

/// The longest: a link that the kernel keeps does not fill the log.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long a link stays after its DEL. To remove it takes half a millisecond of a processor before
/// the kernel begins to wait: the DEL answers before that.
const STAYS: Duration = Duration::from_millis(5);

/// Takes an address back. It cools from now on; with a link that is still there, from when that is
/// gone.
///
/// # Errors
/// It cannot be put on record.
pub(crate) fn release(node: &Node, owner: &Owner, link: Option<EndedLink>) -> Result<()> {
    let address = link.as_ref().map(|link| link.pod.address);
    node.store.state().release(owner, address)?;
    if let Some(link) = link {
        reap(node, link);
    }
    node.store.recorded.notify_one();
    node.store.wake.notify_one();
    Ok(())
}

/// Removes the links of pods whose DEL is on record, which the daemon before this one did not come to
/// remove.
pub(crate) fn reap_leftovers(node: &Node) -> Result<()> {
    let links = node.kernel().links().context("list the node's links")?;
    let mut state = node.store.state();
    let used: Vec<Ipv4Addr> = state.pool.allocations().map(|(_, it)| it.address).collect();
    let cooling = state.journal.snapshot().cooling.keys();
    let ended: Vec<EndedLink> = cooling
        .filter(|address| !used.contains(address))
        .filter_map(|address| leftover(*address, &links))
        .collect();
    for it in &ended {
        state.pool.quarantine(it.pod.address, BTreeSet::new());
    }
    drop(state);
    for it in ended {
        warn!(address = %it.pod.address, link = it.pod.host_name, "remove the link of a pod that has ended");
        reap(node, it);
    }
    Ok(())
}

/// Starts the thread that removes links, so that no DEL waits for it.
pub(crate) fn start(node: &Arc<Node>, queue: ReaperQueue) -> Result<()> {
    let mut kernel = Netlink::open().context("open a netlink socket")?;
    let node = node.clone();
    thread::Builder::new().name("reap".into()).spawn(move || {
        let mut waiting: Vec<EndedLink> = vec![];
        let mut pauses = Pauses::new(AGAIN, LONGEST_PAUSE, 0);
        loop {
            let next = if waiting.is_empty() {
                queue.0.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                queue.0.recv_timeout(pauses.next())
            };
            match next {
                Ok(link) => waiting.push(link),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            thread::sleep(STAYS);
            waiting.retain(|link| !removed(&node, &mut kernel, link));
            if waiting.is_empty() {
                pauses.reset();
            }
        }
    })?;
    Ok(())
}

/// Removes a link without waiting for it: that takes the kernel twenty milliseconds.
fn reap(node: &Node, link: EndedLink) {
    if let Err(link) = node.reaper.try_send(link)
        && !removed(node, &mut node.kernel(), &link)
    {
        node.reaper.send(link);
    }
}

/// Removes a link if it is still there, and tells whether it is gone now.
fn removed(node: &Node, kernel: &mut Netlink, link: &EndedLink) -> bool {
    let EndedLink { pod, host } = link;
    // It may have gone with its namespace, and its index or name be another's by now.
    let there = kernel.link_by_name(&pod.host_name).map_err(anyhow::Error::from);
    let removed = there.and_then(|link| match link {
        Some(link) if link.index == *host && link.mac == Some(pod.host_mac()) => {
            Ok(kernel.apply(&[pod.unlink(*host)])?)
        }
        Some(_) | None => Ok(()),
    });
    if let Err(error) = removed {
        warn!(error = format!("{error:#}"), link = pod.host_name, address = %pod.address, "failed to remove a link; its address stays in quarantine");
        return false;
    }
    node.store.unquarantine(pod.address);
    true
}

/// The link that a pod with this address had, if it is there: its hardware address tells.
fn leftover(address: Ipv4Addr, links: &[net::Link]) -> Option<EndedLink> {
    let pod = |link: &net::Link| Pod {
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
    of_address.next().map(|link| EndedLink { pod: pod(link), host: link.index })
}
