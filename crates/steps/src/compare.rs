//! Takes over what EC2 lists where it differs from the record, as far as recent calls do not contradict.

use crate::{Described, Known, Told, interface, settle::note};
use ipnetwork::Ipv4Network;
use pool::{EniId, Presence, Time};
use std::collections::{BTreeMap, BTreeSet};

/// Interfaces that the instance metadata shows, with the block of their subnet.
pub type Shown = BTreeMap<EniId, Option<Ipv4Network>>;

/// Takes over what EC2 listed at a time. Of what is not certain it is asked again.
pub fn take_over(described: &[Described], shown: &Shown, at: Time, known: &mut dyn Known) {
    let mut listed = BTreeSet::new();
    for eni in described {
        let Some((attachment, device_index)) = &eni.attachment else { continue };
        let id = EniId(eni.id.clone());
        listed.insert(id.clone());
        let recent = known.recent(&id);
        if recent.presence(true, shown.contains_key(&id), at) == Presence::Releasing {
            continue;
        }
        let is = interface(eni, Some(attachment), *device_index, known.instance());
        let Some(mut is) = is else { continue };
        let before = known.interface(&id);
        let recorded = before.as_ref().map(|before| before.blocks()).unwrap_or_default();
        let merged = recent.blocks(&recorded, &is.blocks(), at);
        is.addresses.clear();
        is.prefixes.clear();
        is.add(merged.blocks);
        if let Some(before) = before {
            is.subnet_cidr = before.subnet_cidr;
            known.change_interface(&id, &mut |it| *it = is.clone());
        } else {
            is.subnet_cidr = shown.get(&id).copied().flatten();
            known.keep_interface(&id, is);
        }
        known.leave_alone(&id);
        if !merged.certain {
            note(&id, known, |recent, now| recent.ask(now));
        }
    }
    for id in known.interfaces().iter().filter(|id| !listed.contains(id)) {
        match known.recent(id).presence(false, shown.contains_key(id), at) {
            Presence::Gone => {
                known.tell(Told::Gone { eni: id });
                known.drop_interface(id);
            }
            Presence::Attached => note(id, known, |recent, now| recent.ask(now)),
            Presence::Releasing => {}
        }
    }
}
