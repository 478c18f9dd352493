//! Stale rules of ours: of another layout, and of pods that are gone.

use crate::plan::{
    eni::{FROM_CIDR, MARKED_TABLE},
    host::{EXTERNAL, MARKED, TO_POD},
    op::{MAIN_TABLE, Object, Op, Rule},
    pod::FROM_POD,
};
use ipnetwork::Ipv4Network;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// What distinguishes stale rules from needed ones and from those of other programs.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Rules that must be there.
    pub rules: BTreeSet<Rule>,
    /// Tables of interfaces that are attached, but not set up yet: their rules stay.
    pub coming: BTreeSet<u32>,
    /// Addresses of our pods.
    pub pods: BTreeSet<Ipv4Addr>,
    /// Addresses that pods of this node can have: those of its interfaces.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Addresses that the main table routes to a link: a pod has each, perhaps one that the peer
    /// made.
    pub routed: BTreeSet<Ipv4Addr>,
}

impl Needed {
    /// Changes that remove what is not needed of what the kernel has.
    pub fn remove_others(&self, found: &[Rule]) -> Vec<Op> {
        let over = found.iter().filter(|rule| !self.rules.contains(rule) && self.is_over(rule));
        over.cloned().map(Object::Rule).map(Op::Remove).collect()
    }

    /// Whether a rule is one that we or the peer make, for something that is not there any more.
    fn is_over(&self, rule: &Rule) -> bool {
        let to_main = rule.table == MAIN_TABLE;
        match (rule.priority, rule.from, rule.to, rule.mark, rule.suppress_group) {
            (TO_POD, None, None, None, Some(0)) => to_main,
            (TO_POD, None, Some(pod), None, None) => to_main && self.is_over_pod(pod),
            (MARKED, None, None, Some((mark, mask)), None) => to_main && mark == mask,
            // As the peer: nobody else's rules are of this priority and for this table.
            (EXTERNAL, None, Some(_), None, None) => to_main,
            (MARKED_TABLE, None, None, Some(_), None) => !self.coming.contains(&rule.table),
            (FROM_POD, Some(pod), None, None, None) => self.is_over_pod(pod),
            (FROM_CIDR, Some(_), None, None, None) => !self.coming.contains(&rule.table),
            _ => false,
        }
    }

    /// A rule for one of our pods that is not needed is of another layout. A rule for an address
    /// that is ours and that no pod has would misroute the next pod with that address.
    fn is_over_pod(&self, pod: Ipv4Network) -> bool {
        let address = pod.ip();
        pod.prefix() == 32
            && (self.pods.contains(&address)
                || self.addresses.contains(&address) && !self.routed.contains(&address))
    }
}

/// Whether a rule is one that we make and the peer does not: it is of no use to the peer.
pub fn is_ours_alone(rule: &Rule) -> bool {
    match (rule.priority, rule.from, rule.to, rule.mark, rule.suppress_group) {
        (TO_POD, None, None, None, Some(0)) => rule.table == MAIN_TABLE,
        (MARKED_TABLE, None, None, Some(_), None) | (FROM_CIDR, Some(_), None, None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);
    const FREE: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 10);
    const STRANGER: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 11);
    const PEERS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 12);

    #[test]
    fn rules_of_the_other_layout_go() {
        let rules = [
            to(POD),
            from(POD, 2),
            mark(2),
            cidr(2),
            Rule { suppress_group: Some(0), ..Rule::lookup(512, 254) },
        ];

        for rule in &rules {
            assert!(goes(rule, &needed()), "{rule:?}");
            let needed = Needed { rules: [rule.clone()].into(), ..needed() };
            assert!(!goes(rule, &needed), "{rule:?} is needed");
        }
    }

    #[test]
    fn rules_that_the_peer_makes_as_well_are_not_ours_alone() {
        let to_pods = Rule { suppress_group: Some(0), ..Rule::lookup(512, 254) };

        assert!([to_pods, mark(2), cidr(2)].iter().all(is_ours_alone));
        let marked = Rule { mark: Some((0x80, 0x80)), ..Rule::lookup(1024, 254) };
        let of_eni = Rule { priority: 32_765, ..from(POD, 2) };
        assert!(![to(POD), from(POD, 2), marked, of_eni].iter().any(is_ours_alone));
    }

    #[test]
    fn rules_for_free_addresses_of_ours_go_and_those_for_pods_of_others_stay() {
        assert!(goes(&from(FREE, 3), &needed()) && goes(&to(FREE), &needed()));
        assert!(!goes(&from(PEERS, 3), &needed()) && !goes(&to(PEERS), &needed()));
        assert!(!goes(&from(STRANGER, 3), &needed()) && !goes(&to(STRANGER), &needed()));
    }

    #[test]
    fn rules_of_an_interface_whose_device_is_not_there_yet_stay() {
        let needed = Needed { coming: [2].into(), ..needed() };

        assert!(!goes(&mark(2), &needed) && !goes(&cidr(2), &needed));
        assert!(goes(&mark(3), &needed) && goes(&cidr(3), &needed));
    }

    #[test]
    fn a_mark_that_was_set_before_goes_and_rules_that_are_not_of_our_form_stay() {
        let marked = |mark, table| Rule { mark: Some(mark), ..Rule::lookup(1024, table) };

        assert!(goes(&marked((0x40, 0x40), 254), &needed()));
        assert!(!goes(&marked((0x40, 0xff), 254), &needed()));
        assert!(!goes(&marked((0x40, 0x40), 7), &needed()));
        assert!(!goes(&Rule::lookup(512, 254), &needed()));
        assert!(!goes(&Rule { priority: 1000, ..from(POD, 2) }, &needed()));
        assert!(!goes(&Rule::lookup(32_766, 254), &needed()));
    }

    fn needed() -> Needed {
        Needed {
            pods: [POD].into(),
            addresses: [POD, FREE, PEERS].into(),
            routed: [POD, PEERS].into(),
            ..Needed::default()
        }
    }

    fn goes(rule: &Rule, needed: &Needed) -> bool {
        !needed.remove_others(std::slice::from_ref(rule)).is_empty()
    }

    fn to(pod: Ipv4Addr) -> Rule {
        Rule { to: Some(pod.into()), ..Rule::lookup(512, 254) }
    }

    fn from(pod: Ipv4Addr, table: u32) -> Rule {
        Rule { from: Some(pod.into()), ..Rule::lookup(1536, table) }
    }

    fn mark(table: u32) -> Rule {
        Rule { mark: Some((table, 0x7f)), ..Rule::lookup(1536, table) }
    }

    fn cidr(table: u32) -> Rule {
        Rule { from: Some("100.64.0.16/28".parse().unwrap()), ..Rule::lookup(1537, table) }
    }
}
