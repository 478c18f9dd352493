//! Who attached an interface, by its tags.

use super::Executor;
use crate::{
    aws::ec2::Described,
    node::{INSTANCE_TAG, now},
};
use anyhow::{Context, Result};
use pool::{EniId, Time};
use record::Origin;
use tracing::info;

/// Says, with the value `true`, that an interface is not to be touched.
const NO_MANAGE_TAG: &str = "node.k8s.amazonaws.com/no_manage";

/// Who attached an interface of an instance, by its tags. The primary one came with the instance and
/// is used as the peer uses it.
pub(crate) fn origin(eni: &Described, device_index: u32, instance: &str) -> Origin {
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
pub(crate) fn special_type(eni: &Described, device_index: u32) -> Option<String> {
    let primary = (eni.card, device_index) == (0, 0);
    eni.special_type.clone().filter(|_| !primary)
}

impl Executor {
    /// Looks at the tags of an interface.
    pub(super) async fn inspect(&self, id: &EniId) -> Result<()> {
        let at = now();
        let described = self.ec2.one(&id.0).await?.context("EC2 does not list it yet")?;
        self.take_tags(id, &described, at);
        Ok(())
    }

    /// Notes whose an interface is, as EC2 listed it then.
    pub(super) fn take_tags(&self, id: &EniId, described: &Described, at: Time) {
        let instance = &self.node.identity.instance;
        let recent = self.node.store.recent(id);
        self.node.change_interface(id, |eni| {
            eni.record.origin = origin(described, eni.record.device_index, instance);
            eni.record.special_type = special_type(described, eni.record.device_index);
            eni.record.outlives_instance = !described.ends_with_instance;
            eni.record.tags.clone_from(&described.tags);
            eni.record.add(recent.blocks(&eni.record.blocks(), &described.blocks, at).blocks);
            let kind = eni.record.special_type.as_deref().unwrap_or("interface");
            info!(eni = %id, origin = ?eni.record.origin, kind, "whose an interface is");
        });
        self.node.leave_alone(id);
    }
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
