//! Rules that another layout, another setting, or pods that are gone have left.

use crate::node::Node;
use anyhow::{Context, Result};
use net::{RouteKind, leftover::Needed, op::MAIN_TABLE};
use record::Interface;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Removes rules that another layout, another setting, or pods that are gone have left.
pub(crate) fn remove(node: &Node) -> Result<()> {
    let mut needed = needed(node);
    let mut kernel = node.kernel();
    let routes = kernel.routes(MAIN_TABLE).context("list the main routes")?;
    let routes = routes.iter().filter(|route| {
        (route.kind, route.via, route.to.prefix()) == (RouteKind::Unicast, None, 32)
    });
    needed.routed = routes.map(|route| route.to.ip()).collect();
    let found = kernel.rules().context("list the rules")?;
    let ops = needed.remove_others(&found);
    for failure in kernel.apply_each(&ops).context("remove rules that are left over")? {
        tracing::warn!(error = %failure, "failed to remove a rule that is left over");
    }
    if !ops.is_empty() {
        tracing::info!(count = ops.len(), "removed rules that were left over");
    }
    Ok(())
}

fn needed(node: &Node) -> Needed {
    let desired = node.desired();
    let state = node.store.state();
    let secondary = state.attached.values().filter(|eni| !eni.record.is_primary());
    let coming = secondary.filter(|eni| eni.kernel.is_none()).map(|eni| eni.record.table());
    // Rules about addresses of others' interfaces are their users'.
    let for_pods = state.attached.values().filter(|eni| eni.record.is_for_pods());
    let addresses = for_pods.flat_map(|eni| addresses(&eni.record));
    let enis = desired.enis.values().flat_map(net::eni::Eni::rules);
    let pods = desired.pods.iter().flat_map(|pod| pod.pod().rules());
    Needed {
        rules: desired.host.host.rules().into_iter().chain(enis).chain(pods).collect(),
        coming: coming.collect(),
        pods: desired.pods.iter().map(|pod| pod.address).collect(),
        addresses: addresses.collect(),
        routed: BTreeSet::new(),
    }
}

/// Addresses of an interface that pods can have.
fn addresses(eni: &Interface) -> Vec<Ipv4Addr> {
    let blocks = eni.prefix_blocks();
    let of_prefixes = blocks.iter().flat_map(|block| block.iter());
    eni.addresses.iter().copied().chain(of_prefixes).collect()
}
