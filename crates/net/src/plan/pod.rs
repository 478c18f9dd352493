//! A pod's network as changes: a veth pair, and what routes to and from the pod's address.

use crate::plan::{
    eni::{FROM_CIDR, MARKED_TABLE},
    host::TO_POD,
    layout::{EgressSelector, POD_GROUP},
    op::{
        AutomaticIpv6, LinkChange, MAIN_TABLE, Mac, Object, Op, Route, Rule, Veth, VethPeer,
        rp_filter,
    },
};
use ipnetwork::{IpNetwork, Ipv4Network};
use std::{net::Ipv4Addr, os::fd::RawFd};

/// The gateway that a pod sees; its hardware address is the host end's, as a permanent neighbour.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// Priority of the peer's rules that send what a pod sends to the table of its interface
/// (`docs/references.md#peer-priorities`).
pub const FROM_POD: u32 = 1536;

/// Priority of the kernel's own rule for the main table (`ip-rule(8)`).
const MAIN_RULE: u32 = 32_766;

/// Added to a number made of the pod's address, for the index of the host end: far above those that
/// the kernel assigns by itself.
const FIRST_INDEX: u32 = 1 << 20;

/// Index of the pod's end: the kernel's own choice in a namespace that has only its loopback.
const POD_INDEX: u32 = 2;

/// By which name the pod's first interface goes: no other network is there before it.
pub const FIRST_INTERFACE: &str = "eth0";

/// One attachment of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Name of the host end.
    pub host_name: String,
    /// Name of the interface in the pod, `CNI_IFNAME`.
    pub pod_name: String,
    /// The pod's address.
    pub address: Ipv4Addr,
    /// Routing table of the interface that holds the address; the main table for the primary one.
    pub table: u32,
    /// How its packets find that table.
    pub egress: EgressSelector,
    /// MTU of both ends.
    pub mtu: u32,
    /// Hardware address of a host end that somebody else made; `None` for one of ours, which is made
    /// of the pod's address.
    pub host_mac: Option<Mac>,
    /// What it is among the pod's interfaces.
    pub role: Role,
}

/// What an attachment is among the interfaces of its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The pod's default route is by this interface.
    #[default]
    First,
    /// The pod had a default route before. Only what it sends from this interface's own address leaves
    /// by it.
    Additional,
}

/// Indexes of both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Of the host end, on the node.
    pub host: u32,
    /// Of the pod's end, in the pod.
    pub pod: u32,
}

impl Pod {
    /// Indexes made of the pod's address, so that one batch can both make the links and use them.
    /// A pair that is taken is no error: let the kernel choose, and ask.
    pub fn preferred_ends(&self) -> Ends {
        let [_, _, c, d] = self.address.octets();
        Ends { host: FIRST_INDEX + u32::from(c) * 256 + u32::from(d), pod: POD_INDEX }
    }

    /// The pair itself, with its other end in the pod, both down. `ends` is `None` to let the kernel choose.
    pub fn link(&self, ends: Option<Ends>, pod_netns: RawFd) -> Op {
        Op::Add(Object::Veth(Veth {
            name: self.host_name.clone(),
            index: ends.map(|ends| ends.host),
            mac: self.host_mac(),
            mtu: self.mtu,
            group: self.group(),
            up: false,
            peer: VethPeer {
                name: self.pod_name.clone(),
                index: ends.map(|ends| ends.pod),
                mac: self.pod_mac(),
                netns: Some(pod_netns),
            },
        }))
    }

    /// The host end as it was made, for when somebody has changed it since.
    pub fn host_end(&self, host: u32) -> Vec<Op> {
        vec![Op::Change(LinkChange {
            link: host,
            up: Some(true),
            name: Some(self.host_name.clone()),
            mtu: Some(self.mtu),
            mac: Some(self.host_mac()),
            group: Some(self.group()),
            ..LinkChange::default()
        })]
    }

    /// Brings up an end of the pair. It gets no IPv6 address of the kernel's own: of the time that an ADD
    /// takes, the walk over all IPv6 routes for each link is a third with a thousand pods.
    pub fn bring_up(link: u32) -> [Op; 2] {
        let keep = LinkChange { link, ..LinkChange::default() };
        let quiet = LinkChange { ipv6: Some(AutomaticIpv6::None), ..keep.clone() };
        [Op::Change(quiet), Op::Change(LinkChange { up: Some(true), ..keep })]
    }

    /// What the node needs besides the pair. `node` is the address that the node itself talks to the
    /// pod with; `None` leaves the choice to the kernel, which takes any address of the node.
    pub fn on_host(&self, host: u32, node: Option<Ipv4Addr>) -> Vec<Op> {
        // Strict reverse path: a packet whose source is not the pod's address is dropped. A loose
        // setting for all links does not undo that: on a link without an address it is as strict.
        let strict = LinkChange { link: host, ipv4: vec![rp_filter(1)], ..LinkChange::default() };
        let route = Route { source: node, ..Route::on_link(self.cidr(), host) };
        let mut ops = vec![Op::Change(strict), Op::Add(Object::Route(route))];
        ops.extend(self.rules().into_iter().map(Object::Rule).map(Op::Add));
        ops
    }

    /// Puts the host end into the device group that it would be created in now.
    pub fn regroup(&self, host: u32) -> Op {
        Op::Change(LinkChange { link: host, group: Some(self.group()), ..LinkChange::default() })
    }

    /// Device group of the host end.
    pub fn group(&self) -> u32 {
        match self.egress {
            EgressSelector::Marked => POD_GROUP + self.table,
            EgressSelector::Main
            | EgressSelector::Block
            | EgressSelector::Own
            | EgressSelector::Peer => POD_GROUP,
        }
    }

    /// What the pod needs, through a socket of its namespace.
    pub fn in_pod(&self, pod: u32) -> Vec<Op> {
        let address = Object::Address { link: pod, address: IpNetwork::V4(self.cidr()) };
        let neighbour = Object::Neighbour { link: pod, address: POD_GATEWAY, mac: self.host_mac() };
        let mut ops = Vec::from(Self::bring_up(pod));
        ops.push(Op::Add(address));
        ops.extend(self.routes_in_pod(pod).into_iter().map(Object::Route).map(Op::Add));
        ops.push(Op::Add(neighbour));
        ops.extend(self.rule_in_pod().map(Object::Rule).map(Op::Add));
        ops
    }

    /// The default route, in the main table or in one of the attachment's own. All attachments of a
    /// pod have the same gateway: only one of them can route to it in the main table.
    fn routes_in_pod(&self, pod: u32) -> Vec<Route> {
        let all = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length");
        let default = Route::via(all, POD_GATEWAY, pod);
        match self.role {
            Role::First => {
                let gateway = Route::on_link(Ipv4Network::from(POD_GATEWAY), pod);
                vec![gateway, Route { onlink: false, ..default }]
            }
            Role::Additional => vec![default.in_table(self.table_in_pod())],
        }
    }

    /// What an additional attachment needs for its replies: the host end of another drops them.
    fn rule_in_pod(&self) -> Option<Rule> {
        let rule = Rule { from: Some(self.cidr()), ..Rule::lookup(FROM_POD, self.table_in_pod()) };
        (self.role == Role::Additional).then_some(rule)
    }

    /// Number of an additional attachment's table in its pod: that of its address, which no other
    /// attachment has, and which DEL knows without a look at the link.
    fn table_in_pod(&self) -> u32 {
        u32::from(self.address)
    }

    /// Takes back what does not go with the pod's link, through a socket of the pod's namespace.
    pub fn out_of_pod(&self) -> Vec<Op> {
        self.rule_in_pod().map(Object::Rule).map(Op::Remove).into_iter().collect()
    }

    /// What stops traffic to and from the address at once; the pair itself may go later. The route goes
    /// whatever its source is: that of a pod of the peer, or of an earlier version, had none.
    pub fn unroute(&self, host: Option<u32>) -> Vec<Op> {
        let route = host.map(|host| Object::Route(Route::on_link(self.cidr(), host)));
        let rules = self.rules().into_iter().map(Object::Rule);
        route.into_iter().chain(rules).map(Op::Remove).collect()
    }

    /// Removes the pair.
    pub fn unlink(&self, host: u32) -> Op {
        let veth = Veth {
            name: self.host_name.clone(),
            index: Some(host),
            mac: self.host_mac(),
            mtu: self.mtu,
            group: self.group(),
            up: false,
            peer: VethPeer {
                name: self.pod_name.clone(),
                index: None,
                mac: self.pod_mac(),
                netns: None,
            },
        };
        Op::Remove(Object::Veth(veth))
    }

    /// Hardware address of the host end: set by us, or udev would change it under the pod's
    /// permanent neighbour entry.
    pub fn host_mac(&self) -> Mac {
        self.host_mac.unwrap_or_else(|| self.mac(0x10))
    }

    /// The pod's address that a host end's hardware address was made of; `None` for one that we did not
    /// make.
    pub fn address_of_host_mac(mac: Mac) -> Option<Ipv4Addr> {
        let Mac([0x0e, 0x10, a, b, c, d]) = mac else { return None };
        Some(Ipv4Addr::new(a, b, c, d))
    }

    /// The same of the pod's end.
    pub fn address_of_pod_mac(mac: Mac) -> Option<Ipv4Addr> {
        let Mac([0x0e, 0x11, a, b, c, d]) = mac else { return None };
        Some(Ipv4Addr::new(a, b, c, d))
    }

    /// Hardware address of the pod's end.
    pub fn pod_mac(&self) -> Mac {
        self.mac(0x11)
    }

    /// Locally administered, unicast, and different for each address and end.
    fn mac(&self, end: u8) -> Mac {
        let [a, b, c, d] = self.address.octets();
        Mac([0x0e, end, a, b, c, d])
    }

    fn cidr(&self) -> Ipv4Network {
        Ipv4Network::from(self.address)
    }

    /// Whether a rule of somebody else decides over the pod's packets before ours do: it is about the
    /// pod's address, alone or with others, and looks into a table that is neither the pod's nor main.
    /// One that asks for a mark or for an incoming link is for packets that somebody chose.
    pub fn is_overruled_by(&self, rule: &Rule) -> bool {
        let about = |cidr: Option<Ipv4Network>| cidr.is_some_and(|it| it.contains(self.address));
        let elsewhere = rule.table != MAIN_TABLE && rule.table != self.table;
        let chosen = rule.mark.is_some() || rule.suppress_group.is_some();
        let to_pod = about(rule.to) && rule.from.is_none() && rule.priority < TO_POD;
        let from_pod = about(rule.from) && rule.to.is_none() && rule.priority < self.decided_at();
        elsewhere && !chosen && (to_pod || from_pod)
    }

    /// Priority of the rule that decides over what the pod sends.
    fn decided_at(&self) -> u32 {
        match self.egress {
            EgressSelector::Marked => MARKED_TABLE,
            EgressSelector::Block | EgressSelector::Own => FROM_CIDR,
            EgressSelector::Peer if self.table != MAIN_TABLE => FROM_POD,
            EgressSelector::Main | EgressSelector::Peer => MAIN_RULE,
        }
    }

    /// Rules of its own: none, but for the peer's layout and for tables that no mark can name.
    pub fn rules(&self) -> Vec<Rule> {
        let cidr = Some(self.cidr());
        let to = Rule { to: cidr, ..Rule::lookup(TO_POD, MAIN_TABLE) };
        let from = |priority| Rule { from: cidr, ..Rule::lookup(priority, self.table) };
        match self.egress {
            EgressSelector::Main | EgressSelector::Marked | EgressSelector::Block => vec![],
            EgressSelector::Own => vec![from(FROM_CIDR)],
            // Pods of the primary interface leave by the main table without a rule.
            EgressSelector::Peer if self.table == MAIN_TABLE => vec![to],
            EgressSelector::Peer => vec![to, from(FROM_POD)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_end_of_ours_tells_the_address_that_it_was_made_for() {
        assert_eq!(Pod::address_of_host_mac(pod().host_mac()), Some(pod().address));
        assert_eq!(Pod::address_of_host_mac(pod().pod_mac()), None);
        assert_eq!(Pod::address_of_host_mac(Mac([0x76, 8, 1, 0x31, 0xfa, 0x17])), None);
    }

    #[test]
    fn a_pod_costs_no_rule_but_in_the_peers_layout() {
        let count = |egress, table| Pod { egress, table, ..pod() }.rules().len();

        assert_eq!(
            [EgressSelector::Main, EgressSelector::Marked, EgressSelector::Block]
                .map(|egress| count(egress, 2)),
            [0, 0, 0]
        );
        assert_eq!(
            (count(EgressSelector::Own, 10_101), count(EgressSelector::Peer, MAIN_TABLE)),
            (1, 1)
        );
        assert_eq!(count(EgressSelector::Peer, 2), 2);
    }

    #[test]
    fn the_device_group_says_which_table_is_marked() {
        let group = |egress| Pod { egress, ..pod() }.group();

        assert_eq!(group(EgressSelector::Marked), POD_GROUP + 2);
        assert_eq!(group(EgressSelector::Block), POD_GROUP);
    }

    #[test]
    fn a_rule_of_others_before_ours_that_is_about_the_pod_overrules_it() {
        let vpc = Some("100.64.0.0/16".parse().unwrap());
        let from = Rule { from: vpc, ..Rule::lookup(600, 99) };
        let to = Rule { to: vpc, ..Rule::lookup(100, 99) };
        let overrules = |rule: &Rule| pod().is_overruled_by(rule);

        assert!(overrules(&from) && overrules(&to));
        for harmless in [
            Rule { priority: 1600, ..from.clone() },
            Rule { priority: 600, ..to },
            Rule { table: MAIN_TABLE, ..from.clone() },
            Rule { table: 2, ..from.clone() },
            Rule { mark: Some((1, 1)), ..from.clone() },
            Rule { from: Some("100.65.0.0/16".parse().unwrap()), ..from },
            Rule::lookup(100, 99),
        ] {
            assert!(!overrules(&harmless), "{harmless:?}");
        }
        let main = Pod { egress: EgressSelector::Main, table: MAIN_TABLE, ..pod() };
        assert!(main.is_overruled_by(&Rule { priority: 1600, ..from }));
    }

    #[test]
    fn unrouting_takes_back_all_that_routes() {
        let routes = |ops: Vec<Op>| -> Vec<Object> {
            let object = |op| match op {
                Op::Add(object @ (Object::Route(_) | Object::Rule(_))) => Some(object),
                Op::Remove(object) => Some(object),
                Op::Add(_) | Op::Change(_) => None,
            };
            ops.into_iter().filter_map(object).collect()
        };

        for egress in [
            EgressSelector::Main,
            EgressSelector::Marked,
            EgressSelector::Block,
            EgressSelector::Own,
            EgressSelector::Peer,
        ] {
            let pod = Pod { egress, ..pod() };
            assert_eq!(routes(pod.unroute(Some(7))), routes(pod.on_host(7, None)), "{egress:?}");
        }
    }

    #[test]
    fn the_node_talks_to_a_pod_with_the_address_that_it_is_told_to() {
        let node = Ipv4Addr::new(10, 0, 0, 140);
        let sources = |node| -> Vec<_> {
            let ops = pod().on_host(7, node).into_iter();
            let source = |op| match op {
                Op::Add(Object::Route(route)) => Some(route.source),
                Op::Add(_) | Op::Remove(_) | Op::Change(_) => None,
            };
            ops.filter_map(source).collect()
        };

        assert_eq!((sources(Some(node)), sources(None)), (vec![Some(node)], vec![None]));
    }

    #[test]
    fn the_pods_neighbour_is_the_host_end() {
        let Op::Add(Object::Veth(veth)) = pod().link(None, 0) else { panic!("not a veth") };
        let ops = pod().in_pod(2);

        let neighbour = Object::Neighbour { link: 2, address: POD_GATEWAY, mac: veth.mac };
        assert!(ops.contains(&Op::Add(neighbour)), "{ops:?}");
    }

    #[test]
    fn an_additional_attachment_leaves_the_main_table_of_its_pod_alone() {
        let additional = Pod { role: Role::Additional, ..pod() };
        let table = u32::from(additional.address);

        let routes: Vec<_> = additional.routes_in_pod(3).iter().map(|it| it.table).collect();
        let rule = Rule { from: Some(additional.cidr()), ..Rule::lookup(FROM_POD, table) };

        assert_eq!(routes, [table]);
        assert!(additional.in_pod(3).contains(&Op::Add(Object::Rule(rule.clone()))));
        assert_eq!(additional.out_of_pod(), [Op::Remove(Object::Rule(rule))]);
        assert_eq!(pod().out_of_pod(), []);
        assert!(pod().routes_in_pod(3).iter().all(|it| it.table == MAIN_TABLE));
    }

    fn pod() -> Pod {
        Pod {
            host_name: "eni0d7763386da".into(),
            pod_name: "eth0".into(),
            address: [100, 64, 0, 9].into(),
            table: 2,
            egress: EgressSelector::Marked,
            mtu: 9001,
            host_mac: None,
            role: Role::First,
        }
    }
}
