//! What a take-over finds, and what it would do: decided here, written by nobody.

use super::witnesses::{Evidence, gather};
use crate::settings::Settings;
use anyhow::Result;
use net::{Netlink, PodLink, op::MAIN_TABLE, pod::Pod};
use pool::{
    Owner,
    adopt::{Claim, Claims, Entry, Seen, Unknown, Witness, claims},
};
use record::{Attachment, Maker, Snapshot};
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
    pub held: BTreeMap<Ipv4Addr, Unknown>,
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
    let (mut adoptions, mut held) = (vec![], BTreeMap::new());
    for (address, claim) in &claims.claims {
        match claim {
            Claim::Lives { owner, by: Witness::Checkpoint } => {
                adoptions.extend(adoption(settings, snapshot, &evidence, *address, owner));
            }
            Claim::Unknown(unknown) => drop(held.insert(*address, unknown.clone())),
            // On record already; of a pod without its link its namespace tells whether it has ended.
            Claim::Lives { by: Witness::Journal, .. } | Claim::Suspect { .. } | Claim::Released => {
            }
        }
    }
    for address in &evidence.unreadable {
        let why = Unknown::LinkGone("an entry that cannot be read".into());
        held.entry(*address).or_insert(why);
    }
    Ok(Findings { evidence, claims, adoptions, held })
}

impl Findings {
    /// What the records say.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.evidence.entries
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
    let blocks = snapshot.interfaces.values().flat_map(record::Interface::blocks);
    blocks.flat_map(pool::Block::addresses).collect()
}
