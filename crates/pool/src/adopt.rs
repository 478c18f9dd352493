//! Who uses which address, by everybody who can tell: the claims that a daemon starts from.
//!
//! Records say who holds an address, the kernel says who is there. An address for which anybody
//! speaks is in use: with a known owner like any other, without one held until nobody speaks for it
//! any more. Where records name two owners, the kernel decides, and where it is silent the newer word.

use crate::{Owner, Time};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
};

/// A record that names owners of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The checkpoint of the peer's daemon.
    Checkpoint,
    /// Our own journal.
    Journal,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "checkpoint",
            Self::Journal => "journal",
        })
    }
}

/// What one record says of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose record it is.
    pub witness: Witness,
    /// The address.
    pub address: Ipv4Addr,
    /// Who holds it.
    pub holder: Holder,
    /// When that was so.
    pub at: Time,
}

/// Who holds an address, by a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A pod.
    Pod {
        /// Its attachment.
        owner: Owner,
        /// Name of the host end of its pair.
        link: String,
        /// The pod, for people.
        pod: String,
    },
    /// Nobody any more.
    Released,
}

/// What the kernel shows of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Name of the pod's link that it is routed to.
    pub link: Option<String>,
    /// It is routed to something that is no pod's link.
    pub elsewhere: bool,
    /// A rule is about it.
    pub rule: bool,
    /// It is one of the node's own addresses.
    pub own: bool,
}

/// What the kernel shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// By address.
    pub traces: BTreeMap<Ipv4Addr, Trace>,
    /// Names of the host ends of pods' pairs.
    pub links: BTreeSet<String>,
}

/// What is known of one address after everybody has spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A pod that is there has it.
    Lives {
        /// The pod's attachment.
        owner: Owner,
        /// The record that knows it.
        by: Witness,
    },
    /// Our record has it with a pod of which the kernel shows nothing: whether it has ended, its
    /// namespace tells.
    Suspect {
        /// The pod's attachment.
        owner: Owner,
    },
    /// Somebody may have it, and nobody knows who.
    Unknown(Unknown),
    /// Our record has it with nobody, and nobody else speaks for it.
    Released,
}

/// Why an address is held without an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is routed to a pod's link that no record knows.
    Link(String),
    /// It is routed to something else than a pod.
    Elsewhere,
    /// Rules are about it.
    Rule,
    /// The checkpoint has it with a pod whose link is gone.
    LinkGone(String),
    /// It is the node's own.
    Own,
    /// A pod that is known has it, and no interface is known to carry it.
    NoInterface(String),
}

impl Unknown {
    /// All words, for metrics.
    pub const WORDS: [&str; 6] = ["link", "elsewhere", "rule", "link_gone", "own", "no_interface"];

    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Link(_) => "link",
            Self::Elsewhere => "elsewhere",
            Self::Rule => "rule",
            Self::LinkGone(_) => "link_gone",
            Self::Own => "own",
            Self::NoInterface(_) => "no_interface",
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => write!(f, "routed to {link}, which no record knows"),
            Self::Elsewhere => f.write_str("routed to something else than a pod"),
            Self::Rule => f.write_str("a rule is about it"),
            Self::LinkGone(pod) => {
                write!(f, "the checkpoint has it with {pod}, whose link is gone")
            }
            Self::Own => f.write_str("an address of the node itself"),
            Self::NoInterface(pod) => {
                write!(f, "pod {pod} has it, and no interface is known to carry it")
            }
        }
    }
}

/// All claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// By address.
    pub claims: BTreeMap<Ipv4Addr, Claim>,
    /// Attachments of our journal that lost their address to another pod's claim: they end, and free
    /// nothing.
    pub superseded: Vec<(Owner, Ipv4Addr)>,
    /// For people, where witnesses disagree: who says what.
    pub disagreements: BTreeMap<Ipv4Addr, String>,
}

/// What follows from what the witnesses say.
#[must_use]
pub fn claims(entries: &[Entry], seen: &Seen) -> Claims {
    let routed: BTreeSet<&str> =
        seen.traces.values().filter_map(|trace| trace.link.as_deref()).collect();
    let mut by_address: BTreeMap<Ipv4Addr, Vec<&Entry>> =
        seen.traces.keys().map(|address| (*address, vec![])).collect();
    for entry in entries {
        by_address.entry(entry.address).or_default().push(entry);
    }
    let nothing = Trace::default();
    let mut all = Claims::default();
    for (address, mut said) in by_address {
        // The newest word first; of two at one time our own.
        said.sort_by_key(|entry| std::cmp::Reverse((entry.at, entry.witness)));
        let trace = seen.traces.get(&address).unwrap_or(&nothing);
        let Some(claim) = of_one(&said, trace, seen, &routed) else { continue };
        if let Some(line) = disagreement(&said, trace, &claim) {
            all.disagreements.insert(address, line);
        }
        all.superseded.extend(superseded(&said, &claim).map(|owner| (owner.clone(), address)));
        all.claims.insert(address, claim);
    }
    all
}

/// The claim for one address, the newest word first.
fn of_one(said: &[&Entry], trace: &Trace, seen: &Seen, routed: &BTreeSet<&str>) -> Option<Claim> {
    if trace.own {
        return Some(Claim::Unknown(Unknown::Own));
    }
    let pods = || said.iter().filter_map(|entry| entry.pod().map(|pod| (*entry, pod)));
    let lives = |(entry, (owner, ..)): (&Entry, (&Owner, &String, &String))| Claim::Lives {
        owner: owner.clone(),
        by: entry.witness,
    };
    if let Some(link) = &trace.link {
        let known = pods().find(|(_, (_, of_pod, _))| *of_pod == link);
        return Some(known.map_or(Claim::Unknown(Unknown::Link(link.clone())), lives));
    }
    if trace.elsewhere {
        return Some(Claim::Unknown(Unknown::Elsewhere));
    }
    // A link that another address is routed to is a newer pod's of the same name.
    let free = |link: &String| seen.links.contains(link) && !routed.contains(link.as_str());
    // A pair whose pod our record has seen end since goes away by itself, and the kernel may take its time.
    let has_ended = said.first().is_some_and(|newest| newest.holder == Holder::Released);
    if let Some(known) = pods().find(|(_, (_, link, _))| free(link)).filter(|_| !has_ended) {
        return Some(lives(known));
    }
    // Nobody is there. What the newest record says counts; the namespace of a pod that only the
    // checkpoint knows is not known, so its address is held for a while.
    match said.first() {
        Some(Entry { holder: Holder::Released, .. }) if !trace.rule => Some(Claim::Released),
        Some(Entry { holder: Holder::Pod { pod, .. }, witness: Witness::Checkpoint, .. }) => {
            let in_journal = pods().find(|(entry, _)| entry.witness == Witness::Journal);
            Some(match in_journal {
                Some((_, (owner, ..))) => Claim::Suspect { owner: owner.clone() },
                None => Claim::Unknown(Unknown::LinkGone(pod.clone())),
            })
        }
        Some(Entry { holder: Holder::Pod { owner, .. }, witness: Witness::Journal, .. }) => {
            Some(Claim::Suspect { owner: owner.clone() })
        }
        Some(Entry { holder: Holder::Released, .. }) | None => {
            trace.rule.then_some(Claim::Unknown(Unknown::Rule))
        }
    }
}

impl Entry {
    fn pod(&self) -> Option<(&Owner, &String, &String)> {
        match &self.holder {
            Holder::Pod { owner, link, pod } => Some((owner, link, pod)),
            Holder::Released => None,
        }
    }
}

/// Attachments of our journal that have not got the address.
fn superseded<'a>(said: &[&'a Entry], claim: &Claim) -> impl Iterator<Item = &'a Owner> {
    // An address that somebody unknown uses may be this pod's all the same: it stays on record.
    let has = match claim {
        Claim::Lives { owner, .. } | Claim::Suspect { owner } => Some(owner),
        Claim::Unknown(_) | Claim::Released => None,
    };
    let journal: Vec<&'a Owner> = said
        .iter()
        .filter(|entry| entry.witness == Witness::Journal)
        .filter_map(|entry| entry.pod().map(|(owner, ..)| owner))
        .filter(|owner| has.is_some_and(|has| has != *owner))
        .collect();
    journal.into_iter()
}

/// Who says what, where that is not the same.
fn disagreement(said: &[&Entry], trace: &Trace, claim: &Claim) -> Option<String> {
    let pods: BTreeSet<_> = said.iter().map(|entry| entry.pod().map(|(owner, ..)| owner)).collect();
    let agreed = match claim {
        Claim::Lives { .. } => trace.link.is_some() && pods.len() == 1,
        Claim::Released => pods.len() == 1,
        // The node's own addresses are on no record, and that is no news.
        Claim::Unknown(Unknown::Own) => said.is_empty(),
        Claim::Suspect { .. } | Claim::Unknown(_) => false,
    };
    if agreed {
        return None;
    }
    let mut words: Vec<String> = said
        .iter()
        .map(|entry| match &entry.holder {
            Holder::Pod { owner, link, pod } => {
                format!("{}: {pod} ({}, {link})", entry.witness, owner.container)
            }
            Holder::Released => format!("{}: released", entry.witness),
        })
        .collect();
    words.push(match trace {
        Trace { own: true, .. } => "kernel: the node's own".into(),
        Trace { link: Some(link), .. } => format!("kernel: routed to {link}"),
        Trace { elsewhere: true, .. } => "kernel: routed to something else than a pod".into(),
        Trace { rule: true, .. } => "kernel: a rule, and no route".into(),
        _ => "kernel: nothing".into(),
    });
    Some(words.join("; "))
}

#[cfg(test)]
mod tests;
