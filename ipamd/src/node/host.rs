//! The node's own part of the kernel's network, whatever its pods: rules, and filter rules.

use crate::settings::Settings;
use ipnetwork::Ipv4Network;
use net::{Op, PrimaryLink, firewall::Firewall, host::Host};
use record::{Identity, Interface};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The node's own part, whatever its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostNetwork {
    /// Rules for all pods, and the primary interface's settings.
    pub host: Host,
    /// Filter rules.
    pub firewall: Firewall,
    /// The address that the node talks to pods with: its primary one, while the kernel has that.
    pub pods_see: Option<Ipv4Addr>,
}

impl HostNetwork {
    /// What the node's own network must be. `link` is the primary interface in the kernel.
    pub(crate) fn of(
        settings: &Settings,
        identity: &Identity,
        primary: &Interface,
        link: &PrimaryLink,
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
            device: link.device,
            mtu: settings.eni_mtu,
            mark: firewall.marks().then_some(settings.mark),
            layout: settings.layout,
            external: settings.external.clone(),
        };
        Self { host, firewall, pods_see: Some(primary.primary) }
    }

    /// Changes that give the kernel the rules. Made again they change nothing.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.host.ops()
    }
}

/// Blocks that pods reach with their own addresses.
pub(crate) fn direct<'a>(
    settings: &'a Settings,
    vpc: impl IntoIterator<Item = &'a Ipv4Network>,
) -> Vec<Ipv4Network> {
    // In order and each once: the same blocks make the same rules, however they are listed.
    let blocks: BTreeSet<_> = vpc.into_iter().chain(&settings.exclude_snat).copied().collect();
    blocks.into_iter().collect()
}

/// What the node's own network must be, and who may replace its filter rules.
#[derive(Debug)]
pub(crate) struct HostRules {
    network: Mutex<HostNetwork>,
    /// Held while the filter rules are replaced, so that the newest come last.
    replacing: Mutex<()>,
}

impl HostRules {
    pub(super) fn new(network: HostNetwork) -> Self {
        Self { network: Mutex::new(network), replacing: Mutex::new(()) }
    }

    /// As it was last noted; the interfaces of the filter rules are not filled in.
    pub(super) fn network(&self) -> HostNetwork {
        self.lock().clone()
    }

    /// Nobody else replaces filter rules meanwhile.
    pub(super) fn replacing(&self) -> MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the CIDRs that pods reach with their own addresses.
    pub(crate) fn set_direct(&self, cidrs: Vec<Ipv4Network>) {
        self.lock().firewall.direct = cidrs;
    }

    /// Notes another link of the primary interface, or another name of it.
    pub(crate) fn move_primary(&self, link: &PrimaryLink) {
        let mut network = self.lock();
        (network.host.primary, network.host.device) = (link.index, link.device);
        network.firewall.primary_link.clone_from(&link.name);
    }

    /// The address that the node talks to pods with.
    pub(crate) fn pods_see(&self) -> Option<Ipv4Addr> {
        self.lock().pods_see
    }

    /// Notes whether the kernel has the primary address: it refuses a route with a source that it has
    /// not, and takes those away that had it.
    pub(crate) fn note_addresses(&self, of_node: &BTreeSet<Ipv4Addr>) {
        let mut network = self.lock();
        let primary = network.firewall.primary;
        network.pods_see = of_node.contains(&primary).then_some(primary);
    }

    fn lock(&self) -> MutexGuard<'_, HostNetwork> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
