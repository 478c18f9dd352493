//! Addresses of the node itself: the one that pods see, and those that somebody added and that a pod
//! has or may get.

use crate::{
    clock::now,
    node::{Node, Unclear},
    tell::{events::NodeNotice, metrics},
};
use anyhow::{Context, Result};
use net::{
    Netlink,
    found::Kind,
    watch::{Change, Event},
};
use pool::{adopt::Unknown, strays::Strays};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use tracing::{info, warn};

/// Addresses of the node as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    of_node: BTreeSet<Ipv4Addr>,
}

/// Whether somebody added an address to the node, or took one away.
pub(super) fn have_changed(changes: &[Change]) -> bool {
    let of_address = |it: &Change| match it.event {
        Event::AddressAdded { .. } | Event::AddressGone { .. } | Event::Overrun => true,
        Event::RuleAdded(_)
        | Event::RuleGone(_)
        | Event::OtherRule
        | Event::RouteAdded { .. }
        | Event::RouteGone(_)
        | Event::RouteReplaced { .. }
        | Event::Link(_)
        | Event::LinkGone(_)
        | Event::Settings(_)
        | Event::Firewall => false,
    };
    changes.iter().any(of_address)
}

impl Addresses {
    /// Looks at the node's addresses. No pod gets one of them while it is there; of a pod that has
    /// one already it is told. Returns what has to be looked at because of it.
    pub(super) fn follow(
        &mut self,
        node: &Node,
        kernel: &mut Netlink,
        changes: &[Change],
    ) -> Result<BTreeSet<Kind>> {
        let found = kernel.all_addresses().context("look at the node's addresses")?;
        let links: BTreeMap<Ipv4Addr, u32> =
            found.into_iter().map(|(link, address)| (address.ip(), link)).collect();
        let of_node: BTreeSet<Ipv4Addr> = links.keys().copied().collect();
        let before = node.host.pods_see();
        node.host.note_addresses(&of_node);
        let primaries = primaries(node);
        let Strays { came, went } = Strays::between(&self.of_node, &of_node, &primaries);
        self.of_node = of_node;
        for address in went {
            release(node, address);
        }
        for address in came {
            hold(node, kernel, address, links.get(&address).copied());
        }
        // Where it was gone and is back, the kernel has taken away every route that had it as source.
        let flushed = |it: &Change| matches!(&it.event, Event::AddressGone { address, .. } if Some(address.ip()) == before);
        let changed = before != node.host.pods_see() || changes.iter().any(flushed);
        Ok(changed.then_some(Kind::Route).into_iter().collect())
    }
}

/// Primary addresses of the node's interfaces.
fn primaries(node: &Node) -> BTreeSet<Ipv4Addr> {
    node.store.state().attached.values().map(|eni| eni.record.primary).collect()
}

fn hold(node: &Node, kernel: &mut Netlink, address: Ipv4Addr, link: Option<u32>) {
    {
        let mut state = node.store.state();
        // The interface that shows it carries it.
        state.pool.quarantine(address, [].into());
        state.held.entry(address).or_insert(Unclear::new(Unknown::Own));
    }
    node.store.wake.notify_one();
    let Some(owner) = node.store.holder(address) else {
        tell_of_pool(node, address);
        return;
    };
    let Some(pod) = node.store.attachment(&owner) else { return };
    let links = kernel.links().unwrap_or_default();
    let link = links.into_iter().find(|it| Some(it.index) == link);
    let link = link.map_or_else(|| "a link".into(), |link| link.name);
    let pod = format!("{}/{}", pod.pod_namespace, pod.pod_name);
    warn!(pod, %address, link, "a pod's address is the node's as well: the pod is not reachable from outside until somebody removes it from the link");
    metrics::taken_by_node();
    let message = format!(
        "{address} of pod {pod} was added to {link} of this node, and the pod is not reachable from outside: \
         remove it with `ip address del {address} dev {link}`"
    );
    node.notices.tell(NodeNotice::warning("PodAddressOnNode", message));
}

/// Nothing to say of addresses that no pod would get.
fn tell_of_pool(node: &Node, address: Ipv4Addr) {
    let of_pool = node
        .store
        .state()
        .attached
        .values()
        .flat_map(|eni| eni.record.blocks())
        .any(|block| block.addresses().any(|it| it == address));
    if of_pool {
        warn!(%address, "an address of the node's pool was added to the node: no pod gets it while it is there");
    }
}

fn release(node: &Node, address: Ipv4Addr) {
    {
        let mut state = node.store.state();
        // Somebody else may use it all the same: that ends apart.
        if state.held.get(&address).map(|it| &it.why) != Some(&Unknown::Own) {
            return;
        }
        state.held.remove(&address);
        state.pool.unquarantine(address, now());
    }
    info!(%address, "an address is the node's no more: a pod may get it once it has rested");
    node.store.wake.notify_one();
}
