//! What is attached, by the record, the metadata service, and EC2 where the two differ.

use crate::{
    aws::imds::{Listing, Shown},
    clock::now,
    execute::{Executor, OfNode},
    retry::{FIRST_PAUSE, LONGEST_PAUSE},
};
use anyhow::Result;
use pool::{Block, EniId};
use record::{Interface, Origin};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use steps::Occupied;
use tokio::sync::watch;
use tracing::{info, warn};

/// How long the first plan waits for the comparison. Growth waits for it, and so do pods for which
/// there is no address; and that EC2 or the metadata service does not answer may last.
const COMPARE_WAIT: Duration = Duration::from_secs(10);

/// How far the comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    /// It is tried again.
    Open,
    /// The record is another instance's: nothing may be planned from it.
    AnotherInstance,
    Done,
}

/// The record is another instance's.
#[derive(Debug, thiserror::Error)]
#[error(
    "the record is that of {recorded}, this is {instance}: stop the daemon, remove the journal in \
     {run_dir}, start it again"
)]
struct AnotherInstance {
    recorded: String,
    instance: String,
    run_dir: String,
}

/// Compares the record with what is attached, again and again until that works. Returns when it has,
/// or after [`COMPARE_WAIT`]: then it goes on beside the plans. A record of another instance is
/// waited with for as long as it takes.
pub(crate) async fn compare_first(executor: &Executor) {
    let (tell, mut heard) = watch::channel(Comparison::Open);
    tokio::spawn(compare_until_done(executor.clone(), tell));
    let deadline = tokio::time::Instant::now() + COMPARE_WAIT;
    loop {
        let comparison = *heard.borrow_and_update();
        let changed = match comparison {
            Comparison::Done => return,
            Comparison::AnotherInstance => heard.changed().await,
            Comparison::Open => tokio::select! {
                changed = heard.changed() => changed,
                () = tokio::time::sleep_until(deadline) => {
                    warn!(waited = ?COMPARE_WAIT, "what is attached is not known for sure yet: the node plans by its record");
                    return;
                }
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn compare_until_done(executor: Executor, tell: watch::Sender<Comparison>) {
    let mut pause = FIRST_PAUSE;
    while let Err(error) = compare(&executor).await {
        let what = "failed to compare the record with what is attached";
        warn!(error = format!("{error:#}"), retry_in = ?pause, "{what}");
        if error.is::<AnotherInstance>() {
            tell.send_replace(Comparison::AnotherInstance);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    tell.send_replace(Comparison::Done);
}

/// Compares the record with what the metadata service shows. Where they differ, one of them is late,
/// and EC2 decides; it is also asked whose interfaces are that nobody has looked at, or that somebody
/// else attached, who may have changed their tags. Nothing is changed on the word of the metadata
/// service alone.
///
/// # Errors
/// One of them does not answer, or the record is another instance's.
async fn compare(executor: &Executor) -> Result<()> {
    let node = &executor.node;
    let identity = executor.imds.identity().await?;
    if identity.instance != node.identity.instance {
        return Err(AnotherInstance {
            recorded: node.identity.instance.clone(),
            instance: identity.instance,
            run_dir: node.settings.run_dir.display().to_string(),
        }
        .into());
    }
    let Listing { shown, unreadable } = executor.imds.interfaces_of(&identity).await?;
    for (entry, why) in &unreadable {
        warn!(entry, why, "failed to read an interface of the instance metadata: ask EC2");
    }
    let occupied: BTreeMap<EniId, Occupied> = shown.iter().filter_map(slot_of).collect();
    let shown: BTreeMap<EniId, Interface> = shown.into_iter().filter_map(from_shown).collect();
    let recorded: BTreeMap<EniId, Interface> = {
        let state = node.store.state();
        state.attached.iter().map(|(id, eni)| (id.clone(), eni.record.clone())).collect()
    };
    let is_settled = |(id, record): (&EniId, &Interface)| {
        // The groups of the primary one are followed.
        let groups = |shown: &Interface| record.is_primary() || shown.groups == record.groups;
        let same = |shown: &Interface| shown.blocks() == record.blocks() && groups(shown);
        record.origin == Origin::Ours && shown.get(id).is_some_and(same)
    };
    let open = {
        let state = node.store.state();
        let asked = state.journal.snapshot().recent.values().any(|it| it.asked.is_some());
        // A pod whose address neither record nor metadata has on an interface: EC2 may.
        asked || state.held.values().any(|it| it.pod.is_some())
    };
    let same = recorded.len() == shown.len() && recorded.iter().all(is_settled);
    if !open && same && unreadable.is_empty() {
        node.note_occupied(occupied);
        return Ok(());
    }
    info!(
        open,
        "the instance metadata differs from the record, has interfaces of others, lacks a pod's, or a call is open: ask EC2"
    );
    let at = now();
    let listed = executor.ec2.attached().await?;
    node.note_occupied(steps::occupied(&listed));
    let shown = shown.into_iter().map(|(id, eni)| (id, eni.subnet_cidr)).collect();
    steps::take_over(&listed.interfaces, &shown, at, &mut OfNode(node));
    Ok(())
}

/// The slot of an interface without IPv4.
fn slot_of(eni: &Shown) -> Option<(EniId, Occupied)> {
    let has_address = eni.ipv4.as_ref().is_some_and(|it| !it.addresses.is_empty());
    let why = "it has no IPv4 address".into();
    let slot = Occupied { card: eni.card, device_index: eni.device_index, why };
    (!has_address).then(|| (EniId(eni.id.clone()), slot))
}

/// What the metadata service shows, for the record; `None` for an interface without addresses.
pub(crate) fn from_shown(eni: Shown) -> Option<(EniId, Interface)> {
    let ipv4 = eni.ipv4?;
    let (primary, secondary) = ipv4.addresses.split_first()?;
    let mut record = Interface {
        mac: eni.mac,
        card: eni.card,
        device_index: eni.device_index,
        subnet: ipv4.subnet,
        subnet_cidr: Some(ipv4.subnet_cidr),
        primary: *primary,
        groups: ipv4.groups.into_iter().collect(),
        addresses: BTreeSet::new(),
        prefixes: BTreeSet::new(),
        attachment: None,
        // The metadata has no tags.
        origin: if (eni.card, eni.device_index) == (0, 0) { Origin::Ours } else { Origin::Unknown },
        outlives_instance: false,
        special_type: None,
        tags: BTreeMap::new(),
    };
    record.add(secondary.iter().copied().map(Block::Address));
    record.add(ipv4.prefixes.iter().map(|prefix| Block::Prefix(prefix.network())));
    Some((EniId(eni.id), record))
}
