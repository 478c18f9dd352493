//! What is known of this node and of ENIConfigs, and what follows for where addresses come from. Pure.

use super::{
    eniconfig::{Choice, EniConfig, Keys, choose},
    watch::{Event, Key},
};
use pool::Source;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is read of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeView {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// How many pods kubelet lets run on it.
    max_pods: Option<usize>,
}

impl NodeView {
    /// Reads a Node; what is odd about it counts as not there.
    pub(super) fn read(object: &Value) -> Self {
        let texts = |field: &str| {
            let pairs = object["metadata"][field].as_object().into_iter().flatten();
            pairs
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect()
        };
        let max_pods = match &object["status"]["capacity"]["pods"] {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64().and_then(|count| usize::try_from(count).ok()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        Self { labels: texts("labels"), annotations: texts("annotations"), max_pods }
    }

    /// Which ENIConfig it uses.
    pub(super) fn choice(&self, keys: &Keys) -> Choice {
        choose(&self.labels, &self.annotations, keys)
    }
}

/// An ENIConfig, or what is wrong with it.
pub(super) type Read = Result<EniConfig, String>;

/// Everything that is known.
#[derive(Debug)]
pub(super) struct Seen {
    name: String,
    keys: Keys,
    node: Known<NodeView>,
    configs: Known<Read>,
}

/// What is known of one kind of objects.
#[derive(Debug)]
struct Known<T> {
    /// All of them, once they have been listed.
    all: Option<BTreeMap<Key, T>>,
    /// Why nothing newer is known.
    failed: Option<String>,
}

impl Seen {
    /// Nothing yet, for the node of this name.
    pub(super) fn new(name: String, keys: Keys) -> Self {
        let (node, configs) =
            (Known { all: None, failed: None }, Known { all: None, failed: None });
        Self { name, keys, node, configs }
    }

    pub(super) fn node(&mut self, event: Event<NodeView>) {
        self.node.take(event);
    }

    pub(super) fn config(&mut self, event: Event<Read>) {
        self.configs.take(event);
    }

    /// Whether nodes have been listed.
    pub(super) fn has_nodes(&self) -> bool {
        self.node.all.is_some()
    }

    /// Whether ENIConfigs have been listed.
    pub(super) fn has_configs(&self) -> bool {
        self.configs.all.is_some()
    }

    /// How many pods kubelet lets run on this node.
    pub(super) fn max_pods(&self) -> Option<usize> {
        self.own_node()?.max_pods
    }

    /// Where addresses come from; `None` while that is not known: then what was known before stays,
    /// and nothing was refused.
    pub(super) fn source(&self, primary_groups: &BTreeSet<String>) -> Option<Source> {
        let (Some(_), Some(configs)) = (&self.node.all, &self.configs.all) else { return None };
        let Some(node) = self.own_node() else {
            let name = &self.name;
            let why = format!("Kubernetes shows no Node `{name}` (MY_NODE_NAME) yet");
            return Some(Source::Missing { why });
        };
        let choice = node.choice(&self.keys);
        let config = configs.get(&(String::new(), choice.name.clone()));
        Some(match (config, &self.configs.failed) {
            // It may exist by now: what keeps us from knowing is what has to be mended.
            (None, Some(failed)) => Source::Missing { why: failed.clone() },
            (config, _) => choice.source(config, primary_groups),
        })
    }

    /// Why it is not known where addresses come from.
    pub(super) fn failure(&self) -> Option<&str> {
        self.node.failed.as_deref().or(self.configs.failed.as_deref())
    }

    fn own_node(&self) -> Option<&NodeView> {
        self.node.all.as_ref()?.get(&(String::new(), self.name.clone()))
    }
}

impl<T> Known<T> {
    fn take(&mut self, event: Event<T>) {
        if let Event::Failed(why) = event {
            self.failed = Some(why);
            return;
        }
        self.failed = None;
        let known = self.all.get_or_insert_default();
        match event {
            Event::Listed(all) => *known = all,
            Event::Changed(key, object) => drop(known.insert(key, object)),
            Event::Gone(key) => drop(known.remove(&key)),
            Event::Failed(_) | Event::Followed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::eniconfig::read;
    use serde_json::json;

    #[test]
    fn a_node_with_odd_fields_is_read_all_the_same() {
        let odd = json!({
            "metadata": { "name": "n1", "labels": { "zone": "a", "number": 1 }, "annotations": null },
            "status": { "capacity": { "pods": 29 } },
        });

        let node = NodeView::read(&odd);

        assert_eq!(node.labels, [("zone".to_owned(), "a".to_owned())].into());
        assert_eq!(node.max_pods, Some(29));
        for empty in [json!({}), json!({ "metadata": null, "status": null })] {
            assert_eq!(NodeView::read(&empty), NodeView::default(), "{empty}");
        }
    }

    #[test]
    fn a_malformed_eniconfig_of_another_zone_changes_nothing() {
        let seen = seen("a", &[("a", good()), ("b", json!({}))]);

        let source = seen.source(&BTreeSet::new());

        assert!(
            matches!(&source, Some(Source::EniConfig { name, .. }) if name == "a"),
            "{source:?}"
        );
    }

    #[test]
    fn a_malformed_eniconfig_is_told_to_the_nodes_that_use_it() {
        let seen = seen("b", &[("a", good()), ("b", json!({}))]);

        let why = "ENIConfig `b` has no spec.subnet: name the pods' subnet".to_owned();
        assert_eq!(seen.source(&BTreeSet::new()), Some(Source::Missing { why }));
    }

    #[test]
    fn what_was_listed_stays_known_when_kubernetes_refuses_later() {
        let mut seen = seen("a", &[("a", good())]);
        let before = seen.source(&BTreeSet::new());

        seen.config(Event::Failed("list eniconfigs: 403".into()));

        assert_eq!(seen.source(&BTreeSet::new()), before);
    }

    #[test]
    fn an_eniconfig_that_is_not_there_while_kubernetes_refuses_is_told_with_the_refusal() {
        let mut seen = seen("a", &[]);

        seen.config(Event::Failed("list eniconfigs: 404".into()));

        let why = "list eniconfigs: 404".to_owned();
        assert_eq!(seen.source(&BTreeSet::new()), Some(Source::Missing { why }));
    }

    #[test]
    fn a_failure_counts_until_the_watch_goes_on() {
        let mut seen = seen("a", &[]);
        seen.config(Event::Failed("watch eniconfigs: cut off".into()));

        seen.config(Event::Followed);

        let source = seen.source(&BTreeSet::new());
        let absent = matches!(&source, Some(Source::Missing { why }) if why.contains("create it"));
        assert!(absent, "{source:?}");
    }

    #[test]
    fn nothing_is_known_before_everything_was_listed() {
        let mut seen = Seen::new("n1".into(), keys());
        seen.node(Event::Failed("list nodes: 403".into()));
        seen.config(Event::Listed(BTreeMap::new()));

        assert_eq!(seen.source(&BTreeSet::new()), None);
        assert_eq!(seen.failure(), Some("list nodes: 403"));
        assert!(!seen.has_nodes());
    }

    fn seen(zone: &str, configs: &[(&str, Value)]) -> Seen {
        let node = NodeView::read(&json!({ "metadata": { "labels": { "zone": zone } } }));
        let mut seen = Seen::new("n1".into(), keys());
        seen.node(Event::Listed([(key("n1"), node)].into()));
        let configs = configs.iter().map(|(name, object)| (key(name), read(object)));
        seen.config(Event::Listed(configs.collect()));
        seen
    }

    fn good() -> Value {
        json!({ "spec": { "subnet": "subnet-1" } })
    }

    fn keys() -> Keys {
        Keys { annotation: "config".into(), label: "zone".into() }
    }

    fn key(name: &str) -> Key {
        (String::new(), name.into())
    }
}
