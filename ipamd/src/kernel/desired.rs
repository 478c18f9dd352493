//! The desired state of this node's kernel, as values: for the start, changes, and repair.

use crate::{node::Node, settings::Settings};
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use net::{Link, Op, RouteKind, firewall::Firewall, host::Host, leftover::Needed, op::MAIN_TABLE};
use pool::EniId;
use record::{Attachment, Identity, Interface};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// The node's own part, whatever its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostNetwork {
    /// Rules for all pods, and the primary interface's settings.
    pub host: Host,
    /// Filter rules.
    pub firewall: Firewall,
}

/// Everything that the kernel must have because of us.
#[derive(Clone, Debug)]
pub(crate) struct Desired {
    /// The node's own part.
    pub host: HostNetwork,
    /// Secondary interfaces that are set up.
    pub enis: BTreeMap<EniId, net::eni::Eni>,
    /// Pods whose DEL has not come.
    pub pods: Vec<Attachment>,
}

impl HostNetwork {
    /// What the node's own network must be. `link` is the primary interface in the kernel.
    pub(crate) fn of(
        settings: &Settings,
        identity: &Identity,
        primary: &Interface,
        link: &Link,
    ) -> Self {
        let firewall = Firewall {
            primary_link: link.name.clone(),
            primary: primary.primary,
            direct: direct(settings, &identity.vpc_cidrs),
            mark: settings.mark,
            tables: settings.table_marks(),
            interfaces: BTreeMap::new(),
            snat: settings.snat,
            node_port: settings.node_port,
            metadata: settings.metadata,
        };
        let host = Host {
            primary: link.index,
            mtu: settings.eni_mtu,
            mark: firewall.marks().then_some(settings.mark),
            layout: settings.layout,
            external: settings.external.clone(),
        };
        Self { host, firewall }
    }

    /// Changes that give the kernel the rules. Made again they change nothing.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.host.ops()
    }
}

/// Blocks that pods reach with their own addresses.
fn direct<'a>(
    settings: &'a Settings,
    vpc: impl IntoIterator<Item = &'a Ipv4Network>,
) -> Vec<Ipv4Network> {
    // In order and each once: the same blocks make the same rules, however they are listed.
    let blocks: BTreeSet<_> = vpc.into_iter().chain(&settings.exclude_snat).copied().collect();
    blocks.into_iter().collect()
}

impl Node {
    /// What the kernel must have now.
    pub(crate) fn desired(&self) -> Desired {
        let host = self.host_network();
        let state = self.state();
        let ready = state.attached.iter().filter(|(_, eni)| !eni.leaving);
        let ready = ready.filter_map(|(id, eni)| Some((id.clone(), eni.kernel.clone()?)));
        Desired {
            host,
            enis: ready.collect(),
            pods: state.journal.snapshot().attachments.values().cloned().collect(),
        }
    }

    /// Notes the blocks that the VPC has now, and has the filter rules follow.
    pub(crate) fn note_vpc(&self, blocks: &BTreeSet<Ipv4Network>) -> Result<()> {
        let vpc_cidrs = blocks.iter().copied().collect();
        let identity = Identity { vpc_cidrs, ..self.identity.clone() };
        self.state().journal.identity(&identity)?;
        self.reach_directly(direct(&self.settings, blocks))
    }

    /// Notes for every pod how it finds its table under the settings in force.
    pub(crate) fn choose_egress(&self) -> Result<()> {
        let mut state = self.state();
        let known: Vec<Attachment> =
            state.journal.snapshot().attachments.values().cloned().collect();
        for attachment in known {
            let egress = self.egress(&state, &attachment.allocation(), attachment.table);
            if attachment.egress != egress {
                state.journal.allocated(Attachment { egress, ..attachment })?;
            }
        }
        Ok(())
    }

    /// Removes rules that another layout, another setting, or pods that are gone have left.
    pub(crate) fn remove_leftovers(&self) -> Result<()> {
        let mut needed = self.needed();
        let mut kernel = self.kernel();
        let routes = kernel.routes(MAIN_TABLE).context("list the main routes")?;
        let routes = routes.iter().filter(|route| {
            (route.kind, route.via, route.to.prefix()) == (RouteKind::Unicast, None, 32)
        });
        needed.routed = routes.map(|route| route.to.ip()).collect();
        let found = kernel.rules().context("list the rules")?;
        let ops = needed.remove_others(&found);
        for failure in kernel.apply_each(&ops).context("remove rules that are left over")? {
            tracing::warn!(error = %failure, "remove a rule that is left over");
        }
        if !ops.is_empty() {
            tracing::info!(count = ops.len(), "removed rules that were left over");
        }
        Ok(())
    }

    fn needed(&self) -> Needed {
        let desired = self.desired();
        let state = self.state();
        let secondary = state.attached.values().filter(|eni| !eni.record.is_primary());
        let coming = secondary.filter(|eni| eni.kernel.is_none()).map(|eni| eni.record.table());
        let addresses = state.attached.values().flat_map(|eni| addresses(&eni.record));
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
}

/// Addresses of an interface that pods can have.
fn addresses(eni: &Interface) -> Vec<Ipv4Addr> {
    let blocks = eni.prefix_blocks();
    let of_prefixes = blocks.iter().flat_map(|block| block.iter());
    eni.addresses.iter().copied().chain(of_prefixes).collect()
}

/// Says so when the node does not pass on packets of pods: that is set by its image, not by us.
pub(crate) fn warn_without_forwarding() {
    const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
    match std::fs::read_to_string(SETTING) {
        Ok(value) if value.trim() == "0" => tracing::warn!(
            "net.ipv4.ip_forward is 0: pods reach nothing beyond this node. Set it to 1"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(error = %error, "read {SETTING}"),
    }
}
