//! What a node needs once, whatever its pods and interfaces, as changes.

use crate::plan::{
    layout::{Layout, POD_GROUP},
    op::{LinkChange, MAIN_TABLE, Object, Op, Rule, rp_filter},
};
use ipnetwork::Ipv4Network;

/// Priority of the rules to pods (`docs/references.md#peer-priorities`).
pub const TO_POD: u32 = 512;

/// Priority of the rule that sends marked traffic out by the primary interface (same source).
pub const MARKED: u32 = 1024;

/// Priority of rules to CIDRs that are always reached by the primary interface (same source).
pub const EXTERNAL: u32 = 1535;

/// The device group of every link that nobody put into another.
const DEFAULT_GROUP: u32 = 0;

const _: () = assert!(POD_GROUP != DEFAULT_GROUP, "the rule to pods suppresses the default group");

/// The node's own part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Index of the link by which the node uses its primary interface.
    pub primary: u32,
    /// Index of that interface's device: the link below, where a bridge has its address.
    pub device: u32,
    /// Their MTU.
    pub mtu: u32,
    /// The mark of traffic that must leave by the primary interface, as value and mask.
    pub mark: Option<u32>,
    /// Which rules there are to pods.
    pub layout: Layout,
    /// CIDRs that are always reached by the primary interface.
    pub external: Vec<Ipv4Network>,
}

impl Host {
    /// Rules for all pods, and the primary interface's settings.
    pub fn ops(&self) -> Vec<Op> {
        // Loose reverse path: replies to NodePort traffic come in for addresses of other interfaces.
        let primary = LinkChange {
            link: self.primary,
            mtu: Some(self.mtu),
            ipv4: vec![rp_filter(2)],
            ..LinkChange::default()
        };
        // First the device: a bridge passes on no more than it.
        let device = (self.device != self.primary).then(|| {
            let mtu = Some(self.mtu);
            Op::Change(LinkChange { link: self.device, mtu, ..LinkChange::default() })
        });
        let rules = self.rules().into_iter().map(Object::Rule).map(Op::Add);
        device.into_iter().chain([Op::Change(primary)]).chain(rules).collect()
    }

    /// The rules among them.
    pub fn rules(&self) -> Vec<Rule> {
        let to_pods = (self.layout == Layout::Flat).then(|| Rule {
            suppress_group: Some(DEFAULT_GROUP),
            ..Rule::lookup(TO_POD, MAIN_TABLE)
        });
        let marked = self
            .mark
            .map(|mark| Rule { mark: Some((mark, mark)), ..Rule::lookup(MARKED, MAIN_TABLE) });
        let external = self
            .external
            .iter()
            .map(|cidr| Rule { to: Some(*cidr), ..Rule::lookup(EXTERNAL, MAIN_TABLE) });
        to_pods.into_iter().chain(marked).chain(external).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_layout_has_no_rule_to_all_pods() {
        let rules = Host { layout: Layout::Peer, ..host() }.rules();

        assert!(rules.iter().all(|rule| rule.suppress_group.is_none()), "{rules:?}");
        assert_eq!(rules.len(), host().rules().len() - 1);
    }

    #[test]
    fn external_blocks_are_looked_up_in_the_main_table_before_rules_from_pods() {
        let cidr = "192.0.2.0/24".parse().unwrap();

        let rules = Host { external: vec![cidr], ..host() }.rules();

        let want = Rule { to: Some(cidr), ..Rule::lookup(1535, MAIN_TABLE) };
        assert!(rules.contains(&want), "{rules:?}");
    }

    #[test]
    fn the_device_below_a_bridge_gets_the_mtu_before_it() {
        let ops = Host { primary: 9, device: 2, ..host() }.ops();

        let mtus = ops.iter().filter_map(|op| match op {
            Op::Change(change) => Some((change.link, change.mtu, change.ipv4.len())),
            Op::Add(_) | Op::Remove(_) => None,
        });
        assert_eq!(mtus.collect::<Vec<_>>(), [(2, Some(9001), 0), (9, Some(9001), 1)]);
    }

    fn host() -> Host {
        Host {
            primary: 2,
            device: 2,
            mtu: 9001,
            mark: Some(0x80),
            layout: Layout::Flat,
            external: vec![],
        }
    }
}
