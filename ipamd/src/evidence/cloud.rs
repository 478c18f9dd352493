//! What is attached, by the record, the metadata service, and EC2 where the two differ.

use crate::{
    aws::{ec2::Described, imds::Shown},
    execute::{self, Executor},
    node::{Attached, now},
};
use anyhow::{Result, ensure};
use pool::{Block, EniId, Presence, Time};
use record::{Interface, Origin};
use std::collections::{BTreeMap, BTreeSet};
use tracing::info;

/// Compares the record with what the metadata service shows. Where they differ, one of them is late,
/// and EC2 decides. Nothing is changed on the word of the metadata service alone.
///
/// # Errors
/// One of them does not answer, or the record is another instance's.
pub(crate) async fn compare(executor: &Executor) -> Result<()> {
    let node = &executor.node;
    let identity = executor.imds.identity().await?;
    ensure!(
        identity.instance == node.identity.instance,
        "the record is that of {}, this is {}: stop the daemon, remove the journal in {}, start it again",
        node.identity.instance,
        identity.instance,
        node.settings.run_dir.display()
    );
    let shown = executor.imds.interfaces_of(&identity).await?;
    let shown: BTreeMap<EniId, Interface> = shown.into_iter().filter_map(from_shown).collect();
    let recorded: BTreeMap<EniId, Interface> = {
        let state = node.store.state();
        state.attached.iter().map(|(id, eni)| (id.clone(), eni.record.clone())).collect()
    };
    let same = |(id, record): (&EniId, &Interface)| {
        shown.get(id).is_some_and(|shown| shown.blocks() == record.blocks())
    };
    let open = node.store.state().journal.snapshot().recent.values().any(|it| it.asked.is_some());
    if !open && recorded.len() == shown.len() && recorded.iter().all(same) {
        return Ok(());
    }
    info!(open, "the instance metadata differs from the record, or a call is open: ask EC2");
    let at = now();
    take_over(executor, &executor.ec2.attached().await?, &shown, at);
    Ok(())
}

/// Takes over what EC2 listed, as far as recent calls do not contradict; asks again for the rest.
fn take_over(
    executor: &Executor,
    described: &[Described],
    shown: &BTreeMap<EniId, Interface>,
    at: Time,
) {
    let node = &executor.node;
    let mut listed = BTreeSet::new();
    for eni in described {
        let Some((attachment, device_index)) = &eni.attachment else { continue };
        let id = EniId(eni.id.clone());
        let recent = node.store.recent(&id);
        listed.insert(id.clone());
        if recent.presence(true, shown.contains_key(&id), at) == Presence::Releasing {
            continue;
        }
        let instance = &node.identity.instance;
        let mut record = execute::interface(eni, attachment, *device_index, instance);
        let known = node.store.interface(&id);
        let recorded = known.as_ref().map(|known| known.record.blocks()).unwrap_or_default();
        let merged = recent.blocks(&recorded, &record.blocks(), at);
        record.addresses.clear();
        record.prefixes.clear();
        record.add(merged.blocks);
        match known {
            Some(known) => node.change_interface(&id, |it| {
                record.subnet_cidr = known.record.subnet_cidr;
                it.record = record;
            }),
            None => {
                record.subnet_cidr = shown.get(&id).and_then(|eni| eni.subnet_cidr);
                node.keep_interface(id.clone(), Attached::new(record));
            }
        }
        if !merged.certain {
            executor.mark_outcome_unknown(&id);
        }
    }
    let known: Vec<EniId> = node.store.state().attached.keys().cloned().collect();
    for id in known.iter().filter(|id| !listed.contains(id)) {
        match node.store.recent(id).presence(false, shown.contains_key(id), at) {
            Presence::Gone => {
                info!(eni = %id, "neither EC2 nor the instance metadata knows this interface any more");
                node.drop_interface(id);
            }
            Presence::Attached => executor.mark_outcome_unknown(id),
            Presence::Releasing => {}
        }
    }
}

/// What the metadata service shows, for the record; `None` for an interface without addresses.
pub(crate) fn from_shown(eni: Shown) -> Option<(EniId, Interface)> {
    let (primary, secondary) = eni.addresses.split_first()?;
    let mut record = Interface {
        mac: eni.mac,
        card: eni.card,
        device_index: eni.device_index,
        subnet: eni.subnet,
        subnet_cidr: Some(eni.subnet_cidr),
        primary: *primary,
        groups: eni.groups.into_iter().collect(),
        addresses: BTreeSet::new(),
        prefixes: BTreeSet::new(),
        attachment: None,
        // The metadata has no tags.
        origin: if (eni.card, eni.device_index) == (0, 0) { Origin::Ours } else { Origin::Unknown },
        outlives_instance: false,
    };
    record.add(secondary.iter().copied().map(Block::Address));
    record.add(eni.prefixes.iter().map(|prefix| Block::Prefix(prefix.network())));
    Some((EniId(eni.id), record))
}
