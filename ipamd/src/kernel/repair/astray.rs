//! Packets of pods that others send elsewhere, by whatever means: told when that begins, and left alone.

use super::tell::authors;
use crate::{
    kernel::ways::Ways,
    node::Node,
    tell::{events::NodeNotice, metrics},
};
use anyhow::{Context, Result};
use net::{
    Netlink,
    found::Kind,
    pod::Pod,
    watch::{Change, Event, Who},
};
use pool::Owner;
use record::Attachment;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use tracing::{info, warn};

/// What has been told.
#[derive(Debug, Default)]
pub(super) struct Astray {
    told: BTreeMap<Ipv4Addr, Vec<String>>,
}

impl Astray {
    /// Whether what happened may send packets of pods elsewhere, or end that.
    pub(super) fn concerns(&self, node: &Node, changes: &[Change], kinds: &BTreeSet<Kind>) -> bool {
        let mut routes = vec![];
        for change in changes {
            match &change.event {
                Event::RuleAdded(_) | Event::OtherRule | Event::Overrun => return true,
                Event::RouteAdded { to, .. } | Event::RouteReplaced { to, .. } => routes.push(*to),
                Event::RuleGone(_) | Event::RouteGone(_) if !self.told.is_empty() => return true,
                Event::RuleGone(_)
                | Event::RouteGone(_)
                | Event::AddressAdded { .. }
                | Event::AddressGone { .. }
                | Event::Link(_)
                | Event::LinkGone(_)
                | Event::Settings(_)
                | Event::Firewall => {}
            }
        }
        if kinds.contains(&Kind::Rule) || routes.is_empty() {
            return kinds.contains(&Kind::Rule);
        }
        let state = node.store.state();
        state.pool.allocations().any(|(_, pod)| routes.iter().any(|to| to.contains(pod.address)))
    }

    /// Asks the kernel for the way of each pod's packets, and tells of those that it was not told of.
    /// `host_end` names the link of a pod; one without is told of apart.
    pub(super) fn tell(
        &mut self,
        node: &Node,
        kernel: &mut Netlink,
        by: &BTreeSet<Who>,
        host_end: impl Fn(&Pod) -> Option<u32>,
    ) -> Result<()> {
        let desired = node.desired();
        let ways = Ways::look(node, &desired, kernel).context("look at the ways of packets")?;
        let mut all: BTreeMap<Ipv4Addr, (String, Vec<String>)> = BTreeMap::new();
        for pod in &desired.pods {
            let Some(link) = host_end(&pod.pod()) else { continue };
            let wrong = ways.astray(&node.settings, kernel, pod, link)?;
            // A verb that works on it may be taking away what was looked for.
            if !wrong.is_empty() && is_at_rest(node, pod) {
                let name = format!("{}/{}", pod.pod_namespace, pod.pod_name);
                let _ = all.insert(pod.address, (name, wrong));
            }
        }
        let is_new = |(address, (_, wrong)): &(&Ipv4Addr, &(String, Vec<String>))| {
            self.told.get(*address) != Some(wrong)
        };
        let new: Vec<_> = all.iter().filter(is_new).collect();
        if let Some((_, (pod, wrong))) = new.first() {
            let (pods, what, by) = (new.len(), wrong.join("; "), authors(by));
            warn!(pods, pod, what, by, "another program sends packets of pods elsewhere");
            metrics::astray(pods);
            let message = format!(
                "packets of {pods} pods of this node go elsewhere because of another program, such as of {pod}: \
                 {what}; remove its route, rule or neighbour entry (`ip route show table all`, `ip rule`, `ip neigh`)"
            );
            node.notices.tell(NodeNotice::warning("PodRoutedElsewhere", message));
        } else if all.is_empty() && !self.told.is_empty() {
            info!("packets of pods go their way again");
        }
        self.told = all.into_iter().map(|(address, (_, wrong))| (address, wrong)).collect();
        Ok(())
    }
}

/// Whether no verb works on a pod, and it is on record as it was.
fn is_at_rest(node: &Node, pod: &Attachment) -> bool {
    let owner: Owner = pod.owner();
    let is_busy = node.store.state().busy().contains(&owner);
    !is_busy && node.store.attachment(&owner).as_ref() == Some(pod)
}
