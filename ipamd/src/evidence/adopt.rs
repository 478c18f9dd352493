//! Whoever was here before: what all witnesses say becomes attachments on record, and addresses that
//! are held until nobody speaks for them any more.

use super::witnesses::{Evidence, gather};
use crate::settings::Settings;
use anyhow::{Context, Result};
use net::{Netlink, PodLink, op::MAIN_TABLE, pod::Pod};
use pool::{
    Owner, Time,
    adopt::{Claim, Claims, Unknown, Witness, claims},
};
use record::{Attachment, Journal, Maker, Snapshot};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};
use tracing::{info, warn};

/// What was taken over.
#[derive(Debug, Default)]
pub(crate) struct Adopted {
    /// Addresses that somebody may use whom nobody knows.
    pub held: BTreeMap<Ipv4Addr, Unknown>,
    /// Pods that were not on our record.
    pub pods: usize,
}

/// Hears everybody, and puts on record what follows. Nothing is changed in the kernel or in EC2.
///
/// # Errors
/// The kernel does not answer.
pub(crate) fn adopt(
    settings: &Settings,
    journal: &mut Journal,
    kernel: &mut Netlink,
    now: Time,
) -> Result<Adopted> {
    let evidence = gather(settings, journal.snapshot(), kernel)?;
    let Claims { claims, superseded, disagreements } = claims(&evidence.entries, &evidence.seen);
    let in_blocks = addresses(journal.snapshot());
    for (address, witnesses) in &disagreements {
        if in_blocks.contains(address) || claims.get(address).is_some_and(is_of_pod) {
            warn!(%address, witnesses, "those who can tell do not agree about an address");
        }
    }
    for (owner, address) in &superseded {
        info!(%owner, %address, "a pod on record has ended: its address is another pod's by now");
        if let Err(error) = journal.released(owner, now) {
            warn!(error = format!("{error:#}"), %owner, "failed to note a pod that has ended");
        }
    }
    let mut adopted = Adopted::default();
    for (address, claim) in claims {
        match claim {
            Claim::Lives { owner, by: Witness::Checkpoint } => {
                match take_over(settings, journal, &evidence, address, &owner) {
                    Ok(true) => adopted.pods += 1,
                    Ok(false) => {}
                    // What is not on record is nobody's yet, and must be given to nobody.
                    Err(error) => {
                        warn!(error = format!("{error:#}"), %owner, %address, "failed to take over a pod");
                        adopted.held.insert(address, Unknown::Link(owner.to_string()));
                    }
                }
            }
            Claim::Unknown(unknown) => drop(adopted.held.insert(address, unknown)),
            // On record already; of a pod without its link its namespace tells whether it has ended.
            Claim::Lives { by: Witness::Journal, .. } | Claim::Suspect { .. } | Claim::Released => {
            }
        }
    }
    for address in &evidence.unreadable {
        let why = Unknown::LinkGone("an entry that cannot be read".into());
        adopted.held.entry(*address).or_insert(why);
    }
    for (address, why) in adopted.held.iter().filter(|(address, _)| in_blocks.contains(*address)) {
        warn!(%address, %why, "an address is held: nobody gets it until nothing of it is seen any more");
    }
    if adopted.pods > 0 {
        info!(pods = adopted.pods, from = %settings.backing_store.display(), "took over pods");
    }
    Ok(adopted)
}

fn is_of_pod(claim: &Claim) -> bool {
    match claim {
        Claim::Lives { .. } | Claim::Suspect { .. } => true,
        Claim::Unknown(unknown) => matches!(unknown, Unknown::Link(_) | Unknown::LinkGone(_)),
        Claim::Released => false,
    }
}

/// Puts a pod on record that the checkpoint knows and the kernel shows. Whether it was not there yet.
fn take_over(
    settings: &Settings,
    journal: &mut Journal,
    evidence: &Evidence,
    address: Ipv4Addr,
    owner: &Owner,
) -> Result<bool> {
    let known = journal.snapshot().attachments.get(owner);
    if known.is_some_and(|known| known.address == address) {
        return Ok(false);
    }
    let Some(entry) = evidence.checkpoint.get(owner) else { return Ok(false) };
    let (namespace, name) = (&entry.pod_namespace, &entry.pod_name);
    let name = cni::names::host_veth(&settings.veth_prefix, namespace, name);
    let Some(link) = evidence.link(address, &name) else { return Ok(false) };
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
        eni: interface(journal.snapshot(), address, table),
        table,
        egress: net::EgressSelector::Peer,
        mtu: link.mtu,
        made_by: Maker::Peer,
        host_mac: None,
        since_ms: u64::try_from(entry.since.0.as_millis()).unwrap_or(u64::MAX),
    };
    mark_maker(&mut attachment, link, journal.snapshot());
    let pod = format!("{}/{}", attachment.pod_namespace, attachment.pod_name);
    info!(pod, %address, link = link.name, made_by = ?attachment.made_by, "took over a pod");
    journal.allocated(attachment).context("note a pod that was taken over")?;
    Ok(true)
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
fn addresses(snapshot: &Snapshot) -> BTreeSet<Ipv4Addr> {
    let blocks = snapshot.interfaces.values().flat_map(record::Interface::blocks);
    blocks.flat_map(pool::Block::addresses).collect()
}
