//! ENIConfig: which subnet and security groups pods of a node get, and how a node chooses one.

use crate::settings::Settings;
use pool::{Source, Supply};
use quoted::quoted;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The path of all ENIConfigs.
pub(super) const PATH: &str = "/apis/crd.k8s.amazonaws.com/v1alpha1/eniconfigs";

/// The resource, as its CRD is named.
pub(super) const RESOURCE: &str = "eniconfigs.crd.k8s.amazonaws.com";

/// A label that comes before all others (`docs/references.md#peer-eniconfig-selection`).
const EXTERNAL_LABEL: &str = "vpc.amazonaws.com/externalEniConfig";

/// The ENIConfig of a node that names none.
const DEFAULT_NAME: &str = "default";

/// What an ENIConfig says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EniConfig {
    /// Ids of the subnet, and of further ones of the same zone for when it is full, which the peer
    /// ignores.
    pub subnets: Vec<String>,
    /// Ids of the security groups; without any, those of the primary interface.
    pub groups: Vec<String>,
}

/// Reads an ENIConfig, or says which field is wrong. The schema in the cluster may be another one than
/// ours, such as the peer's, which takes anything, or may have come after the object.
pub(super) fn read(object: &Value) -> Result<EniConfig, String> {
    let spec = &object["spec"];
    if !spec.is_object() && !spec.is_null() {
        return Err(wrong("spec", spec, "an object"));
    }
    let subnet = &spec["subnet"];
    if !subnet.is_string() && !subnet.is_null() {
        return Err(wrong("spec.subnet", subnet, "a text"));
    }
    let subnet = subnet.as_str().unwrap_or_default();
    let mut subnets: Vec<String> = vec![];
    let more = texts("spec.subnets", &spec["subnets"])?;
    for id in [subnet].into_iter().chain(more).filter(|id| !id.is_empty()) {
        if !subnets.iter().any(|known| known == id) {
            subnets.push(id.to_owned());
        }
    }
    if subnets.is_empty() {
        return Err("has no spec.subnet: name the pods' subnet".into());
    }
    let groups = texts("spec.securityGroups", &spec["securityGroups"])?;
    let groups = groups.into_iter().filter(|id| !id.is_empty()).map(str::to_owned).collect();
    Ok(EniConfig { subnets, groups })
}

fn texts<'a>(field: &str, list: &'a Value) -> Result<Vec<&'a str>, String> {
    if list.is_null() {
        return Ok(vec![]);
    }
    let all = list.as_array().ok_or_else(|| wrong(field, list, "a list of texts"))?;
    let text = |(place, one): (usize, &'a Value)| {
        one.as_str().ok_or_else(|| wrong(&format!("{field}[{place}]"), one, "a text"))
    };
    all.iter().enumerate().map(text).collect()
}

fn wrong(field: &str, found: &Value, wanted: &str) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("is malformed: {field} is {found}: make it {wanted}")
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
    /// Where addresses come from, given the chosen object, if it exists, as [`read`] read it.
    pub(crate) fn source(
        &self,
        config: Option<&Result<EniConfig, String>>,
        primary_groups: &BTreeSet<String>,
    ) -> Source {
        let Self { name, by } = self;
        // An annotation may be as long as a page.
        let name = &quoted(name, quoted::LONG);
        let EniConfig { subnets, groups } = match config {
            None => {
                return Source::Missing {
                    why: format!("ENIConfig `{name}` (named by {by}) does not exist: create it"),
                };
            }
            Some(Err(flaw)) => {
                return Source::Missing { why: format!("ENIConfig `{name}` {flaw}") };
            }
            Some(Ok(config)) => config,
        };
        let named: BTreeSet<String> = groups.iter().cloned().collect();
        let groups = if named.is_empty() { primary_groups.clone() } else { named };
        let supply = Supply { subnets: subnets.clone(), groups };
        Source::EniConfig { name: name.clone(), supply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        for groups in [json!(null), json!([])] {
            let config = read(&json!({ "spec": { "subnet": "s", "securityGroups": groups } }));

            let source = choice().source(Some(&config), &["sg-primary".into()].into());

            let Source::EniConfig { supply, .. } = source else { panic!("{source:?}") };
            assert_eq!(supply.groups, ["sg-primary".to_owned()].into(), "{config:?}");
        }
    }

    #[test]
    fn further_subnets_come_after_the_first_and_each_once() {
        let spec = json!({ "subnet": "a", "subnets": ["b", "a", ""], "securityGroups": ["sg"] });

        let config = read(&json!({ "spec": spec })).unwrap();

        let owned = |all: &[&str]| all.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let want = EniConfig { subnets: owned(&["a", "b"]), groups: owned(&["sg"]) };
        assert_eq!(config, want);
    }

    #[test]
    fn an_eniconfig_that_does_not_exist_says_what_to_do() {
        let source = choice().source(None, &BTreeSet::new());

        let why =
            "ENIConfig `us-west-2a` (named by the node's label zone) does not exist: create it";
        assert_eq!(source, Source::Missing { why: why.into() });
    }

    #[test]
    fn what_is_wrong_with_an_eniconfig_is_told_with_its_name_and_the_field() {
        for (object, flaw) in [
            (json!({}), "has no spec.subnet: name the pods' subnet"),
            (json!({ "spec": null }), "has no spec.subnet: name the pods' subnet"),
            (json!({ "spec": { "subnet": "" } }), "has no spec.subnet: name the pods' subnet"),
            (json!({ "spec": "s" }), "is malformed: spec is a text: make it an object"),
            (
                json!({ "spec": { "subnet": ["s"] } }),
                "is malformed: spec.subnet is a list: make it a text",
            ),
            (
                json!({ "spec": { "subnet": "s", "securityGroups": "sg-1" } }),
                "is malformed: spec.securityGroups is a text: make it a list of texts",
            ),
            (
                json!({ "spec": { "subnet": "s", "securityGroups": ["sg-1", 2] } }),
                "is malformed: spec.securityGroups[1] is a number: make it a text",
            ),
            (
                json!({ "spec": { "subnet": "s", "subnets": { "a": "b" } } }),
                "is malformed: spec.subnets is an object: make it a list of texts",
            ),
        ] {
            let source = choice().source(Some(&read(&object)), &BTreeSet::new());

            let why = format!("ENIConfig `us-west-2a` {flaw}");
            assert_eq!(source, Source::Missing { why }, "{object}");
        }
    }

    fn choice() -> Choice {
        Choice { name: "us-west-2a".into(), by: By::Label("zone".into()) }
    }

    fn chosen(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> String {
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        let keys = Keys { annotation: "config".into(), label: "zone".into() };
        choose(&map(labels), &map(annotations), &keys).name
    }
}
