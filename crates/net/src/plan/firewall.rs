//! The node's filter rules as text: what pods may send, which traffic leaves by which interface,
//! and what of it is translated.

use crate::plan::layout::{self, TableMarks};
use ipnetwork::Ipv4Network;
use std::{
    collections::BTreeMap,
    fmt::{Result, Write},
    net::Ipv4Addr,
};

/// Our tables, one for IPv4 and one for IPv6. Not the peer's name: its table is taken away only once
/// ours do their work (`plan/peer_filters`).
pub const TABLE: &str = "eni-cni";

/// Where an instance asks who it is (`docs/references.md#imds-address`).
const METADATA_SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// What the rules are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// Name of the primary interface's link.
    pub primary_link: String,
    /// The primary interface's primary address.
    pub primary: Ipv4Addr,
    /// CIDRs that pods reach with their own addresses: the VPC's, and those excluded by a setting.
    pub direct: Vec<Ipv4Network>,
    /// Marks connections that must leave by the primary interface.
    pub mark: u32,
    /// Bits of a mark that name the table of a secondary interface; `None` marks for none.
    pub tables: Option<TableMarks>,
    /// Secondary interfaces: index of the link by table.
    pub interfaces: BTreeMap<u32, u32>,
    /// Who translates traffic that leaves the VPC.
    pub snat: Snat,
    /// Let answers to NodePort traffic leave by the interface that it came in by.
    pub node_port: NodePort,
    /// Whether pods reach the instance metadata service.
    pub metadata: Metadata,
}

/// Who translates traffic that leaves the VPC, and how source ports are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snat {
    /// The node, with random ports (`prng`).
    FullyRandom,
    /// The node, with ports from a hash (`hashrandom`).
    Random,
    /// The node, keeping ports where it can (`none`).
    Sequential,
    /// Somebody else: pods leave with their own addresses.
    External,
}

/// Whether answers to NodePort traffic leave by the interface that it came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePort {
    /// Answers leave by the interface that the request came in by.
    Supported,
    /// Answers leave by the pod's interface.
    Ignored,
}

/// Whether pods reach the instance metadata service, and with it the node's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// They do.
    Open,
    /// They are refused.
    Blocked,
}

/// A script that takes our tables away, whether they are there or not.
pub fn removal() -> String {
    let of = |family| format!("table {family} {TABLE}\ndelete table {family} {TABLE}\n");
    ["ip", "ip6"].map(of).concat()
}

/// A secondary interface, as the rules name it.
struct Secondary {
    link: u32,
    table: u32,
    mark: u32,
}

impl Firewall {
    /// A script that replaces our tables in one transaction, and touches nothing else.
    pub fn script(&self) -> String {
        let mut text = removal();
        self.write(&mut text).expect("writing to a string does not fail");
        text
    }

    /// Whether anything is marked that must leave by the primary interface.
    pub fn marks(&self) -> bool {
        self.node_port == NodePort::Supported || self.snat != Snat::External
    }

    fn write(&self, text: &mut String) -> Result {
        writeln!(text, "table ip {TABLE} {{")?;
        write_spoofed(text)?;
        if self.node_port == NodePort::Supported {
            self.write_came_in(text)?;
        }
        let how = match self.snat {
            Snat::FullyRandom => Some(" fully-random"),
            Snat::Random => Some(" random"),
            Snat::Sequential => Some(""),
            Snat::External => None,
        };
        if how.is_some() {
            self.write_outbound(text)?;
        }
        self.write_choice(text)?;
        if self.metadata == Metadata::Blocked {
            write_metadata(text)?;
        }
        if let Some(how) = how {
            self.write_leave_vpc(text, how)?;
        }
        // Pods have no IPv6 here: their router advertisements must not become the node's routes,
        // and their link-local addresses must not reach its services.
        writeln!(
            text,
            "}}\ntable ip6 {TABLE} {{\n  chain from-pods {{ type filter hook prerouting priority raw;\n    \
               {} drop\n  }}\n}}",
            of_pods("==")
        )
    }

    /// A connection to the node itself by one of its interfaces: its answers leave by that
    /// interface. Answers to the node come to one of its addresses as well, but begin no
    /// connection.
    fn write_came_in(&self, text: &mut String) -> Result {
        let Self { primary_link, mark, .. } = self;
        writeln!(text, "  chain came-in {{ type filter hook prerouting priority mangle;")?;
        writeln!(text, "    ct direction reply return")?;
        writeln!(
            text,
            "    iifname \"{primary_link}\" fib daddr . iif type local ct mark set ct mark or {mark:#x}"
        )?;
        for Secondary { link, mark, .. } in self.secondary() {
            writeln!(
                text,
                "    iif {link} fib daddr . iif type local ct mark set ct mark and {:#x} or {mark:#x}",
                !self.mask()
            )?;
        }
        writeln!(text, "  }}")
    }

    /// The mark selects the interface that a packet leaves by: that of the pod, which its device
    /// group names, unless its connection is marked otherwise. Answers that do not come from a pod
    /// of this node are those of services whose pod is elsewhere. This chain comes last: the peer's
    /// chain, which is there for a moment after a change-over, overwrites the whole mark.
    fn write_choice(&self, text: &mut String) -> Result {
        let (secondary, mask) = (self.secondary(), self.mask());
        if secondary.is_empty() && !self.marks() {
            return Ok(());
        }
        writeln!(text, "  chain choose {{ type filter hook prerouting priority dstnat + 20;")?;
        let answers = self.node_port == NodePort::Supported && !secondary.is_empty();
        if answers {
            writeln!(text, "    {} ct direction original return", of_pods("!="))?;
            writeln!(text, "    {} ct mark and {mask:#x} == 0 return", of_pods("!="))?;
        } else {
            writeln!(text, "    {} return", of_pods("!="))?;
        }
        for Secondary { table, mark, .. } in &secondary {
            let group = layout::POD_GROUP + table;
            writeln!(
                text,
                "    iifgroup {group} meta mark set meta mark and {:#x} or {mark:#x}",
                !mask
            )?;
        }
        if self.marks() {
            let leaves = self.mark;
            writeln!(text, "    ct mark and {:#x} == 0 return", leaves | mask)?;
            writeln!(
                text,
                "    ct mark and {leaves:#x} == {leaves:#x} meta mark set meta mark or {leaves:#x}"
            )?;
        }
        if answers {
            for Secondary { mark, .. } in &secondary {
                writeln!(
                    text,
                    "    ct mark and {mask:#x} == {mark:#x} meta mark set meta mark and {:#x} or {mark:#x}",
                    !mask
                )?;
            }
        }
        writeln!(text, "  }}")
    }

    fn mask(&self) -> u32 {
        self.tables.map_or(0, TableMarks::mask)
    }

    fn secondary(&self) -> Vec<Secondary> {
        let secondary = |(table, link): (&u32, &u32)| {
            let mark = self.tables?.of(*table)?;
            Some(Secondary { link: *link, table: *table, mark })
        };
        self.interfaces.iter().filter_map(secondary).collect()
    }

    /// After destination translation (-100), so that a service's own address does not count as
    /// outside; a filter chain, because later NAT chains do not see translated traffic.
    fn write_outbound(&self, text: &mut String) -> Result {
        let mark = self.mark;
        writeln!(text, "  chain outbound {{ type filter hook prerouting priority dstnat + 10;")?;
        writeln!(text, "    ct state != new return\n    {} return", of_pods("!="))?;
        self.write_direct(text)?;
        writeln!(text, "    fib daddr type != local ct mark set ct mark or {mark:#x}\n  }}")
    }

    /// Before kube-proxy's and the peer's chains (100): the first translation of a connection wins.
    /// Only what comes in by a pod's veth is translated: what the node's own processes send has no
    /// link that it came in by, and what comes from elsewhere another one
    /// (`docs/references.md#postrouting-link`).
    fn write_leave_vpc(&self, text: &mut String, how: &str) -> Result {
        writeln!(text, "  chain leave-vpc {{ type nat hook postrouting priority srcnat - 5;")?;
        self.write_direct(text)?;
        writeln!(
            text,
            "    oifname \"vlan*\" return\n    fib daddr type local return\n    \
               {} snat to {}{how}\n  }}",
            of_pods("=="),
            self.primary
        )
    }

    /// One rule for each CIDR and no set: while a table is replaced, a packet meets all of the old
    /// rules or all of the new ones, but a set that may have no elements any more, or none yet.
    /// Measured: of 160,000 flows between pods during 200 replacements, 135 were translated.
    fn write_direct(&self, text: &mut String) -> Result {
        for cidr in &self.direct {
            writeln!(text, "    ip daddr {cidr} return")?;
        }
        Ok(())
    }
}

/// A packet that begins a connection is dropped when its source is not routed back to the veth that it
/// came by. The kernel's strict setting of the veth does that for every packet; this rule is for the
/// case that somebody sets it to 0. Measured: for every packet the rule would cost a twelfth of the
/// cost of forwarding. It also keeps pods from what listens on the node's loopback only, whatever
/// `route_localnet` is.
fn write_spoofed(text: &mut String) -> Result {
    writeln!(
        text,
        "  chain from-pods {{ type filter hook prerouting priority mangle;\n    {} return\n    \
           ct state established,related return\n    \
           fib saddr . iif oif missing drop\n    ip daddr 127.0.0.0/8 drop\n  }}",
        of_pods("!=")
    )
}

/// After destination translation, so that a substitute for the service stays reachable.
fn write_metadata(text: &mut String) -> Result {
    writeln!(
        text,
        "  chain metadata {{ type filter hook prerouting priority dstnat + 30;\n    \
           ip daddr {METADATA_SERVICE} {} reject with icmp type admin-prohibited\n  }}",
        of_pods("==")
    )
}

/// Whether a packet comes from a pod.
fn of_pods(operator: &str) -> String {
    format!("iifgroup and {:#x} {operator} {:#x}", layout::POD_GROUP_MASK, layout::POD_GROUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_translation_leaves_only_what_node_ports_need() {
        let script = Firewall { snat: Snat::External, ..firewall() }.script();

        assert!(!script.contains("snat to"), "{script}");
        assert!(script.contains("iifname \"ens5\" fib daddr . iif type local"), "{script}");
    }

    #[test]
    fn blocks_that_are_reached_directly_are_left_alone_first_and_without_a_set() {
        let script = firewall().script();

        let direct = "    ip daddr 10.0.0.0/16 return\n    ip daddr 100.64.0.0/16 return\n";
        let outbound = format!("!= 0x600 return\n{direct}    fib daddr");
        let leave = format!("priority srcnat - 5;\n{direct}    oifname");
        assert!(script.contains(&outbound) && script.contains(&leave), "{script}");
        assert!(!script.contains("set direct") && !script.contains('@'), "{script}");
        assert!(script.contains("snat to 10.0.0.140 fully-random"), "{script}");
    }

    #[test]
    fn only_what_came_in_by_a_pods_link_is_translated() {
        let script = firewall().script();

        let snat: Vec<&str> = script.lines().filter(|line| line.contains("snat to")).collect();
        let of_pods = "    iifgroup and 0xffffff80 == 0x600 snat to 10.0.0.140 fully-random";
        assert_eq!(snat, [of_pods]);
    }

    #[test]
    fn no_block_at_all_leaves_nothing_alone() {
        let script = Firewall { direct: vec![], ..firewall() }.script();

        assert!(!script.contains("ip daddr 10."), "{script}");
        assert!(script.contains("snat to 10.0.0.140"), "{script}");
    }

    #[test]
    fn packets_of_pods_are_marked_for_the_table_of_their_group_only_where_tables_are_marked() {
        let marked = "iifgroup 1538 meta mark set meta mark and 0xffffff80 or 0x2";
        let script = firewall().script();
        let peers = Firewall { tables: None, ..firewall() }.script();

        assert!(script.contains(marked), "{script}");
        assert!(script.contains("iif 7 fib daddr . iif type local ct mark set"), "{script}");
        assert!(!peers.contains(marked) && !peers.contains("iif 7"), "{peers}");
    }

    #[test]
    fn an_interface_whose_table_no_mark_can_name_is_left_out() {
        let script = Firewall { interfaces: [(10_101, 9)].into(), ..firewall() }.script();

        assert!(!script.contains("iif 9") && !script.contains("11637"), "{script}");
    }

    #[test]
    fn the_metadata_service_is_open_unless_it_is_blocked() {
        let blocked = Firewall { metadata: Metadata::Blocked, ..firewall() }.script();

        assert!(!firewall().script().contains("169.254.169.254"));
        assert!(blocked.contains("ip daddr 169.254.169.254 iifgroup"), "{blocked}");
    }

    fn firewall() -> Firewall {
        Firewall {
            primary_link: "ens5".into(),
            primary: [10, 0, 0, 140].into(),
            direct: ["10.0.0.0/16", "100.64.0.0/16"].map(|cidr| cidr.parse().unwrap()).into(),
            mark: 0x80,
            tables: TableMarks::beside(0x80),
            interfaces: [(2, 7)].into(),
            snat: Snat::FullyRandom,
            node_port: NodePort::Supported,
            metadata: Metadata::Open,
        }
    }
}
