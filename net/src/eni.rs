//! A network interface as changes: its link, and a routing table of its own.

use crate::op::{LinkChange, MAIN_TABLE, Object, Op, Route, Rule, rp_filter};
use ipnetwork::{IpNetwork, Ipv4Network};
use std::net::Ipv4Addr;

/// Priority of the rule that sends what an interface's primary address sends by that interface
/// (`facts/peer-datapath.md` §2.1).
pub const FROM_ENI: u32 = 32_765;

/// Table of the interface at a device index of network card 0 (`facts/peer-datapath.md` §2.1): the
/// main table for the primary one, otherwise the index and one.
pub fn table(device_index: u32) -> u32 {
    if device_index == 0 { MAIN_TABLE } else { device_index + 1 }
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
        vec![
            Op::Change(up),
            // Without its connected route: the node itself goes on using its primary interface.
            Op::Add(Object::BareAddress { link: self.link, address: self.address() }),
            Op::Add(Object::Route(
                Route::on_link(Ipv4Network::from(gateway), self.link).in_table(self.table),
            )),
            Op::Add(Object::Route(Route::via(all, gateway, self.link).in_table(self.table))),
            Op::Add(Object::Rule(self.rule())),
        ]
    }

    /// What stays behind when the device vanishes: rules name tables, not links.
    pub fn leftovers(&self) -> Vec<Op> {
        vec![Op::Remove(Object::Rule(self.rule()))]
    }

    fn rule(&self) -> Rule {
        Rule { from: Some(Ipv4Network::from(self.primary)), ..Rule::lookup(FROM_ENI, self.table) }
    }

    fn address(&self) -> IpNetwork {
        let address = Ipv4Network::new(self.primary, self.subnet.prefix());
        IpNetwork::V4(address.expect("a prefix length that a network has is legal"))
    }
}

/// The VPC router's address in a subnet: its base plus one (`facts/ec2-facts.md` §1.4).
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
    fn tables_are_those_of_the_peer() {
        assert_eq!([table(0), table(1), table(2)], [254, 2, 3]);
    }
}
