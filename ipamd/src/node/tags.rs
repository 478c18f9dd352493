//! Tags of this node's interfaces: those that every one of them is to have, and those of our own.

use crate::settings::Settings;
use pool::EniId;
use record::{Interface, Origin};
use std::collections::BTreeMap;
use steps::{
    INSTANCE_TAG,
    sweep::{CLUSTER_TAG, CREATED_TAG, OWNER, OWNER_TAG},
};

/// Tags that interfaces of this node are to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedTags {
    /// By the settings, every interface that is used.
    used: BTreeMap<String, String>,
    /// Besides, the primary one and those that were made for this node. To others it is not given:
    /// by it an interface is known as one to give back.
    ours: (String, String),
}

impl WantedTags {
    /// What the settings and the peer's way ask for (`docs/references.md#peer-tags`).
    pub(crate) fn of(settings: &Settings, instance: &str) -> Self {
        let mut used = settings.additional_tags.clone();
        if let Some(cluster) = &settings.cluster {
            used.insert(CLUSTER_TAG.into(), cluster.clone());
            used.insert(OWNER_TAG.into(), OWNER.into());
        }
        Self { used, ours: (INSTANCE_TAG.into(), instance.into()) }
    }

    /// Those of an interface that is being made.
    pub(crate) fn of_new(&self, created_at: &str) -> BTreeMap<String, String> {
        let mut tags = self.used.clone();
        tags.extend([self.ours.clone(), (CREATED_TAG.into(), created_at.into())]);
        tags
    }

    /// Those that interfaces are not known to have. The primary one and those of launch templates are
    /// not worth a call where the settings ask for none.
    pub(crate) fn missing<'a>(
        &self,
        interfaces: impl Iterator<Item = (&'a EniId, &'a Interface)>,
    ) -> BTreeMap<EniId, BTreeMap<String, String>> {
        if self.used.is_empty() {
            return BTreeMap::new();
        }
        let missing = interfaces.map(|(id, eni)| (id.clone(), self.missing_on(eni)));
        missing.filter(|(_, missing)| !missing.is_empty()).collect()
    }

    fn missing_on(&self, eni: &Interface) -> BTreeMap<String, String> {
        let mut wanted = match eni.origin {
            Origin::Ours | Origin::Foreign | Origin::Unknown => self.used.clone(),
            Origin::Unmanaged => BTreeMap::new(),
        };
        if eni.origin == Origin::Ours {
            wanted.extend([self.ours.clone()]);
        }
        wanted.retain(|key, value| eni.tags.get(key) != Some(value));
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_that_is_used_lacks_what_the_settings_ask_for_until_it_is_known_to_have_it() {
        let wanted =
            wanted(&[("CLUSTER_NAME", "c1"), ("ADDITIONAL_ENI_TAGS", r#"{"team":"net"}"#)]);
        let settings = [
            ("cluster.k8s.amazonaws.com/name", "c1"),
            ("eks:eni:owner", "amazon-vpc-cni"),
            ("team", "net"),
        ];
        let own = [(INSTANCE_TAG, "i-1")];

        for (origin, known, want) in [
            (Origin::Ours, vec![], [&settings[..], &own[..]].concat()),
            (Origin::Foreign, vec![], settings.to_vec()),
            (Origin::Unknown, vec![], settings.to_vec()),
            (Origin::Unmanaged, vec![], vec![]),
            (Origin::Foreign, settings.to_vec(), vec![]),
            (Origin::Foreign, vec![settings[0], settings[1], ("team", "web")], vec![settings[2]]),
        ] {
            let eni = Interface { origin, tags: tags(&known), ..interface() };

            let missing = wanted.missing([(&EniId("eni-1".into()), &eni)].into_iter());

            let missing = missing.into_values().next().unwrap_or_default();
            assert_eq!(missing, tags(&want), "{origin:?} {known:?}");
        }
    }

    #[test]
    fn without_settings_nothing_lacks_a_tag_and_what_is_made_has_two() {
        let wanted = wanted(&[]);

        let missing = wanted.missing([(&EniId("eni-1".into()), &interface())].into_iter());

        assert_eq!(missing, BTreeMap::new());
        let new = wanted.of_new("2026-01-01T00:00:00Z");
        assert_eq!(new, tags(&[(INSTANCE_TAG, "i-1"), (CREATED_TAG, "2026-01-01T00:00:00Z")]));
    }

    fn wanted(environment: &[(&str, &str)]) -> WantedTags {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        WantedTags::of(&Settings::read(&environment.collect()).unwrap(), "i-1")
    }

    fn tags(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn interface() -> Interface {
        Interface {
            mac: net::Mac([2, 0, 0, 0, 0, 1]),
            card: 0,
            device_index: 1,
            subnet: "subnet-1".into(),
            subnet_cidr: None,
            primary: [10, 0, 0, 1].into(),
            groups: [].into(),
            addresses: [].into(),
            prefixes: [].into(),
            attachment: None,
            origin: Origin::Ours,
            outlives_instance: false,
            special_type: None,
            tags: BTreeMap::new(),
        }
    }
}
