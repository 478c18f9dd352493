//! ENIConfig: which subnet and security groups pods of a node get, and how a node chooses one.

use crate::settings::Settings;
use kube::CustomResource;
use pool::{Source, Supply};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// A label that comes before all others (`docs/references.md#peer-eniconfig-selection`).
const EXTERNAL_LABEL: &str = "vpc.amazonaws.com/externalEniConfig";

/// The ENIConfig of a node that names none.
const DEFAULT_NAME: &str = "default";

/// The specification of an ENIConfig. Objects in the wild lack fields, so none is required here.
#[derive(Clone, Debug, Default, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "crd.k8s.amazonaws.com",
    version = "v1alpha1",
    kind = "ENIConfig",
    root = "EniConfig"
)]
#[serde(rename_all = "camelCase")]
pub(super) struct EniConfigSpec {
    /// Id of the subnet.
    #[serde(default)]
    pub subnet: String,
    /// Ids of further subnets of the same zone, for when the first is full. The peer ignores them.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Ids of the security groups; without any, those of the primary interface.
    #[serde(default)]
    pub security_groups: Option<Vec<String>>,
}

/// Keys under which a node may name its ENIConfig.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// `ENI_CONFIG_ANNOTATION_DEF`.
    pub annotation: String,
    /// `ENI_CONFIG_LABEL_DEF`.
    pub label: String,
}

impl Keys {
    /// Those of the settings.
    pub(crate) fn of(settings: &Settings) -> Self {
        let Settings { eni_config_annotation, eni_config_label, .. } = settings;
        Self { annotation: eni_config_annotation.clone(), label: eni_config_label.clone() }
    }
}

/// The name of a node's ENIConfig, and what chose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The name.
    pub name: String,
    by: By,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum By {
    Label(String),
    Annotation(String),
    Default(String),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(key) => write!(f, "the node's label {key}"),
            Self::Annotation(key) => write!(f, "the node's annotation {key}"),
            Self::Default(key) => write!(f, "default, as the node has no label {key}"),
        }
    }
}

/// Which ENIConfig a node uses: the external label, the annotation, the label, or `default`.
pub(crate) fn choose(
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    keys: &Keys,
) -> Choice {
    let named = [
        (labels.get(EXTERNAL_LABEL), By::Label(EXTERNAL_LABEL.into())),
        (annotations.get(&keys.annotation), By::Annotation(keys.annotation.clone())),
        (labels.get(&keys.label), By::Label(keys.label.clone())),
    ];
    let mut named = named
        .into_iter()
        .filter_map(|(name, by)| name.map(|name| Choice { name: name.clone(), by }));
    named.next().unwrap_or_else(|| Choice {
        name: DEFAULT_NAME.into(),
        by: By::Default(keys.label.clone()),
    })
}

impl Choice {
    /// Where addresses come from, given the chosen object, if it exists.
    pub(crate) fn source(&self, config: Option<&EniConfig>, primary_groups: &[String]) -> Source {
        let Self { name, by } = self;
        let Some(config) = config else {
            return Source::Missing {
                why: format!("ENIConfig `{name}` (named by {by}) does not exist: create it"),
            };
        };
        let EniConfigSpec { subnet, subnets, security_groups } = &config.spec;
        let mut all: Vec<String> = vec![];
        for id in [subnet].into_iter().chain(subnets).filter(|id| !id.is_empty()) {
            if !all.contains(id) {
                all.push(id.clone());
            }
        }
        if all.is_empty() {
            return Source::Missing {
                why: format!("ENIConfig `{name}` has no spec.subnet: name the pods' subnet"),
            };
        }
        let groups = security_groups
            .as_deref()
            .filter(|groups| !groups.is_empty())
            .unwrap_or(primary_groups);
        let supply = Supply { subnets: all, groups: groups.iter().cloned().collect() };
        Source::EniConfig { name: name.clone(), supply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_external_label_comes_first_then_the_annotation_then_the_label_then_default() {
        let all = [(EXTERNAL_LABEL, "external"), ("zone", "label")];
        let annotation = [("config", "annotation")];

        assert_eq!(chosen(&all, &annotation), "external");
        assert_eq!(chosen(&all[1..], &annotation), "annotation");
        assert_eq!(chosen(&all[1..], &[]), "label");
        assert_eq!(chosen(&[], &[]), "default");
    }

    #[test]
    fn without_groups_the_primary_interfaces_are_used() {
        for groups in [None, Some(vec![])] {
            let config = config("subnet-1", groups);

            let source = choice().source(Some(&config), &["sg-primary".into()]);

            let Source::EniConfig { supply, .. } = source else { panic!("{source:?}") };
            assert_eq!(supply.groups, ["sg-primary".to_owned()].into(), "{config:?}");
        }
    }

    #[test]
    fn an_eniconfig_that_is_missing_or_empty_says_what_to_do() {
        let why = |source| match source {
            Source::Missing { why } => why,
            Source::Node(_) | Source::EniConfig { .. } => panic!("{source:?}"),
        };

        assert_eq!(
            why(choice().source(None, &[])),
            "ENIConfig `us-west-2a` (named by the node's label zone) does not exist: create it"
        );
        assert_eq!(
            why(choice().source(Some(&config("", None)), &[])),
            "ENIConfig `us-west-2a` has no spec.subnet: name the pods' subnet"
        );
    }

    fn choice() -> Choice {
        Choice { name: "us-west-2a".into(), by: By::Label("zone".into()) }
    }

    fn config(subnet: &str, security_groups: Option<Vec<String>>) -> EniConfig {
        EniConfig::new(
            "us-west-2a",
            EniConfigSpec { subnet: subnet.into(), subnets: vec![], security_groups },
        )
    }

    fn chosen(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> String {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        let keys = Keys { annotation: "config".into(), label: "zone".into() };
        choose(&map(labels), &map(annotations), &keys).name
    }
}
