//! What the router drops and counts: by reason, interface and source.
//!
//! The filters that come and go with each topology only mark a packet with a [`Reason`]. This table
//! is made once and never replaced: it counts what is marked, and drops it.

use super::{
    devices::{METADATA_SERVICE, VOID_NAME},
    space::Space,
};
use anyhow::{Context, Result};
use net::nft;
use serde::Deserialize;
use std::{collections::BTreeMap, net::Ipv4Addr};

/// Why the fabric dropped packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The sender does not own the source address, or it sent with another hardware address.
    SourceCheck,
    /// No security group of the sender allows it to send this.
    Egress,
    /// No security group of the receiver allows this in.
    Ingress,
    /// Nobody has the destination address.
    Unassigned,
    /// The destination is outside and the source has no public address.
    NoPublicAddress,
    /// The sender has sent more to link-local services in a second than it may.
    LinkLocalLimit,
}

/// A count of dropped packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// The interface that sent them; for [`Reason::Ingress`] the one that did not get them. What
    /// came from the internet or the services says `internet` or `services`.
    pub eni: String,
    /// Their source address.
    pub source: Ipv4Addr,
    /// How many.
    pub packets: u64,
}

impl Reason {
    const ALL: [Self; 6] = [
        Self::SourceCheck,
        Self::Egress,
        Self::Ingress,
        Self::Unassigned,
        Self::NoPublicAddress,
        Self::LinkLocalLimit,
    ];

    /// The mark that a filter puts on a packet that is to be dropped for this.
    pub(super) fn mark(self) -> u32 {
        match self {
            Self::SourceCheck => 1,
            Self::Egress => 2,
            Self::Ingress => 3,
            Self::Unassigned => 4,
            Self::NoPublicAddress => 5,
            Self::LinkLocalLimit => 6,
        }
    }
}

/// The table, and the set in it that counts.
const TABLE: &str = "drops";
const COUNTS: &str = "counts";

/// Different (reason, interface, source) that are counted; what is beyond is dropped uncounted.
const MOST_COUNTS: u32 = 65535;

/// The text of the table.
pub(super) fn table() -> String {
    let source_check = Reason::SourceCheck.mark();
    let limit = Reason::LinkLocalLimit.mark();
    let ingress = Reason::Ingress.mark();
    let unassigned = Reason::Unassigned.mark();
    format!(
        r#"table ip {TABLE} {{
	set {COUNTS} {{
		type mark . ifname . ipv4_addr
		size {MOST_COUNTS}
		flags dynamic
		counter
	}}
	# After the source check (-310) and the limit (-308), before connection tracking (-200).
	chain prerouting {{
		type filter hook prerouting priority -305; policy accept;
		meta mark {{ {source_check}, {limit} }} add @{COUNTS} {{ meta mark . iifname . ip saddr }}
		meta mark {{ {source_check}, {limit} }} drop
	}}
	# After the filters of the internet gateway (-10) and the security groups (0).
	chain forward {{
		type filter hook forward priority 10; policy accept;
		oifname "{VOID_NAME}" ip daddr 169.254.0.0/16 drop
		oifname "{VOID_NAME}" meta mark 0 meta mark set {unassigned}
		meta mark {ingress} add @{COUNTS} {{ meta mark . oifname . ip saddr }}
		meta mark != {{ 0, {ingress} }} add @{COUNTS} {{ meta mark . iifname . ip saddr }}
		meta mark != 0 drop
	}}
	# The gateway answers ARP and nothing else.
	chain input {{
		type filter hook input priority 0; policy drop;
		iifname "lo" accept
		ip daddr {METADATA_SERVICE} accept
	}}
	# A VPC tells nobody what it dropped; only the internet gateway says what is too long for it.
	chain output {{
		type filter hook output priority 0; policy accept;
		icmp type destination-unreachable icmp code frag-needed accept
		ip protocol icmp drop
	}}
}}
"#
    )
}

/// Reads the counts; `known_ends` are interfaces by the name of their device in the router.
pub(super) fn read(router: &Space, known_ends: &BTreeMap<String, String>) -> Result<Vec<Dropped>> {
    let listing = router
        .within(|| nft::list_json(&["set", "ip", TABLE, COUNTS]))
        .context("list the router's counters of drops")?;
    parse(&listing, known_ends).context("read the router's counters of drops")
}

#[derive(Deserialize)]
struct Listing {
    nftables: Vec<Entry>,
}

/// An entry of a listing; those that are not a set are read as nothing.
#[derive(Deserialize)]
struct Entry {
    set: Option<Set>,
}

#[derive(Deserialize)]
struct Set {
    #[serde(default)]
    elem: Vec<Element>,
}

#[derive(Deserialize)]
struct Element {
    elem: Count,
}

#[derive(Deserialize)]
struct Count {
    val: Key,
    counter: Counter,
}

#[derive(Deserialize)]
struct Key {
    concat: (u32, String, Ipv4Addr),
}

#[derive(Deserialize)]
struct Counter {
    packets: u64,
}

fn parse(listing: &str, known_ends: &BTreeMap<String, String>) -> Result<Vec<Dropped>> {
    let listing: Listing = serde_json::from_str(listing)?;
    let mut dropped = vec![];
    for count in listing.nftables.into_iter().filter_map(|entry| entry.set).flat_map(|it| it.elem) {
        let (mark, device, source) = count.elem.val.concat;
        let reason = Reason::ALL
            .into_iter()
            .find(|reason| reason.mark() == mark)
            .with_context(|| format!("mark {mark} is no reason to drop a packet"))?;
        let eni = known_ends.get(&device).cloned().unwrap_or(device);
        dropped.push(Dropped { reason, eni, source, packets: count.elem.counter.packets });
    }
    dropped.sort_by(|a, b| (a.reason, &a.eni, a.source).cmp(&(b.reason, &b.eni, b.source)));
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_with_the_interfaces_they_belong_to() {
        let listing = r#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"set": {"family": "ip", "name": "counts", "table": "drops", "elem": [
                {"elem": {"val": {"concat": [4, "internet", "198.18.0.1"]},
                          "counter": {"packets": 1, "bytes": 36}}},
                {"elem": {"val": {"concat": [1, "e1", "10.0.1.77"]},
                          "counter": {"packets": 2, "bytes": 72}}}
            ]}}
        ]}"#;
        let known_ends = BTreeMap::from([("e1".into(), "eni-1".into())]);

        let dropped = parse(listing, &known_ends).unwrap();

        let count = |reason, eni: &str, source: &str, packets| Dropped {
            reason,
            eni: eni.into(),
            source: source.parse().unwrap(),
            packets,
        };
        assert_eq!(
            dropped,
            [
                count(Reason::SourceCheck, "eni-1", "10.0.1.77", 2),
                count(Reason::Unassigned, "internet", "198.18.0.1", 1),
            ]
        );
    }

    #[test]
    fn a_table_that_has_counted_nothing_is_empty() {
        let listing = r#"{"nftables": [{"set": {"name": "counts", "table": "drops"}}]}"#;

        assert_eq!(parse(listing, &BTreeMap::new()).unwrap(), []);
    }

    #[test]
    fn no_two_reasons_share_a_mark_and_none_is_no_mark() {
        let marks: std::collections::BTreeSet<u32> =
            Reason::ALL.into_iter().map(Reason::mark).collect();

        assert_eq!(marks.len(), Reason::ALL.len());
        assert!(!marks.contains(&0));
    }
}
