//! A network interface as changes: its link, and a routing table of its own.

use crate::plan::op::{LinkChange, MAIN_TABLE, Object, Op, Route, Rule, rp_filter};
use ipnetwork::{IpNetwork, Ipv4Network};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Priority of the rule that sends what an interface's primary address sends by that interface
/// (`docs/references.md#peer-priorities`).
pub const FROM_ENI: u32 = 32_765;

/// Priority of the rule that sends what is marked for an interface to its table: where the peer has
/// its rules from pods (same source).
pub const MARKED_TABLE: u32 = 1536;

/// Priority of rules for the CIDRs of an interface. After [`MARKED_TABLE`], because the answer to a
/// connection from outside leaves by the interface that it came in by, whatever the pod's address.
pub const FROM_CIDR: u32 = 1537;

/// The smallest table of an interface of another network card than the first (same source).
const OTHER_CARDS: u32 = 10_000;

/// Table of the interface at a device index of a network card (same source): the main table for the
/// primary one, otherwise the index and one on the first card, and above 10,000 on the others.
pub fn table(card: u32, device_index: u32) -> u32 {
    match (card, device_index) {
        (0, 0) => MAIN_TABLE,
        (0, index) => index + 1,
        (card, index) => OTHER_CARDS + index + 100 * card,
    }
}

/// A secondary network interface whose device is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eni {
    /// Index of its link.
    pub link: u32,
    /// Its primary address.
    pub primary: Ipv4Addr,
    /// Its subnet.
    pub subnet: Ipv4Network,
    /// Its routing table, see [`table`].
    pub table: u32,
    /// Its MTU.
    pub mtu: u32,
    /// What is marked for its table, as value and mask, if anything is.
    pub mark: Option<(u32, u32)>,
    /// CIDRs of addresses that have a rule: its prefixes.
    pub cidrs: BTreeSet<Ipv4Network>,
}

impl Eni {
    /// Everything that lets pods leave by this interface. Run again it changes nothing: no address
    /// or route is taken away on the way, so running pods do not notice.
    pub fn ops(&self) -> Vec<Op> {
        let gateway = gateway(self.subnet);
        let all = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length");
        // Loose reverse path: what comes in for pods by this interface may come from addresses that
        // the node itself would reach by the primary one.
        let up = LinkChange {
            link: self.link,
            up: Some(true),
            mtu: Some(self.mtu),
            ipv4: vec![rp_filter(2)],
            ..LinkChange::default()
        };
        let mut ops = vec![
            Op::Change(up),
            // Without its connected route: the node itself goes on using its primary interface.
            Op::Add(Object::BareAddress { link: self.link, address: self.address() }),
            Op::Add(Object::Route(
                Route::on_link(Ipv4Network::from(gateway), self.link).in_table(self.table),
            )),
            // The kernel finds the gateway in the table itself.
            Op::Add(Object::Route(Route {
                onlink: false,
                ..Route::via(all, gateway, self.link).in_table(self.table)
            })),
        ];
        ops.extend(self.rules().into_iter().map(Object::Rule).map(Op::Add));
        ops
    }

    /// The rules among them.
    pub fn rules(&self) -> Vec<Rule> {
        let marked = self
            .mark
            .map(|mark| Rule { mark: Some(mark), ..Rule::lookup(MARKED_TABLE, self.table) });
        let cidrs = self.cidrs.iter().map(|cidr| self.cidr_rule(*cidr));
        [self.rule()].into_iter().chain(marked).chain(cidrs).collect()
    }

    /// The rule for one CIDR of its addresses.
    fn cidr_rule(&self, cidr: Ipv4Network) -> Rule {
        Rule { from: Some(cidr), ..Rule::lookup(FROM_CIDR, self.table) }
    }

    /// What changes when it has these CIDRs from now on.
    pub fn change_cidrs(&self, cidrs: &BTreeSet<Ipv4Network>) -> Vec<Op> {
        let rule = |cidr: &Ipv4Network| Object::Rule(self.cidr_rule(*cidr));
        let new = cidrs.difference(&self.cidrs).map(rule).map(Op::Add);
        new.chain(self.cidrs.difference(cidrs).map(rule).map(Op::Remove)).collect()
    }

    /// What the kernel keeps when the device vanishes: rules name tables, not links.
    pub fn leftovers(&self) -> Vec<Op> {
        self.rules().into_iter().map(Object::Rule).map(Op::Remove).collect()
    }

    fn rule(&self) -> Rule {
        Rule { from: Some(Ipv4Network::from(self.primary)), ..Rule::lookup(FROM_ENI, self.table) }
    }

    fn address(&self) -> IpNetwork {
        let address = Ipv4Network::new(self.primary, self.subnet.prefix());
        IpNetwork::V4(address.expect("a prefix length that a network has is legal"))
    }
}

/// The VPC router's address in a subnet: its base plus one (`docs/references.md#vpc-router`).
pub fn gateway(subnet: Ipv4Network) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_the_first_address_after_the_base() {
        assert_eq!(gateway("100.64.1.0/24".parse().unwrap()), Ipv4Addr::new(100, 64, 1, 1));
        assert_eq!(gateway("10.0.0.200/25".parse().unwrap()), Ipv4Addr::new(10, 0, 0, 129));
    }

    #[test]
    fn blocks_that_come_and_go_change_only_their_own_rules() {
        let cidrs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let eni = Eni {
            link: 3,
            primary: [100, 64, 0, 20].into(),
            subnet: "100.64.0.0/24".parse().unwrap(),
            table: 2,
            mtu: 9001,
            mark: Some((2, 0x7f)),
            cidrs: cidrs(&["100.64.0.16/28", "100.64.0.32/28"]),
        };

        let ops = eni.change_cidrs(&cidrs(&["100.64.0.32/28", "100.64.0.48/28"]));

        let rule = |cidr: &str| {
            let from = Some(cidr.parse().unwrap());
            Object::Rule(Rule { from, ..Rule::lookup(1537, 2) })
        };
        assert_eq!(ops, [Op::Add(rule("100.64.0.48/28")), Op::Remove(rule("100.64.0.16/28"))]);
    }

    #[test]
    fn tables_are_those_of_the_peer() {
        assert_eq!([table(0, 0), table(0, 1), table(0, 2)], [254, 2, 3]);
        assert_eq!([table(1, 0), table(1, 1), table(31, 14)], [10_100, 10_101, 13_114]);
    }
}
