//! What a take-over finds, and what it would do: decided here, written by nobody.

use super::witnesses::{Evidence, gather};
use crate::settings::Settings;
use anyhow::Result;
use net::{Netlink, PodLink, Traces, op::MAIN_TABLE, pod::Pod};
use pool::{
    EniId, Fit, Owner, Pool,
    adopt::{Claim, Claims, Entry, Seen, Unknown, Witness, claims},
    may_carry,
};
use record::{Attachment, Maker, Origin, Snapshot};
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
    pub why: Unknown,
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
                adoptions.extend(adoption(settings, snapshot, &evidence, *address, owner));
            }
            Claim::Unknown(unknown) => drop(unknowns.insert(*address, unknown.clone())),
            // On record already; of a pod without its link its namespace tells whether it has ended.
            Claim::Lives { by: Witness::Journal, .. } | Claim::Suspect { .. } | Claim::Released => {
            }
        }
    }
    for address in &evidence.unreadable {
        let why = Unknown::LinkGone("an entry that cannot be read".into());
        unknowns.entry(*address).or_insert(why);
    }
    let hold = |(address, why)| (address, held(snapshot, &evidence.traces, address, why));
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
/// is there already.
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
    let (namespace, name) = (&entry.pod_namespace, &entry.pod_name);
    let name = cni::names::host_veth(&settings.veth_prefix, namespace, name);
    let link = evidence.link(address, &name)?;
    let table = evidence.traces.rules.get(&address).copied().flatten().unwrap_or(MAIN_TABLE);
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
        eni: interface(snapshot, address, table),
        table,
        egress: net::EgressSelector::Peer,
        mtu: link.mtu,
        made_by: Maker::Peer,
        host_mac: None,
        role: net::pod::Role::First,
        since_ms: u64::try_from(entry.since.0.as_millis()).unwrap_or(u64::MAX),
    };
    mark_maker(&mut attachment, link, snapshot);
    Some(attachment)
}

/// A link with the address that we give is one of ours, whose record was lost: its layout is that of
/// the settings, which the start brings about for all of ours.
fn mark_maker(attachment: &mut Attachment, link: &PodLink, snapshot: &Snapshot) {
    let ours = Pod { host_mac: None, ..attachment.pod() };
    if link.mac == Some(ours.host_mac()) {
        attachment.made_by = Maker::Ours;
        let eni = snapshot.interfaces.get(&attachment.eni);
        attachment.table = eni.map_or(attachment.table, record::Interface::table);
    } else {
        attachment.host_mac = link.mac;
    }
}

/// An address that is held, with the interfaces that may carry it.
pub(super) fn held(snapshot: &Snapshot, traces: &Traces, address: Ipv4Addr, why: Unknown) -> Held {
    let table = traces.rules.get(&address).copied().flatten();
    let fits = snapshot.interfaces.iter().map(|(id, eni)| {
        let fit = if eni.primary == address {
            Fit::Primary
        } else if eni.addresses.contains(&address) || eni.is_in_prefix(address) {
            Fit::Shows
        } else if table == Some(eni.table()) {
            Fit::Routes
        } else if eni.subnet_cidr.is_none_or(|cidr| cidr.contains(address)) {
            Fit::InSubnet
        } else {
            Fit::Unlikely
        };
        (EniId(id.clone()), fit)
    });
    Held { may_carry: may_carry(&why, fits), why }
}

/// The interface that has an address; of one that none shows, the one whose table its rules name.
fn interface(snapshot: &Snapshot, address: Ipv4Addr, table: u32) -> String {
    let mut enis = snapshot.interfaces.iter();
    let has =
        |eni: &record::Interface| eni.addresses.contains(&address) || eni.is_in_prefix(address);
    let found = enis
        .clone()
        .find(|(_, eni)| has(eni))
        .or_else(|| enis.clone().find(|(_, eni)| eni.table() == table))
        .or_else(|| enis.find(|(_, eni)| eni.is_primary()));
    found.map(|(id, _)| id.clone()).unwrap_or_default()
}

/// Addresses that interfaces of this node have for pods.
pub(crate) fn addresses(snapshot: &Snapshot) -> BTreeSet<Ipv4Addr> {
    let may_be = |eni: &&record::Interface| eni.is_for_pods() || eni.origin == Origin::Unknown;
    let blocks = snapshot.interfaces.values().filter(may_be).flat_map(record::Interface::blocks);
    blocks.flat_map(pool::Block::addresses).collect()
}
