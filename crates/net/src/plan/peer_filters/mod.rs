//! What the peer leaves in iptables and nftables, told apart from everybody else's, and how it goes.
//!
//! Ours do the same work before any of it goes, so nothing that runs notices:
//! - **Translation.** What a connection is translated to is in the kernel's table of connections
//!   since its first packet; no rule is asked again, so running ones keep address and port. Of new
//!   ones the first chain with a translation decides: ours at 95, the peer's at 100, and both
//!   translate to the primary interface's primary address. With an external translator ours has no
//!   such chain, and the peer's must go all the more.
//! - **Marks.** The mark of a connection is kept with it as well. The peer's rules and ours set the
//!   same bit, and both copy it to packets; ours last (-80, after -150, -100 and -90), so that
//!   packets have it before, during and after the removal.
//!
//! A rule is the peer's when it has one of the shapes in `SHAPES` to the word, or stands in one of
//! the peer's chains under one of its comments. Whatever else leads into such a chain, or stands in
//! it, is somebody else's: it stays, the chain stays with it, and that is told.
//!
//! Not taken away: what the peer's `egress-cni` made (chains `CNI-E4-…` and `CNI-E6-…`, the rules
//! `Block Node Local Pod access …` of both families). It belongs to pods that run, and nothing of
//! ours does its work. Of IPv6 the peer makes nothing else.

mod made;
mod saved;

use saved::{Rule, Table};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
};

/// The peer's table of nftables, IPv4.
pub const PEER_TABLE: &str = "aws-cni";

/// What the peer's rules are for, and ours do in their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Translating what leaves the VPC.
    Translation,
    /// Marking connections that begin in a pod and leave the VPC.
    OutboundMarks,
    /// Marking connections that come in by the primary interface, and packets by their connection.
    Answers,
}

/// Which of the peer's rules go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerFilters {
    /// Marks that the peer may have used.
    pub marks: BTreeSet<u32>,
    /// The work that is not the peer's any more.
    pub done: BTreeSet<Work>,
}

/// How the peer's rules go from what a program of iptables showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// For `iptables-restore --noflush`; empty if there is nothing to remove.
    pub script: String,
    /// How many rules go, those of chains that go included.
    pub rules: usize,
    /// Chains that go.
    pub chains: Vec<String>,
    /// What of the peer stays because somebody else uses it, or cannot be told; a sentence each.
    pub kept: Vec<String>,
}

/// Rules in the kernel's own chains that the peer makes or made: table, chain, work, and the words
/// of the rule as `iptables-save` prints them. `*` stands for any word, `MARK` for one of the marks,
/// `CHAIN` for a chain of the peer's that does the same work, `…` for whatever follows.
const SHAPES: &[(&str, &str, Work, &str)] = &[
    (
        "mangle",
        "PREROUTING",
        Work::Answers,
        "-i|*|-m|comment|--comment|AWS, primary ENI|-m|addrtype|--dst-type|LOCAL|--limit-iface-in|-j|CONNMARK|--set-xmark|MARK/MARK",
    ),
    (
        "mangle",
        "PREROUTING",
        Work::Answers,
        "-i|*|-m|comment|--comment|AWS, primary ENI|-j|CONNMARK|--restore-mark|--nfmask|MARK|--ctmask|MARK",
    ),
    (
        "nat",
        "PREROUTING",
        Work::OutboundMarks,
        "-i|*|-m|comment|--comment|AWS, outbound connections|-j|CHAIN",
    ),
    // Of older versions.
    (
        "nat",
        "PREROUTING",
        Work::OutboundMarks,
        "-i|*|-m|comment|--comment|AWS, outbound connections|-m|state|--state|NEW|-j|CHAIN",
    ),
    (
        "nat",
        "PREROUTING",
        Work::OutboundMarks,
        "-m|comment|--comment|AWS, CONNMARK|-j|CONNMARK|--restore-mark|--nfmask|MARK|--ctmask|MARK",
    ),
    ("nat", "POSTROUTING", Work::Translation, "-m|comment|--comment|AWS SNAT CHAIN|-j|CHAIN"),
    // Of older versions, so spelt.
    ("nat", "POSTROUTING", Work::Translation, "-m|comment|--comment|AWS SNAT CHAN|-j|CHAIN"),
    // Of the oldest, which had no chain.
    (
        "nat",
        "POSTROUTING",
        Work::Translation,
        "!|-d|*|-m|comment|--comment|AWS, SNAT|-m|addrtype|!|--dst-type|LOCAL|-j|SNAT|--to-source|*|…",
    ),
];

/// The peer's chains, by the beginning of their names, which ends in a number; of table `nat`.
const CHAINS: &[(&str, Work)] =
    &[("AWS-SNAT-CHAIN-", Work::Translation), ("AWS-CONNMARK-CHAIN-", Work::OutboundMarks)];

/// Comments of rules in these chains, of all versions.
const COMMENTS: &[&str] = &[
    "AWS SNAT CHAIN",
    "AWS SNAT CHAN",
    "AWS SNAT CHAIN EXCLUSION",
    "AWS, SNAT",
    "AWS CONNMARK CHAIN",
    "AWS CONNMARK CHAIN, VPC CIDR",
    "AWS CONNMARK CHAIN, EXCLUDED CIDR",
    "AWS, CONNMARK",
];

/// Chains of [`PEER_TABLE`]. The first is the kernel's way into the second.
const TABLE_CHAINS: [&str; 2] = ["nat-prerouting", "snat-mark"];

impl PeerFilters {
    /// How the peer's rules go from what `iptables-save` printed, of either kind.
    pub fn removal(&self, saved: &str) -> Removal {
        let mut removal = Removal::default();
        for table in peers_tables(saved, &mut removal.kept) {
            self.remove_from(&table, &mut removal);
        }
        removal
    }

    /// A script for `nft` that takes the peer's table away, from a listing of it. What others have
    /// added to the table stays, and the table with it. `None` if nothing of it is to go.
    pub fn table_removal(&self, listed: &str) -> Option<String> {
        if !self.done.contains(&Work::OutboundMarks) || listed.trim().is_empty() {
            return None;
        }
        let (peers, others): (Vec<_>, Vec<_>) = saved::objects(listed)
            .into_iter()
            .partition(|(kind, name)| kind == "chain" && TABLE_CHAINS.contains(&name.as_str()));
        if others.is_empty() {
            return Some(format!("delete table ip {PEER_TABLE}\n"));
        }
        let verb = |verb: &str| -> String {
            let there = TABLE_CHAINS.iter().filter(|it| peers.iter().any(|(_, name)| name == *it));
            there.map(|name| format!("{verb} chain ip {PEER_TABLE} {name}\n")).collect()
        };
        (!peers.is_empty()).then(|| verb("flush") + &verb("delete"))
    }

    fn remove_from(&self, table: &Table<'_>, removal: &mut Removal) {
        let ways_in = self.ways_in(table);
        let of_kernel = table.rules.iter().filter(|rule| self.is_way_in(table.name, rule));
        let mut deleted: Vec<_> = of_kernel.collect();
        let (mut going, mut flushed) = (vec![], 0);
        for chain in table.chains.iter().filter(|chain| self.is_chain(table.name, chain)) {
            let inside = table.rules.iter().filter(|rule| rule.chain == *chain);
            let (peers, others): (Vec<_>, Vec<_>) =
                inside.partition(|rule| rule.is_commented(COMMENTS));
            if let Some(way_in) = ways_in.get(chain) {
                removal.kept.push(format!("chain {chain}: `-A {}` leads into it", way_in.text));
            } else if let Some(other) = others.first() {
                removal.kept.push(format!("chain {chain}: `-A {}` is not the peer's", other.text));
                deleted.extend(peers);
            } else {
                flushed += peers.len();
                going.push(*chain);
            }
        }
        if !deleted.is_empty() || !going.is_empty() {
            write_script(&mut removal.script, table.name, &deleted, &going)
                .expect("writing to a string does not fail");
        }
        removal.rules += deleted.len() + flushed;
        removal.chains.extend(going.into_iter().map(ToOwned::to_owned));
    }

    /// Chains of the peer's that rules which stay lead into, and such a rule each: those of others,
    /// and from there on the peer's own.
    fn ways_in<'t>(&self, table: &'t Table<'_>) -> BTreeMap<&'t str, &'t Rule<'t>> {
        let mut found: BTreeMap<&str, &Rule<'_>> = BTreeMap::new();
        loop {
            let stays = |rule: &&Rule<'_>| {
                if self.is_chain(table.name, rule.chain) {
                    found.contains_key(rule.chain) || !rule.is_commented(COMMENTS)
                } else {
                    !self.is_way_in(table.name, rule)
                }
            };
            let leads = |rule: &'t Rule<'t>| Some((rule.target.as_deref()?, rule));
            let ways = table.rules.iter().filter(stays).filter_map(leads);
            let new: BTreeMap<_, _> = ways
                .filter(|(to, _)| self.is_chain(table.name, to) && !found.contains_key(to))
                .collect();
            if new.is_empty() {
                return found;
            }
            found.extend(new);
        }
    }

    /// Whether a rule in one of the kernel's own chains is the peer's, and goes.
    fn is_way_in(&self, table: &str, rule: &Rule<'_>) -> bool {
        SHAPES.iter().any(|(of, chain, work, shape)| {
            (*of, *chain) == (table, rule.chain)
                && self.done.contains(work)
                && self.is_shaped(&rule.words, *work, shape)
        })
    }

    fn is_shaped(&self, words: &[String], work: Work, shape: &str) -> bool {
        let (shape, open) = match shape.strip_suffix("|…") {
            Some(shape) => (shape, true),
            None => (shape, false),
        };
        let shape: Vec<_> = shape.split('|').collect();
        let long_enough = words.len() == shape.len() || open && words.len() > shape.len();
        long_enough && shape.iter().zip(words).all(|(want, word)| self.fits(want, word, work))
    }

    fn fits(&self, want: &str, word: &str, work: Work) -> bool {
        match want {
            "*" => true,
            "MARK" => self.is_mark(word),
            "MARK/MARK" => word
                .split_once('/')
                .is_some_and(|(value, mask)| value == mask && self.is_mark(value)),
            "CHAIN" => chain_work(word) == Some(work),
            _ => want == word,
        }
    }

    fn is_mark(&self, word: &str) -> bool {
        let mark = word.strip_prefix("0x").map(|digits| u32::from_str_radix(digits, 16));
        matches!(mark, Some(Ok(mark)) if self.marks.contains(&mark))
    }

    /// Whether a chain is the peer's, and goes.
    fn is_chain(&self, table: &str, name: &str) -> bool {
        table == "nat" && chain_work(name).is_some_and(|work| self.done.contains(&work))
    }
}

/// Tables in which the peer has rules. What cannot be read whole is left alone: it would hide who
/// else uses the peer's chains.
fn peers_tables<'t>(saved: &'t str, kept: &mut Vec<String>) -> Vec<Table<'t>> {
    let is_peers = |name: &str| SHAPES.iter().any(|(table, ..)| *table == name);
    let (whole, unreadable) = saved::tables(saved);
    kept.extend(unreadable.into_iter().filter(|(name, _)| is_peers(name)).map(|(_, why)| why));
    whole.into_iter().filter(|table| is_peers(table.name)).collect()
}

/// A chain is deleted when nothing leads into it any more.
fn write_script(
    script: &mut String,
    table: &str,
    rules: &[&Rule<'_>],
    chains: &[&str],
) -> fmt::Result {
    writeln!(script, "*{table}")?;
    for rule in rules {
        writeln!(script, "-D {}", rule.text)?;
    }
    for verb in ["-F", "-X"] {
        for chain in chains {
            writeln!(script, "{verb} {chain}")?;
        }
    }
    writeln!(script, "COMMIT")
}

/// Whether a text of any kind has a chain of the peer's in it.
pub(crate) fn names_chain(text: &str) -> bool {
    CHAINS.iter().any(|(prefix, _)| text.contains(prefix))
}

/// What a chain of the peer's is for; `None` if it is not the peer's.
fn chain_work(name: &str) -> Option<Work> {
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit());
    let of = |(prefix, work): &(&str, Work)| {
        name.strip_prefix(prefix).filter(|it| is_number(it)).map(|_| *work)
    };
    CHAINS.iter().find_map(of)
}

#[cfg(test)]
mod tests;
