//! Who attached an interface, by its tags, and what we keep of it.

use crate::{Described, Known, Told};
use pool::{EniId, Time};
use record::{Interface, Origin};
use std::collections::BTreeSet;

/// Says for which instance an interface was made (`docs/references.md#peer-tags`).
pub const INSTANCE_TAG: &str = "node.k8s.amazonaws.com/instance_id";

/// Says, with the value `true`, that an interface is not to be touched.
pub const NO_MANAGE_TAG: &str = "node.k8s.amazonaws.com/no_manage";

/// Who attached an interface of an instance, by its tags. The primary one came with the instance and
/// is used as the peer uses it.
#[must_use]
pub fn origin(eni: &Described, device_index: u32, instance: &str) -> Origin {
    let tag = |key: &str| eni.tags.get(key).map(String::as_str);
    match (tag(NO_MANAGE_TAG), tag(INSTANCE_TAG)) {
        _ if (eni.card, device_index) == (0, 0) => Origin::Ours,
        (Some("true"), _) => Origin::Unmanaged,
        (_, Some(made_for)) if made_for == instance => Origin::Ours,
        _ => Origin::Foreign,
    }
}

/// EC2's type of an interface, where it is one that carries no pods. The primary one does, whatever
/// its type: where instances have EFA it may be `efa`.
#[must_use]
pub fn special_type(eni: &Described, device_index: u32) -> Option<String> {
    let primary = (eni.card, device_index) == (0, 0);
    eni.special_type.clone().filter(|_| !primary)
}

/// An interface for the record; `None` for one without IPv4.
#[must_use]
pub fn interface(
    eni: &Described,
    attachment: Option<&str>,
    device_index: u32,
    instance: &str,
) -> Option<Interface> {
    let mut interface = Interface {
        mac: eni.mac,
        card: eni.card,
        device_index,
        subnet: eni.subnet.clone(),
        subnet_cidr: None,
        primary: eni.primary?,
        groups: eni.groups.clone(),
        addresses: BTreeSet::new(),
        prefixes: BTreeSet::new(),
        attachment: attachment.map(Into::into),
        origin: origin(eni, device_index, instance),
        outlives_instance: !eni.ends_with_instance,
        special_type: special_type(eni, device_index),
        tags: eni.tags.clone(),
    };
    interface.add(eni.blocks.iter().copied());
    Some(interface)
}

/// Notes whose an interface is, as EC2 listed it then.
pub(crate) fn take_tags(id: &EniId, described: &Described, at: Time, known: &mut dyn Known) {
    let instance = known.instance().to_owned();
    let recent = known.recent(id);
    known.change_interface(id, &mut |eni| {
        eni.origin = origin(described, eni.device_index, &instance);
        eni.special_type = special_type(described, eni.device_index);
        eni.outlives_instance = !described.ends_with_instance;
        eni.tags.clone_from(&described.tags);
        eni.add(recent.blocks(&eni.blocks(), &described.blocks, at).blocks);
    });
    if let Some(is) = known.interface(id) {
        known.tell(Told::Whose { eni: id, is: &is });
    }
    known.leave_alone(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_whose_an_interface_is_and_no_manage_comes_first() {
        let mine = (INSTANCE_TAG, "i-1");
        for (device_index, tags, want) in [
            (1, vec![mine], Origin::Ours),
            (1, vec![mine, (NO_MANAGE_TAG, "true")], Origin::Unmanaged),
            (1, vec![mine, (NO_MANAGE_TAG, "false")], Origin::Ours),
            (1, vec![(NO_MANAGE_TAG, "true")], Origin::Unmanaged),
            (1, vec![(INSTANCE_TAG, "i-2")], Origin::Foreign),
            (1, vec![], Origin::Foreign),
            (0, vec![], Origin::Ours),
        ] {
            let tags = tags.iter().map(|(key, value)| ((*key).into(), (*value).into()));
            let eni = Described { tags: tags.collect(), ..described() };

            assert_eq!(origin(&eni, device_index, "i-1"), want, "{device_index} {eni:?}");
        }
    }

    #[test]
    fn interfaces_for_something_else_carry_no_pods_but_for_the_primary_one() {
        let efa = Described { special_type: Some("efa".into()), ..described() };

        assert_eq!(special_type(&efa, 1).as_deref(), Some("efa"));
        assert_eq!(special_type(&efa, 0), None);
        assert_eq!(special_type(&Described { card: 1, ..efa }, 0).as_deref(), Some("efa"));
        assert_eq!(special_type(&described(), 1), None);
    }

    fn described() -> Described {
        Described {
            card: 0,
            id: "eni-1".into(),
            mac: net::Mac([2, 0, 0, 0, 0, 1]),
            primary: Some([10, 0, 0, 1].into()),
            special_type: None,
            blocks: [].into(),
            groups: [].into(),
            subnet: "subnet-1".into(),
            tags: [].into(),
            attachment: None,
            ends_with_instance: false,
        }
    }
}
