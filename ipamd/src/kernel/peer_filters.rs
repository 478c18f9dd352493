//! Takes away what the peer has left in iptables and nftables, once ours do its work.

use crate::node::Node;
use anyhow::{Context, Result};
use net::{
    Link,
    firewall::{Firewall, Snat},
    iptables,
    layout::{POD_GROUP, POD_GROUP_MASK},
    peer_filters::{PeerFilters, Work},
};
use std::{collections::BTreeSet, sync::Arc, thread};
use tracing::{info, warn};

/// The peer's mark where no setting says another.
const DEFAULT_MARK: u32 = 0x80;

/// Begin of the names of links of pods with security groups of their own, whatever the setting.
const BRANCH_PREFIX: &str = "vlan";

/// Starts a thread that does it once. Programs of iptables may wait for each other, or be missing;
/// nothing waits for this one, and its failure is a warning.
pub(crate) fn start(node: Arc<Node>) -> Result<()> {
    let remove = move || {
        if let Err(error) = remove(&node) {
            warn!(error = format!("{error:#}"), "failed to remove the peer's filter rules");
        }
    };
    thread::Builder::new().name("peer-filters".into()).spawn(remove)?;
    Ok(())
}

fn remove(node: &Node) -> Result<()> {
    // First ours: they are as they were made, or are made now.
    node.renew_firewall()?;
    let links = node.kernel().links().context("list the links")?;
    let unmarked = unmarked(&links, &node.settings.veth_prefix);
    if !unmarked.is_empty() {
        warn!(links = ?unmarked, "pods that are not ours: marks of the peer that they need stay until a start without them");
    }
    let peer = PeerFilters {
        marks: [DEFAULT_MARK, node.settings.mark].into(),
        done: done(&node.host_network().firewall, &unmarked),
    };
    for found in iptables::remove(&peer) {
        match found {
            Ok(found) => {
                let (from, rules, chains) = (found.from, found.rules, found.chains);
                if rules + chains > 0 {
                    info!(from, rules, chains, "removed the peer's filter rules");
                }
                for why in found.kept {
                    warn!(from, why, "something of the peer's filter rules stays");
                }
            }
            Err(error) => warn!(%error, "failed to remove the peer's filter rules"),
        }
    }
    Ok(())
}

/// Names of links of pods that our rules do not mark: their group is not one of ours.
fn unmarked<'l>(links: &'l [Link], prefix: &str) -> Vec<&'l str> {
    let is_pod = |link: &&Link| {
        link.veth && (link.name.starts_with(prefix) || link.name.starts_with(BRANCH_PREFIX))
    };
    let is_marked = |link: &&Link| link.group & POD_GROUP_MASK == POD_GROUP;
    links.iter().filter(is_pod).filter(|it| !is_marked(it)).map(|it| it.name.as_str()).collect()
}

/// What ours do in the peer's place. They translate for everybody, but mark for our pods only: for
/// others the peer's go on, unless nobody needs those marks any more.
fn done(firewall: &Firewall, unmarked: &[&str]) -> BTreeSet<Work> {
    let all = unmarked.is_empty();
    let mut done = BTreeSet::from([Work::Translation]);
    if all || firewall.snat == Snat::External {
        done.insert(Work::OutboundMarks);
    }
    if all || !firewall.marks() {
        done.insert(Work::Answers);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::{
        Mac, TableMarks,
        firewall::{Metadata, NodePort},
    };
    use std::collections::BTreeMap;

    #[test]
    fn links_of_pods_that_are_in_no_group_of_ours_are_unmarked() {
        let links = [
            link("ens5", 0, true),
            link("eni0a", POD_GROUP, true),
            link("eni0b", POD_GROUP + 2, true),
            link("eni0c", 0, true),
            link("vlan0d", 0, true),
            link("vlan.eth.5", 0, false),
            link("cali0e", 0, true),
        ];

        assert_eq!(unmarked(&links, "eni"), ["eni0c", "vlan0d"]);
        assert_eq!(unmarked(&links, "cali"), ["vlan0d", "cali0e"]);
    }

    #[test]
    fn marks_of_the_peer_stay_while_pods_need_them() {
        use {NodePort::*, Work::*};
        let done = |snat, node_port, unmarked: &[&str]| {
            done(&firewall(snat, node_port), unmarked).into_iter().collect::<Vec<_>>()
        };

        for snat in [Snat::FullyRandom, Snat::External] {
            assert_eq!(done(snat, Supported, &[]), [Translation, OutboundMarks, Answers]);
        }
        assert_eq!(done(Snat::FullyRandom, Ignored, &["eni0c"]), [Translation]);
        assert_eq!(done(Snat::External, Supported, &["eni0c"]), [Translation, OutboundMarks]);
        assert_eq!(
            done(Snat::External, Ignored, &["eni0c"]),
            [Translation, OutboundMarks, Answers]
        );
    }

    fn link(name: &str, group: u32, veth: bool) -> Link {
        let mac = Some(Mac([2, 0, 0, 0, 0, 1]));
        Link { index: 7, name: name.into(), mac, mtu: 9001, group, up: true, running: true, veth }
    }

    fn firewall(snat: Snat, node_port: NodePort) -> Firewall {
        Firewall {
            primary_link: "ens5".into(),
            primary: [10, 0, 0, 140].into(),
            direct: vec![],
            mark: 0x80,
            tables: TableMarks::beside(0x80),
            interfaces: BTreeMap::new(),
            snat,
            node_port,
            metadata: Metadata::Open,
        }
    }
}
