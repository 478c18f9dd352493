//! What the kernel must have on this node, as values: at the start, after a change, and for repair.

use crate::{
    imds::Identity,
    journal::{Attachment, Interface},
    node::Node,
    settings::Settings,
};
use anyhow::{Context, Result};
use net::{Link, Netlink, Op, firewall::Firewall, host::Host, nft};
use pool::EniId;
use std::collections::BTreeMap;

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
pub(crate) struct Wanted {
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
        let host = Host { primary: link.index, mtu: settings.eni_mtu, mark: settings.mark };
        let firewall = Firewall {
            primary_link: link.name.clone(),
            primary: primary.primary,
            direct: identity.vpc_cidrs.iter().chain(&settings.exclude_snat).copied().collect(),
            mark: settings.mark,
            snat: settings.snat,
            node_port: settings.node_port,
        };
        Self { host, firewall }
    }

    /// Changes that give the kernel the rules. Made again they change nothing.
    pub(crate) fn ops(&self) -> Vec<Op> {
        self.host.ops()
    }

    /// Makes the kernel match.
    pub(crate) fn apply(&self, kernel: &mut Netlink) -> Result<()> {
        kernel.apply(&self.ops()).context("set up the node's rules")?;
        nft::apply(&self.firewall.script()).context("set up the node's filter rules")
    }
}

impl Node {
    /// What the kernel must have now.
    pub(crate) fn wanted(&self) -> Wanted {
        let host = self.host_network();
        let state = self.state();
        let ready = state.attached.iter();
        let ready = ready.filter_map(|(id, eni)| Some((id.clone(), eni.kernel.clone()?)));
        Wanted {
            host,
            enis: ready.collect(),
            pods: state.journal.book().attachments.values().cloned().collect(),
        }
    }
}
