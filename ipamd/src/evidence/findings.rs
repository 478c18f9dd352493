//! What a take-over finds, and what it would do: decided here, written by nobody.

use super::witnesses::{Evidence, gather};
use crate::{clock, node::Unclear, settings::Settings};
use anyhow::Result;
use net::{
    Netlink, PodLink, Traces,
    op::MAIN_TABLE,
    pod::{Pod, Role},
};
use pool::{
    EniId, Fit, Owner, Pool,
    adopt::{Claim, Claims, Entry, Seen, Unknown, Witness, claims},
    carrier, may_carry,
};
use record::{Attachment, Interface, Maker, Origin, Snapshot};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// What everybody says, and what follows.
#[derive(Debug)]
pub(crate) struct Findings {
    evidence: Evidence,
    /// Who uses which address.
    pub claims: Claims,
    /// Pods that are not on our record and would be.
    pub adoptions: Vec<Attachment>,
    /// Addresses that somebody may use whom nobody knows.
    pub held: BTreeMap<Ipv4Addr, Held>,
}

/// An address that somebody may use whom nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Who speaks for it.
    pub unclear: Unclear,
    /// The interfaces that may carry it.
    pub may_carry: BTreeSet<EniId>,
}

/// Keeps addresses that are held, and the interfaces that may carry them, in the pool.
pub(crate) fn quarantine(pool: &mut Pool, held: &BTreeMap<Ipv4Addr, Held>) {
    for (address, held) in held {
        pool.quarantine(*address, held.may_carry.clone());
    }
}

/// Hears everybody. Nothing is changed anywhere.
///
/// # Errors
/// The kernel does not answer.
pub(crate) fn look(
    settings: &Settings,
    snapshot: &Snapshot,
    kernel: &mut Netlink,
) -> Result<Findings> {
    let evidence = gather(settings, snapshot, kernel)?;
    let claims = claims(&evidence.entries, &evidence.seen);
    let (mut adoptions, mut unknowns) = (vec![], BTreeMap::new());
    for (address, claim) in &claims.claims {
        match claim {
            Claim::Lives { owner, by: Witness::Checkpoint } => {
                match adoption(settings, snapshot, &evidence, *address, owner) {
                    Some(pod) if pod.eni.is_empty() => {
                        let _ = unknowns.insert(*address, Unclear::without_interface(pod));
                    }
                    adopted => adoptions.extend(adopted),
                }
            }
            Claim::Unknown(unknown) => {
                let unclear = Unclear {
                    entry: evidence.stale(*address, unknown).cloned(),
                    ..Unclear::new(unknown.clone())
                };
                let _ = unknowns.insert(*address, unclear);
            }
            // On record already; of a pod without its link its namespace tells whether it has ended.
            Claim::Lives { by: Witness::Journal, .. } | Claim::Suspect { .. } | Claim::Released => {
            }
        }
    }
    for address in &evidence.unreadable {
        let why = Unknown::LinkGone("an entry that cannot be read".into());
        unknowns.entry(*address).or_insert(Unclear::new(why));
    }
    let hold = |(address, unclear)| (address, held(snapshot, &evidence.traces, address, unclear));
    let held = unknowns.into_iter().map(hold).collect();
    Ok(Findings { evidence, claims, adoptions, held })
}

impl Findings {
    /// What the records say.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.evidence.entries
    }

    /// What the kernel has of pods.
    pub(super) fn traces(&self) -> &Traces {
        &self.evidence.traces
    }

    /// What the kernel shows.
    pub(crate) fn seen(&self) -> &Seen {
        &self.evidence.seen
    }

    /// Single addresses that rules are about, with the table of what they send.
    pub(crate) fn tables(&self) -> &BTreeMap<Ipv4Addr, Option<u32>> {
        &self.evidence.traces.rules
    }
}

/// How a pod would be put on record that the checkpoint knows and the kernel shows; nothing when it
/// is there already. Without an interface where none is known to carry its address.
fn adoption(
    settings: &Settings,
    snapshot: &Snapshot,
    evidence: &Evidence,
    address: Ipv4Addr,
    owner: &Owner,
) -> Option<Attachment> {
    let known = snapshot.attachments.get(owner);
    if known.is_some_and(|known| known.address == address) {
        return None;
    }
    let entry = evidence.checkpoint.get(owner)?;
    let name = evidence.name_of_link(entry, address, &settings.veth_prefix);
    let link = evidence.link(address, &name)?;
    let namespace = link.netns_id.and_then(|id| evidence.namespaces.get(&id));
    let mut attachment = Attachment {
        network: owner.network.clone(),
        container: owner.container.clone(),
        interface: owner.interface.clone(),
        pod_namespace: entry.pod_namespace.clone(),
        pod_name: entry.pod_name.clone(),
        netns: namespace.map(|path| path.display().to_string()).unwrap_or_default(),
        host_name: link.name.clone(),
        address,
        eni: String::new(),
        table: MAIN_TABLE,
        egress: net::EgressSelector::Peer,
        mtu: link.mtu,
        made_by: Maker::Peer,
        host_mac: None,
        role: role(&owner.interface),
        since_ms: u64::try_from(clock::of_machine(entry.since).0.as_millis()).unwrap_or(u64::MAX),
    };
    mark_maker(&mut attachment, link);
    Some(placed(&snapshot.interfaces, rule_of(&evidence.traces, address), &attachment))
}

/// What an attachment is in its pod, which nobody can look into now: what is not the pod's first interface
/// by its name may have a rule there, which its DEL removes.
fn role(interface: &str) -> Role {
    if interface == net::pod::FIRST_INTERFACE { Role::First } else { Role::Additional }
}

/// A link with the address that we give is one of ours, whose record was lost: its layout is that of
/// the settings, which the start brings about for all of ours.
fn mark_maker(attachment: &mut Attachment, link: &PodLink) {
    let ours = Pod { host_mac: None, ..attachment.pod() };
    if link.mac == Some(ours.host_mac()) {
        attachment.made_by = Maker::Ours;
    } else {
        attachment.host_mac = link.mac;
    }
}

/// A pod with the interface that carries its address, if one is known to, and with the table of it.
/// `rule` is the table that the kernel's rules have for what comes from the address: a pod of somebody
/// else keeps it.
pub(crate) fn placed(
    interfaces: &BTreeMap<String, Interface>,
    rule: Option<u32>,
    pod: &Attachment,
) -> Attachment {
    let eni = carrier(fits(interfaces, rule, pod.address));
    let own = eni.as_ref().and_then(|eni| interfaces.get(&eni.0)).map(Interface::table);
    let table = match pod.made_by {
        Maker::Peer => rule.or(own),
        Maker::Ours => own.or(rule),
    };
    let eni = eni.map(|eni| eni.0).unwrap_or_default();
    Attachment { eni, table: table.unwrap_or(MAIN_TABLE), ..pod.clone() }
}

/// The table that rules have for what comes from an address.
pub(crate) fn rule_of(traces: &Traces, address: Ipv4Addr) -> Option<u32> {
    traces.rules.get(&address).copied().flatten()
}

/// An address that is held, with the interfaces that may carry it.
pub(super) fn held(
    snapshot: &Snapshot,
    traces: &Traces,
    address: Ipv4Addr,
    unclear: Unclear,
) -> Held {
    let fits = fits(&snapshot.interfaces, rule_of(traces, address), address);
    Held { may_carry: may_carry(&unclear.why, fits), unclear }
}

/// What speaks for each interface carrying an address.
fn fits(
    interfaces: &BTreeMap<String, Interface>,
    rule: Option<u32>,
    address: Ipv4Addr,
) -> impl Iterator<Item = (EniId, Fit)> {
    interfaces.iter().map(move |(id, eni)| {
        let fit = if eni.primary == address {
            Fit::Primary
        } else if eni.addresses.contains(&address) || eni.is_in_prefix(address) {
            Fit::Shows
        } else if rule == Some(eni.table()) {
            Fit::Routes
        } else if eni.subnet_cidr.is_none_or(|cidr| cidr.contains(address)) {
            Fit::InSubnet
        } else {
            Fit::Unlikely
        };
        (EniId(id.clone()), fit)
    })
}

/// Addresses that interfaces of this node have for pods.
pub(crate) fn addresses(snapshot: &Snapshot) -> BTreeSet<Ipv4Addr> {
    let may_be = |eni: &&Interface| eni.is_for_pods() || eni.origin == Origin::Unknown;
    let blocks = snapshot.interfaces.values().filter(may_be).flat_map(Interface::blocks);
    blocks.flat_map(pool::Block::addresses).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::attachment;

    #[test]
    fn a_pod_whose_address_no_interface_is_known_to_carry_is_on_none_until_one_is() {
        let primary = interface(0, 4, &[]);
        let second = interface(1, 5, &[9]);
        let only = |eni: &Interface| BTreeMap::from([("eni-0".to_owned(), eni.clone())]);
        let both = BTreeMap::from([("eni-0".into(), primary.clone()), ("eni-1".into(), second)]);
        let place = |enis: &BTreeMap<String, Interface>, rule| {
            let pod = placed(enis, rule, &pod(Maker::Peer));
            (pod.eni, pod.table)
        };

        // Nothing says that the primary interface has it, with a rule to another table or without.
        assert_eq!(place(&only(&primary), None), (String::new(), MAIN_TABLE));
        assert_eq!(place(&only(&primary), Some(2)), (String::new(), 2));
        // An interface shows it, or its table is the one that the pod's rule names.
        assert_eq!(place(&both, None), ("eni-1".into(), 2));
        assert_eq!(place(&both, Some(2)), ("eni-1".into(), 2));
        assert_eq!(place(&only(&interface(1, 5, &[])), Some(2)), ("eni-0".into(), 2));
        assert_eq!(place(&only(&interface(0, 4, &[9])), None), ("eni-0".into(), MAIN_TABLE));
    }

    #[test]
    fn a_pod_of_the_peer_keeps_the_table_that_its_rule_names_and_one_of_ours_gets_its_interfaces() {
        let enis = BTreeMap::from([("eni-1".to_owned(), interface(1, 5, &[9]))]);

        assert_eq!(placed(&enis, Some(7), &pod(Maker::Peer)).table, 7);
        assert_eq!(placed(&enis, Some(7), &pod(Maker::Ours)).table, 2);
    }

    fn pod(made_by: Maker) -> Attachment {
        Attachment {
            eni: String::new(),
            table: MAIN_TABLE,
            egress: net::EgressSelector::Peer,
            made_by,
            ..attachment()
        }
    }

    fn interface(device_index: u32, primary: u8, addresses: &[u8]) -> Interface {
        let address = |last: &u8| Ipv4Addr::new(10, 0, 0, *last);
        Interface {
            mac: net::Mac([2, 0, 0, 0, 0, primary]),
            card: 0,
            device_index,
            subnet: "subnet-0".into(),
            subnet_cidr: "10.0.0.0/24".parse().ok(),
            primary: address(&primary),
            groups: BTreeSet::new(),
            addresses: addresses.iter().map(address).collect(),
            prefixes: BTreeSet::new(),
            attachment: None,
            origin: Origin::Ours,
            outlives_instance: false,
            special_type: None,
            tags: BTreeMap::new(),
        }
    }
}
