//! Who speaks for an address: our record, the checkpoint of the peer, the kernel.

use crate::{clock, settings::Settings};
use anyhow::{Context, Result};
use net::{Mac, Netlink, PodLink, Traces};
use pool::{
    Owner, Time,
    adopt::{Entry, Holder, Seen, Trace, Unknown, Witness},
};
use record::{Attachment, Snapshot, checkpoint};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};
use tracing::warn;

/// What all of them say.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// What the records say.
    pub entries: Vec<Entry>,
    /// What the kernel shows, in the pool's words.
    pub seen: Seen,
    /// What the kernel shows.
    pub traces: Traces,
    /// Files of namespaces, by the numbers that links have for them.
    pub namespaces: BTreeMap<i32, PathBuf>,
    /// What the checkpoint says of each attachment.
    pub checkpoint: BTreeMap<Owner, checkpoint::Allocation>,
    /// Addresses of entries of the checkpoint that cannot be read.
    pub unreadable: BTreeSet<Ipv4Addr>,
}

/// Asks everybody. A checkpoint that cannot be read is told, and is no witness.
///
/// # Errors
/// The kernel does not answer.
pub(super) fn gather(
    settings: &Settings,
    snapshot: &Snapshot,
    kernel: &mut Netlink,
) -> Result<Evidence> {
    let mut evidence = Evidence {
        traces: kernel.traces().context("look at pods' links, routes and rules")?,
        namespaces: kernel.netns_paths().context("look at pods' namespaces")?,
        ..Evidence::default()
    };
    evidence.entries.extend(snapshot.attachments.values().map(of_attachment));
    evidence.entries.extend(snapshot.cooling.iter().map(|(address, since)| Entry {
        witness: Witness::Journal,
        address: *address,
        holder: Holder::Released,
        at: *since,
    }));
    match checkpoint::read(&settings.backing_store) {
        Ok(None) => {}
        Ok(Some(found)) => evidence.hear(found, settings),
        Err(error) => {
            let path = settings.backing_store.display();
            warn!(%path, error = %error, "failed to read the checkpoint: the kernel alone tells of pods that are not on record");
        }
    }
    let interfaces = snapshot.interfaces.values().map(|eni| eni.mac).collect();
    evidence.seen = seen(&evidence.traces, &interfaces, &settings.veth_prefix);
    Ok(evidence)
}

impl Evidence {
    fn hear(&mut self, found: checkpoint::Checkpoint, settings: &Settings) {
        for entry in found.unreadable {
            warn!(entry = entry.index, why = entry.why, address = ?entry.address, "failed to read an entry of the checkpoint; its address is held");
            if let Some(IpAddr::V4(address)) = entry.address {
                self.unreadable.insert(address);
            }
        }
        for entry in found.allocations {
            let Some(address) = entry.ipv4 else { continue };
            let owner = Owner {
                network: entry.network.clone(),
                container: entry.container.clone(),
                interface: entry.interface.clone(),
            };
            let (namespace, name) = (&entry.pod_namespace, &entry.pod_name);
            let link = if entry.names_its_pod() {
                self.name_of_link(&entry, address, &settings.veth_prefix)
            } else {
                // An entry that knows its container alone: no link can be told to be its own.
                String::new()
            };
            self.entries.push(Entry {
                witness: Witness::Checkpoint,
                address,
                holder: Holder::Pod { owner: owner.clone(), link, pod: pod(namespace, name) },
                at: clock::of_machine(entry.since),
            });
            self.checkpoint.insert(owner, entry);
        }
    }

    /// The name of the link of an entry's attachment: the peer's, or the one that we give to a further
    /// attachment of a pod. The kernel tells which, by where the address is routed to or by what is there.
    pub(super) fn name_of_link(
        &self,
        entry: &checkpoint::Allocation,
        address: Ipv4Addr,
        prefix: &str,
    ) -> String {
        let (namespace, name) = (&entry.pod_namespace, &entry.pod_name);
        let first = cni::names::host_veth(prefix, namespace, name);
        let key = [&*entry.network, &*entry.container, &*entry.interface];
        let other = cni::names::other_host_veth(prefix, namespace, name, key);
        let routed = self.traces.routes.get(&address).and_then(|link| self.traces.links.get(link));
        let is_other = match routed {
            Some(link) => link.name == other,
            // No other attachment has a link of this name.
            None => self.traces.links.values().any(|link| link.name == other),
        };
        if is_other { other } else { first }
    }

    /// The checkpoint's entry of a pod whose link is gone, if the peer can tell that itself.
    pub(super) fn stale(
        &self,
        address: Ipv4Addr,
        why: &Unknown,
    ) -> Option<&checkpoint::Allocation> {
        let Unknown::LinkGone(_) = why else { return None };
        let is = |it: &&checkpoint::Allocation| it.ipv4 == Some(address) && it.names_its_pod();
        self.checkpoint.values().find(is)
    }

    /// The link that an address is routed to, or that has a name.
    pub(super) fn link(&self, address: Ipv4Addr, name: &str) -> Option<&PodLink> {
        let routed = self.traces.routes.get(&address).and_then(|link| self.traces.links.get(link));
        routed.or_else(|| self.traces.links.values().find(|link| link.name == name))
    }
}

fn of_attachment(attachment: &Attachment) -> Entry {
    Entry {
        witness: Witness::Journal,
        address: attachment.address,
        holder: Holder::Pod {
            owner: attachment.owner(),
            link: attachment.host_name.clone(),
            pod: pod(&attachment.pod_namespace, &attachment.pod_name),
        },
        at: Time(Duration::from_millis(attachment.since_ms)),
    }
}

fn pod(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// The kernel's side in the pool's words. The devices of interfaces are no pods' links, whatever they
/// are made of.
fn seen(traces: &Traces, interfaces: &BTreeSet<Mac>, prefix: &str) -> Seen {
    let is_pods = |link: &&PodLink| !link.mac.is_some_and(|mac| interfaces.contains(&mac));
    let links: BTreeMap<u32, &str> = traces
        .links
        .values()
        .filter(is_pods)
        .map(|link| (link.index, link.name.as_str()))
        .collect();
    let mut seen = Seen::default();
    for (address, link) in &traces.routes {
        let trace: &mut Trace = seen.traces.entry(*address).or_default();
        match links.get(link) {
            Some(name) => trace.link = Some((*name).to_owned()),
            None => trace.elsewhere = true,
        }
    }
    for address in traces.rules.keys() {
        seen.traces.entry(*address).or_default().rule = true;
    }
    for address in &traces.own {
        seen.traces.entry(*address).or_default().own = true;
    }
    let of_pods = links.values().filter(|name| name.starts_with(prefix));
    seen.links = of_pods.map(|name| (*name).to_owned()).collect();
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_interfaces_are_no_links_of_pods() {
        let link = |index, name: &str, mac| PodLink {
            index,
            name: name.into(),
            mac: Some(Mac([2, 0, 0, 0, 0, mac])),
            mtu: 9001,
            group: 0,
            netns_id: Some(1),
        };
        let traces = Traces {
            links: [(2, link(2, "ens6", 1)), (3, link(3, "eni182c452fe96", 2))].into(),
            routes: [([10, 0, 0, 5].into(), 3), ([10, 0, 0, 6].into(), 2)].into(),
            ..Traces::default()
        };

        let seen = seen(&traces, &[Mac([2, 0, 0, 0, 0, 1])].into(), "eni");

        let pods = seen.traces.values().map(|trace| (trace.link.as_deref(), trace.elsewhere));
        assert_eq!(pods.collect::<Vec<_>>(), [(Some("eni182c452fe96"), false), (None, true)]);
        assert_eq!(seen.links, ["eni182c452fe96".to_owned()].into());
    }
}
