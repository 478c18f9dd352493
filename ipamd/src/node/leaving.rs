//! Links that are removed after a DEL: until one is gone, its address is quarantined.

use super::{Node, now};
use anyhow::{Context, Result};
use net::{
    EgressSelector, Netlink,
    layout::{POD_GROUP, POD_GROUP_MASK},
    pod::Pod,
};
use pool::Owner;
use std::{
    net::Ipv4Addr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tracing::warn;

/// Links that wait to be removed: a full node's worth. One more is removed within its DEL.
const QUEUE: usize = 1024;

/// When to try again after the kernel refused to remove a link. Its address waits as long.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a link stays after its DEL. To remove it takes half a millisecond of a processor before
/// the kernel begins to wait: the DEL answers before that.
const STAYS: Duration = Duration::from_millis(5);

/// The link of a pod that has ended.
#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    /// The pod.
    pub pod: Pod,
    /// Index of the host end.
    pub host: u32,
}

/// Where links that are to be removed wait.
#[derive(Debug)]
pub(crate) struct Reaper(mpsc::SyncSender<Leaving>);

/// Those that wait, for [`Node::start_reaper`].
#[derive(Debug)]
pub(crate) struct Queue(mpsc::Receiver<Leaving>);

/// A new queue, with both of its ends.
pub(crate) fn queue() -> (Reaper, Queue) {
    let (sender, receiver) = mpsc::sync_channel(QUEUE);
    (Reaper(sender), Queue(receiver))
}

impl Node {
    /// Takes an address back. It cools from now on; with a link that is still there, from when that
    /// is gone.
    pub(crate) fn release(&self, owner: &Owner, link: Option<Leaving>) -> Result<()> {
        let mut state = self.state();
        let now = now();
        // A crash from here on is no loss: the next daemon finds the link of an address that cools.
        state.journal.released(owner, now)?;
        state.pool.release(owner, now);
        if let Some(leaving) = &link {
            state.pool.quarantine(leaving.pod.address);
        }
        state.count_demand();
        drop(state);
        if let Some(leaving) = link {
            self.reap(leaving);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Removes the links of pods whose DEL is on record, which the daemon before this one did not
    /// come to remove.
    pub(crate) fn reap_leftovers(&self) -> Result<()> {
        let links = self.kernel().links().context("list the node's links")?;
        let mut state = self.state();
        let used: Vec<Ipv4Addr> = state.pool.allocations().map(|(_, it)| it.address).collect();
        let cooling = state.journal.snapshot().cooling.keys();
        let leaving: Vec<Leaving> = cooling
            .filter(|address| !used.contains(address))
            .filter_map(|address| leftover(*address, &links))
            .collect();
        for it in &leaving {
            state.pool.quarantine(it.pod.address);
        }
        drop(state);
        for it in leaving {
            warn!(address = %it.pod.address, link = it.pod.host_name, "remove the link of a pod that has ended");
            self.reap(it);
        }
        Ok(())
    }

    /// Removes links on a thread of its own, after the DELs have answered.
    pub(crate) fn start_reaper(self: &Arc<Self>, queue: Queue) -> Result<()> {
        let mut kernel = Netlink::open().context("open a netlink socket")?;
        let node = self.clone();
        thread::Builder::new().name("reap".into()).spawn(move || {
            let mut waiting: Vec<Leaving> = vec![];
            loop {
                let next = if waiting.is_empty() {
                    queue.0.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
                } else {
                    queue.0.recv_timeout(AGAIN)
                };
                match next {
                    Ok(leaving) => waiting.push(leaving),
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                thread::sleep(STAYS);
                waiting.retain(|leaving| !node.removed(&mut kernel, leaving));
            }
        })?;
        Ok(())
    }

    /// Removes a link without waiting for it: that takes the kernel twenty milliseconds.
    fn reap(&self, leaving: Leaving) {
        if let Err(mpsc::TrySendError::Full(leaving) | mpsc::TrySendError::Disconnected(leaving)) =
            self.reaper.0.try_send(leaving)
            && !self.removed(&mut self.kernel(), &leaving)
        {
            // Until there is room: it must not be forgotten, or its address would be.
            let _ = self.reaper.0.send(leaving);
        }
    }

    /// Removes a link if it is still there, and tells whether it is gone now.
    fn removed(&self, kernel: &mut Netlink, leaving: &Leaving) -> bool {
        let Leaving { pod, host } = leaving;
        // It may have gone with its namespace, and its index or name be another's by now.
        let there = kernel.link_by_name(&pod.host_name).map_err(anyhow::Error::from);
        let removed = there.and_then(|link| match link {
            Some(link) if link.index == *host && link.mac == Some(pod.host_mac()) => {
                Ok(kernel.apply(&[pod.unlink(*host)])?)
            }
            Some(_) | None => Ok(()),
        });
        if let Err(error) = removed {
            warn!(error = format!("{error:#}"), link = pod.host_name, address = %pod.address, again_in = ?AGAIN, "remove a link; its address cools as long");
            return false;
        }
        self.gone(pod.address);
        true
    }

    /// Notes that the kernel has nothing of an address any more.
    fn gone(&self, address: Ipv4Addr) {
        self.state().pool.unquarantine(address, now());
        self.changed.notify_all();
        self.wake.notify_one();
    }
}

/// The link that a pod with this address had, if it is there: its hardware address tells.
fn leftover(address: Ipv4Addr, links: &[net::Link]) -> Option<Leaving> {
    let pod = |link: &net::Link| Pod {
        host_name: link.name.clone(),
        pod_name: String::new(),
        address,
        table: net::op::MAIN_TABLE,
        egress: EgressSelector::Main,
        mtu: link.mtu,
    };
    let ours = links.iter().filter(|link| link.veth && link.group & POD_GROUP_MASK == POD_GROUP);
    let mut of_address = ours.filter(|link| link.mac == Some(pod(link).host_mac()));
    of_address.next().map(|link| Leaving { pod: pod(link), host: link.index })
}
