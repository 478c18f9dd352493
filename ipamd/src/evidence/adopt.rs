//! Whoever was here before: what all witnesses say becomes attachments on record, and addresses that
//! are held until nobody speaks for them any more.

use super::findings::{Held, addresses, held, look};
use crate::{node::Unclear, settings::Settings};
use anyhow::Result;
use net::Netlink;
use pool::{
    Time,
    adopt::{Claim, Unknown},
};
use record::Journal;
use std::{collections::BTreeMap, net::Ipv4Addr};
use tracing::{info, warn};

/// What was taken over.
#[derive(Debug, Default)]
pub(crate) struct Adopted {
    /// Addresses that somebody may use whom nobody knows.
    pub held: BTreeMap<Ipv4Addr, Held>,
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
    let found = look(settings, journal.snapshot(), kernel)?;
    let in_blocks = addresses(journal.snapshot());
    for (address, witnesses) in &found.claims.disagreements {
        if in_blocks.contains(address) || found.claims.claims.get(address).is_some_and(is_of_pod) {
            warn!(%address, witnesses, "those who can tell do not agree about an address");
        }
    }
    for (owner, address) in &found.claims.superseded {
        info!(%owner, %address, "a pod on record has ended: its address is another pod's by now");
        if let Err(error) = journal.released(owner, now) {
            warn!(error = format!("{error:#}"), %owner, "failed to note a pod that has ended");
        }
    }
    let mut all_held = found.held.clone();
    let mut pods = 0;
    for attachment in &found.adoptions {
        let pod = format!("{}/{}", attachment.pod_namespace, attachment.pod_name);
        let (address, link) = (attachment.address, &attachment.host_name);
        let made_by = attachment.made_by;
        match journal.allocated(attachment.clone()) {
            Ok(()) => {
                pods += 1;
                info!(pod, %address, link, ?made_by, "took over a pod");
            }
            // What is not on record is nobody's yet, and must be given to nobody.
            Err(error) => {
                warn!(error = format!("{error:#}"), pod, %address, "failed to take over a pod");
                let why = Unclear::new(Unknown::Link(link.clone()));
                let held = held(journal.snapshot(), found.traces(), address, why);
                all_held.insert(address, held);
            }
        }
    }
    for (address, held) in &all_held {
        let is_known = held.unclear.pod.is_some();
        if !is_known && held.may_carry.is_empty() && !in_blocks.contains(address) {
            continue;
        }
        let (why, may_carry) = (&held.unclear.why, &held.may_carry);
        warn!(%address, %why, ?may_carry, "an address is held: nobody gets it until nothing of it is seen any more");
    }
    if pods > 0 {
        info!(pods, from = %settings.backing_store.display(), "took over pods");
    }
    Ok(Adopted { held: all_held })
}

fn is_of_pod(claim: &Claim) -> bool {
    match claim {
        Claim::Lives { .. } | Claim::Suspect { .. } => true,
        Claim::Unknown(unknown) => matches!(unknown, Unknown::Link(_) | Unknown::LinkGone(_)),
        Claim::Released => false,
    }
}
