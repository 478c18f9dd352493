//! The router's filters as text for `nft`: source check, security groups, internet gateway.

use super::{
    change::change,
    delivery::normal,
    devices::{INTERNET_NAME, SERVICES_NAME},
    drops::Reason,
};
use std::collections::{BTreeMap, BTreeSet};
use vpc::topology::{Eni, Group, Peer, Permission, Protocol, Topology};

/// Where a VPC's link-local services are (metadata .254, DNS .253, time .123): on every link.
const LINK_LOCAL_SERVICES: &str = "169.254.169.0/24";

/// The VPC's DNS is at its first address plus this, beside 169.254.169.253.
const RESOLVER: u32 = 2;

/// Interfaces whose packets to link-local services are counted at once: more than a world has.
const MOST_SENDERS: u32 = 65_535;

/// One table, rendered. Tables are changed in place, see [`change`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    family: &'static str,
    name: &'static str,
    text: String,
}

impl Table {
    /// A script that replaces the table, whether it is there or not.
    fn replacement(&self) -> String {
        let Self { family, name, text } = self;
        format!("add table {family} {name}\ndelete table {family} {name}\n{text}")
    }

    /// A script that turns the tables that are there into these.
    pub(super) fn changes(before: &[Self], after: &[Self]) -> String {
        let script = |table: &Self| {
            let Self { family, name, text } = table;
            let old = before.iter().find(|old| (old.family, old.name) == (*family, *name));
            old.and_then(|old| change(&format!("{family} {name}"), &old.text, text))
                .unwrap_or_else(|| table.replacement())
        };
        after.iter().map(script).collect()
    }
}

/// The tables of a topology. `ends` names the router's end of every interface.
pub(super) fn tables(topology: &Topology, ends: &BTreeMap<String, String>) -> Vec<Table> {
    let enis: Vec<(&str, &Eni)> = topology
        .enis
        .iter()
        .filter_map(|(id, eni)| ends.get(id).map(|end| (end.as_str(), eni)))
        .collect();
    vec![
        neighbours(&enis),
        source_check(&enis),
        link_local_limit(topology),
        security_groups(topology, &enis),
        internet_gateway(topology),
    ]
}

/// A machine that asks by ARP for what is not in its interface's subnet is not answered, so that a
/// route without a gateway fails here as it does in a VPC.
fn neighbours(enis: &[(&str, &Eni)]) -> Table {
    let name = "neighbours";
    let near = enis.iter().map(|(end, eni)| format!("\"{end}\" . {}", normal(eni.subnet)));
    let text = format!(
        r#"table arp {name} {{
	set near {{
		typeof iifname . arp daddr ip
		flags interval
{}	}}
	chain input {{
		type filter hook input priority 0; policy drop;
		arp operation != request accept
		arp daddr ip {LINK_LOCAL_SERVICES} accept
		iifname . arp daddr ip @near accept
	}}
}}
"#,
        elements(near),
    );
    Table { family: "arp", name, text }
}

/// An interface may send only with its hardware address, and only from addresses that it owns. A VPC
/// carries no broadcast and no multicast; machines send them all the time, so they do not count.
fn source_check(enis: &[(&str, &Eni)]) -> Table {
    let name = "source_check";
    let macs = enis.iter().map(|(end, eni)| format!("\"{end}\" . {}", eni.mac));
    let unchecked =
        enis.iter().filter(|(_, eni)| !eni.source_dest_check).map(|(end, _)| format!("\"{end}\""));
    let owned = enis
        .iter()
        .flat_map(|(end, eni)| addresses(eni).map(move |owned| format!("\"{end}\" . {owned}")));
    let text = format!(
        r#"table ip {name} {{
	set macs {{
		typeof iifname . ether saddr
{}	}}
	set owned {{
		typeof iifname . ip saddr
		flags interval
{}	}}
	set unchecked {{
		type ifname
{}	}}
	chain prerouting {{
		type filter hook prerouting priority -310; policy accept;
		iifname {{ "lo", "{INTERNET_NAME}", "{SERVICES_NAME}" }} accept
		ip daddr {{ 224.0.0.0/4, 255.255.255.255 }} drop
		iifname . ether saddr != @macs meta mark set {mark} accept
		iifname @unchecked accept
		iifname . ip saddr @owned accept
		meta mark set {mark}
	}}
}}
"#,
        elements(macs),
        elements(owned),
        elements(unchecked),
        mark = Reason::SourceCheck.mark(),
    );
    Table { family: "ip", name, text }
}

/// How much an interface may send to link-local services and to the VPC's resolver, together. The
/// text says nothing of interfaces: the table, and what it has counted, outlives changes of them.
fn link_local_limit(topology: &Topology) -> Table {
    let name = "link_local_limit";
    let resolver = topology.vpc_cidrs.first().and_then(|block| block.nth(RESOLVER));
    let resolver = resolver.map(|address| format!(", {address}")).unwrap_or_default();
    let limit = topology.link_local_packets;
    let rule = match limit {
        0 => String::new(),
        // A second's worth may come at once.
        _ => format!(
            "\t\tip daddr {{ {LINK_LOCAL_SERVICES}{resolver} }} meta mark 0 \
             add @senders {{ iifname limit rate over {limit}/second burst {limit} packets }} \
             meta mark set {}\n",
            Reason::LinkLocalLimit.mark()
        ),
    };
    let text = format!(
        r#"table ip {name} {{
	set senders {{
		type ifname
		size {MOST_SENDERS}
		flags dynamic
	}}
	chain prerouting {{
		type filter hook prerouting priority -308; policy accept;
		iifname {{ "lo", "{INTERNET_NAME}", "{SERVICES_NAME}" }} accept
{rule}	}}
}}
"#
    );
    Table { family: "ip", name, text }
}

/// What senders' and receivers' groups allow; replies, and traffic with the services, pass.
fn security_groups(topology: &Topology, enis: &[(&str, &Eni)]) -> Table {
    let name = "security_groups";
    // Interfaces with the same groups share their chains.
    let mut chains: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    let (mut senders, mut receivers) = (vec![], vec![]);
    for (end, eni) in enis {
        let groups: BTreeSet<&str> = eni.groups.iter().map(String::as_str).collect();
        let next = chains.len();
        let chain = *chains.entry(groups.into_iter().collect()).or_insert(next);
        senders.push(format!("\"{end}\" : jump egress_{chain}"));
        receivers.push(format!("\"{end}\" : jump ingress_{chain}"));
    }
    let members: BTreeMap<&str, usize> =
        topology.groups.keys().enumerate().map(|(number, id)| (id.as_str(), number)).collect();
    let mut text = format!("table ip {name} {{\n");
    for (id, number) in &members {
        let members: BTreeSet<String> = enis
            .iter()
            .filter(|(_, eni)| eni.groups.iter().any(|group| group == id))
            .flat_map(|(_, eni)| addresses(eni))
            .collect();
        let elements = elements(members.into_iter());
        let set = "\t\ttype ipv4_addr\n\t\tflags interval\n";
        text += &format!("\tset members_{number} {{\n{set}{elements}\t}}\n");
    }
    for (groups, chain) in &chains {
        let groups: Vec<&Group> = groups.iter().filter_map(|id| topology.groups.get(*id)).collect();
        let egress = groups.iter().flat_map(|group| &group.egress);
        let ingress = groups.iter().flat_map(|group| &group.ingress);
        for (direction, rules, reason) in [
            ("egress", rules(egress, "daddr", &members), Reason::Egress),
            ("ingress", rules(ingress, "saddr", &members), Reason::Ingress),
        ] {
            let end = format!("\t\tmeta mark set {}\n", reason.mark());
            text += &format!("\tchain {direction}_{chain} {{\n{rules}{end}\t}}\n");
        }
    }
    let senders = elements(senders.into_iter());
    let receivers = elements(receivers.into_iter());
    text += &format!(
        r#"	map senders {{
		type ifname : verdict
{senders}	}}
	map receivers {{
		type ifname : verdict
{receivers}	}}
	chain forward {{
		type filter hook forward priority 0; policy accept;
		meta mark != 0 accept
		ct state established,related accept
		iifname "{SERVICES_NAME}" accept
		oifname "{SERVICES_NAME}" accept
		iifname vmap @senders
		meta mark != 0 accept
		oifname vmap @receivers
	}}
}}
"#
    );
    Table { family: "ip", name, text }
}

/// One to one between private and public addresses; nothing else passes to or from the internet.
fn internet_gateway(topology: &Topology) -> Table {
    let name = "internet_gateway";
    let outward = topology.public.iter().map(|(private, public)| format!("{private} : {public}"));
    // A public address belongs to one private address; were there two, the first would have it.
    let owners: BTreeMap<_, _> =
        topology.public.iter().rev().map(|(private, public)| (public, private)).collect();
    let inward = owners.iter().map(|(public, private)| format!("{public} : {private}"));
    let text = format!(
        r#"table ip {name} {{
	map outward {{
		type ipv4_addr : ipv4_addr
{}	}}
	map inward {{
		type ipv4_addr : ipv4_addr
{}	}}
	chain arrive {{
		type filter hook prerouting priority -310; policy accept;
		iifname "{INTERNET_NAME}" ip daddr != @inward drop
	}}
	chain inward_nat {{
		type nat hook prerouting priority -100; policy accept;
		iifname "{INTERNET_NAME}" dnat to ip daddr map @inward
	}}
	chain leave {{
		type filter hook forward priority -10; policy accept;
		oifname "{INTERNET_NAME}" ip saddr != @outward meta mark set {mark}
	}}
	chain outward_nat {{
		type nat hook postrouting priority 100; policy accept;
		oifname "{INTERNET_NAME}" snat to ip saddr map @outward
	}}
}}
"#,
        elements(outward),
        elements(inward),
        mark = Reason::NoPublicAddress.mark(),
    );
    Table { family: "ip", name, text }
}

/// Everything that an interface owns.
fn addresses(eni: &Eni) -> impl Iterator<Item = String> {
    let addresses = eni.primary.iter().chain(&eni.secondary).map(ToString::to_string);
    addresses.chain(eni.prefixes.iter().map(|prefix| normal(*prefix).to_string()))
}

/// The elements of a set; one without any has no such line.
fn elements(elements: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = elements.collect();
    if all.is_empty() {
        String::new()
    } else {
        format!("\t\telements = {{ {} }}\n", all.join(", "))
    }
}

/// One line for each permission that can match; `side` is where the packet's other end stands.
fn rules<'a>(
    permissions: impl Iterator<Item = &'a Permission>,
    side: &str,
    members: &BTreeMap<&str, usize>,
) -> String {
    let mut text = String::new();
    for permission in permissions {
        let peer = match &permission.peer {
            Peer::Cidr(cidr) => format!("ip {side} {}", normal(*cidr)),
            Peer::Group(id) => match members.get(id.as_str()) {
                Some(number) => format!("ip {side} @members_{number}"),
                None => continue,
            },
        };
        let protocol = match permission.protocol {
            Protocol::Any => String::new(),
            Protocol::Icmp => " ip protocol icmp".into(),
            Protocol::Tcp(first, last) if first <= last => format!(" tcp dport {first}-{last}"),
            Protocol::Udp(first, last) if first <= last => format!(" udp dport {first}-{last}"),
            // From a port to a lower one there is none.
            Protocol::Tcp(..) | Protocol::Udp(..) => continue,
        };
        text += &format!("\t\t{peer}{protocol} return\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::Mac;

    #[test]
    fn an_interface_may_send_from_what_it_owns() {
        let topology = topology(vec![]);

        let text = rendered(&topology, "source_check");

        has(&text, "elements = { \"e1\" . 02:02:02:02:02:02 }");
        has(&text, "elements = { \"e1\" . 10.0.1.5, \"e1\" . 10.0.1.6, \"e1\" . 10.0.1.32/28 }");
    }

    #[test]
    fn only_interfaces_without_source_check_are_unchecked() {
        let mut topology = topology(vec![]);
        let unchecked = "set unchecked {\n\t\ttype ifname\n\t\telements = { \"e1\" }";
        assert!(!rendered(&topology, "source_check").contains(unchecked));

        topology.enis.get_mut("eni-1").unwrap().source_dest_check = false;

        has(&rendered(&topology, "source_check"), unchecked);
    }

    #[test]
    fn every_protocol_of_a_group_becomes_one_line() {
        let cidr = Peer::Cidr("10.0.9.9/24".parse().unwrap());
        let group = Peer::Group("sg-1".into());
        let topology = topology(vec![
            Permission { protocol: Protocol::Any, peer: cidr.clone() },
            Permission { protocol: Protocol::Icmp, peer: cidr },
            Permission { protocol: Protocol::Tcp(80, 80), peer: group.clone() },
            Permission { protocol: Protocol::Udp(0, 65535), peer: group },
        ]);

        let text = rendered(&topology, "security_groups");

        has(
            &text,
            "\tchain ingress_0 {\n\
             \t\tip saddr 10.0.9.0/24 return\n\
             \t\tip saddr 10.0.9.0/24 ip protocol icmp return\n\
             \t\tip saddr @members_0 tcp dport 80-80 return\n\
             \t\tip saddr @members_0 udp dport 0-65535 return\n\
             \t\tmeta mark set 3\n\t}",
        );
        has(&text, "\tchain egress_0 {\n\t\tmeta mark set 2\n\t}");
        has(&text, "elements = { 10.0.1.32/28, 10.0.1.5, 10.0.1.6 }");
        has(&text, "elements = { \"e1\" : jump ingress_0 }");
    }

    #[test]
    fn what_can_match_nothing_is_left_out() {
        let topology = topology(vec![
            Permission { protocol: Protocol::Tcp(81, 80), peer: Peer::Group("sg-1".into()) },
            Permission { protocol: Protocol::Any, peer: Peer::Group("sg-unknown".into()) },
        ]);

        let text = rendered(&topology, "security_groups");

        has(&text, "\tchain ingress_0 {\n\t\tmeta mark set 3\n\t}");
    }

    #[test]
    fn interfaces_with_the_same_groups_in_any_order_share_their_chains() {
        let mut topology = topology(vec![]);
        topology.groups.insert("sg-2".into(), Group::default());
        topology.enis.get_mut("eni-1").unwrap().groups = vec!["sg-1".into(), "sg-2".into()];
        let mut other = topology.enis["eni-1"].clone();
        other.groups.reverse();
        topology.enis.insert("eni-2".into(), other);

        let text = rendered(&topology, "security_groups");

        has(&text, "elements = { \"e1\" : jump egress_0, \"e2\" : jump egress_0 }");
    }

    #[test]
    fn a_limit_of_none_is_no_limit() {
        let mut topology = topology(vec![]);
        assert!(!rendered(&topology, "link_local_limit").contains("limit rate"));

        topology.link_local_packets = 7;
        topology.vpc_cidrs = vec!["10.0.0.0/16".parse().unwrap()];

        let text = rendered(&topology, "link_local_limit");
        has(&text, "ip daddr { 169.254.169.0/24, 10.0.0.2 }");
        has(&text, "limit rate over 7/second burst 7 packets");
    }

    #[test]
    fn public_addresses_are_translated_both_ways() {
        let mut topology = topology(vec![]);
        topology.public.insert("10.0.1.5".parse().unwrap(), "198.51.100.1".parse().unwrap());

        let text = rendered(&topology, "internet_gateway");

        has(&text, "elements = { 10.0.1.5 : 198.51.100.1 }");
        has(&text, "elements = { 198.51.100.1 : 10.0.1.5 }");
    }

    #[test]
    fn one_more_address_changes_neither_neighbours_nor_public_addresses() {
        let before = topology(vec![]);
        let mut after = before.clone();
        after.enis.get_mut("eni-1").unwrap().secondary.push("10.0.1.7".parse().unwrap());

        let (before, after) = (all(&before), all(&after));

        assert_eq!(before.iter().zip(&after).filter(|(a, b)| a != b).count(), 2);
        assert_eq!((before.first(), before.last()), (after.first(), after.last()));
    }

    #[track_caller]
    fn has(text: &str, part: &str) {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }

    fn rendered(topology: &Topology, name: &str) -> String {
        all(topology).into_iter().find(|table| table.name == name).unwrap().text
    }

    fn all(topology: &Topology) -> Vec<Table> {
        let ends = topology.enis.keys().map(|id| (id.clone(), id.replace("eni-", "e"))).collect();
        tables(topology, &ends)
    }

    /// One interface in one group, with these rules for what comes in.
    fn topology(ingress: Vec<Permission>) -> Topology {
        let eni = Eni {
            node: "n".into(),
            device: "ens5".into(),
            boot: true,
            mac: Mac([2; 6]),
            subnet: "10.0.1.0/24".parse().unwrap(),
            primary: "10.0.1.5".parse().ok(),
            secondary: vec!["10.0.1.6".parse().unwrap()],
            prefixes: vec!["10.0.1.32/28".parse().unwrap()],
            groups: vec!["sg-1".into()],
            source_dest_check: true,
        };
        Topology {
            enis: BTreeMap::from([("eni-1".into(), eni)]),
            groups: BTreeMap::from([("sg-1".into(), Group { ingress, egress: vec![] })]),
            ..Topology::default()
        }
    }
}
