//! What the pool is told of the record: interfaces, and what is unfinished.

use crate::{Listed, leaves};
use pool::{Eni, EniId, Lifetime, Observation, Ownership, Readiness, RecentCalls, Unfinished};
use record::{Interface, Origin};
use std::collections::{BTreeMap, BTreeSet};

/// A slot that an interface takes of which nothing else is of use to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// The network card.
    pub card: u32,
    /// The device index on it.
    pub device_index: u32,
    /// Why it carries no pods.
    pub why: String,
}

/// Interfaces as the pool sees them.
pub fn observation<'a>(
    attached: impl Iterator<Item = (&'a EniId, &'a Interface, Readiness)>,
    occupied: &BTreeMap<EniId, Occupied>,
) -> Observation {
    let eni = |record: &Interface, readiness| Eni {
        device_index: record.device_index,
        subnet: record.subnet.clone(),
        groups: record.groups.clone(),
        blocks: record.blocks_in_subnet(),
        readiness,
        ownership: match (record.origin, &record.special_type) {
            (Origin::Unmanaged, _) => Ownership::Unmanaged,
            (_, Some(_)) => Ownership::NotForPods,
            (Origin::Ours, None) => Ownership::Ours,
            (Origin::Foreign, None) => Ownership::Foreign,
            (Origin::Unknown, None) => Ownership::Unknown,
        },
        lifetime: if record.outlives_instance { Lifetime::Own } else { Lifetime::Instance },
    };
    // Pods get addresses of the first card only, as without the peer's ENABLE_MULTI_NIC.
    let first = attached.filter(|(_, record, _)| record.card == 0);
    let first = first.map(|(id, record, readiness)| (id.clone(), eni(record, readiness)));
    let slot = |it: &Occupied| Eni {
        device_index: it.device_index,
        subnet: String::new(),
        groups: BTreeSet::new(),
        blocks: BTreeSet::new(),
        readiness: Readiness::Coming,
        ownership: Ownership::NotForPods,
        lifetime: Lifetime::Instance,
    };
    let others = occupied.iter().filter(|(_, it)| it.card == 0);
    // One that is on record counts as what it is there.
    others.map(|(id, it)| (id.clone(), slot(it))).chain(first).collect()
}

/// What EC2 has of this node, or may have, beside the interfaces on record.
#[must_use]
pub fn unfinished(
    recent: &BTreeMap<EniId, RecentCalls>,
    discarded: &BTreeSet<EniId>,
) -> Unfinished {
    // What is being given back is asked about by that.
    let unsure = recent.iter().filter(|(_, it)| !leaves(it));
    let unsure = unsure.filter_map(|(id, it)| Some((id.clone(), it.asked?)));
    Unfinished { discarded: discarded.clone(), unsure: unsure.collect() }
}

/// The slots of interfaces that have no IPv4 or that cannot be read.
#[must_use]
pub fn occupied(listed: &Listed) -> BTreeMap<EniId, Occupied> {
    let without = listed.interfaces.iter().filter(|eni| eni.primary.is_none()).filter_map(|eni| {
        let (_, device_index) = eni.attachment.as_ref()?;
        let why = match &eni.special_type {
            Some(kind) => format!("it has no IPv4 address, and is of type {kind}"),
            None => "it has no IPv4 address".into(),
        };
        Some((eni.id.clone(), eni.card, *device_index, why))
    });
    let unreadable = listed.unreadable.iter().filter_map(|eni| {
        let (card, device_index) = eni.place?;
        let why = format!("what EC2 says of it cannot be read: {}", eni.why);
        Some((eni.id.clone(), card, device_index, why))
    });
    let slot = |(id, card, device_index, why)| (EniId(id), Occupied { card, device_index, why });
    without.chain(unreadable).map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Described, Unreadable, interface};

    #[test]
    fn interfaces_without_ipv4_and_unreadable_ones_take_their_slots_and_no_others_do() {
        let eni = |id: &str, primary, index: Option<u32>| Described {
            id: id.into(),
            mac: net::Mac([2; 6]),
            primary,
            special_type: None,
            blocks: BTreeSet::new(),
            groups: BTreeSet::new(),
            subnet: "subnet-1".into(),
            tags: BTreeMap::new(),
            card: 0,
            attachment: index.map(|index| ("eni-attach-1".into(), index)),
            ends_with_instance: false,
        };
        let unreadable = |id: &str, place| Unreadable { id: id.into(), place, why: "odd".into() };
        let listed = Listed {
            interfaces: vec![
                eni("eni-1", Some([10, 0, 0, 5].into()), Some(1)),
                eni("eni-2", None, Some(2)),
                eni("eni-3", None, None),
            ],
            unreadable: vec![unreadable("eni-4", Some((1, 3))), unreadable("eni-5", None)],
        };

        let slots = occupied(&listed);

        let places = slots.iter().map(|(id, it)| (id.0.as_str(), it.card, it.device_index));
        assert_eq!(places.collect::<Vec<_>>(), [("eni-2", 0, 2), ("eni-4", 1, 3)]);
        assert_eq!(interface(&listed.interfaces[1], Some("eni-attach-1"), 2, "i-1"), None);
    }
}
