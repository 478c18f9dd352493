//! Our DaemonSet where the add-on's is: what a merge of both would be, and that the way which the
//! documents tell makes none.

use crate::{read, yaml};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Lists that a strategic merge joins by a key, as the types of Kubernetes say
/// (`x-kubernetes-patch-merge-key`). All others are replaced.
const KEYS: &[(&str, &str)] = &[
    ("containers", "name"),
    ("env", "name"),
    ("initContainers", "name"),
    ("ports", "containerPort"),
    ("volumeMounts", "mountPath"),
    ("volumes", "name"),
];

/// What the documents tell to do before ours is applied.
const BEFORE: &str = "kubectl --namespace kube-system delete daemonset aws-node --cascade=orphan";

/// Labels of the peer's pods: of the manifest, of the add-on, of the chart.
const PODS_OF_THE_PEER: &[&[(&str, &str)]] = &[
    &[("app.kubernetes.io/name", "aws-node"), ("k8s-app", "aws-node")],
    &[("app.kubernetes.io/instance", "aws-vpc-cni"), ("k8s-app", "aws-node")],
    &[
        ("app.kubernetes.io/instance", "any"),
        ("app.kubernetes.io/name", "aws-node"),
        ("k8s-app", "aws-node"),
    ],
];

/// `kubectl apply` over the add-on's DaemonSet makes one of both: the reason for what the documents
/// tell.
#[test]
fn applied_over_the_add_ons_our_manifest_would_leave_what_is_the_add_ons_alone() {
    let (theirs, ours) = (daemonset("tests/manifests/peer-daemonset.yaml"), ours());

    let merged = merge(&theirs, &ours);

    let pod = |daemonset: &Value| daemonset["spec"]["template"]["spec"].clone();
    let stays = [&["aws-vpc-cni-init"][..], &["aws-eks-nodeagent", "aws-node"]];
    for (list, names) in ["initContainers", "containers"].into_iter().zip(stays) {
        assert!(self::names(&pod(&merged)[list]).iter().eq(names), "{list}");
    }
    assert_ne!(pod(&merged), pod(&ours));
    assert_eq!(merge(&json!({}), &ours), ours, "where nothing is, nothing is merged");
    assert!(
        read("docs/migrating.md").contains(BEFORE),
        "docs/migrating.md does not tell `{BEFORE}`"
    );
}

/// Orphans are adopted by labels: they go on until each is deleted.
#[test]
fn pods_of_the_peer_become_pods_of_our_daemonset() {
    let selector = ours()["spec"]["selector"].take();

    assert_eq!(selector.as_object().unwrap().len(), 1);
    let wanted = selector["matchLabels"].as_object().unwrap();
    for pod in PODS_OF_THE_PEER {
        for (label, value) in wanted {
            assert!(pod.contains(&(&**label, value.as_str().unwrap())), "{label}: {pod:?}");
        }
    }
}

#[test]
fn a_strategic_merge_joins_lists_by_their_keys() {
    let theirs =
        json!({ "a": { "env": [{ "name": "x", "value": "1" }, { "name": "y" }], "args": [1] } });
    let ours =
        json!({ "a": { "env": [{ "name": "x", "value": "2" }, { "name": "z" }], "args": [2, 3] } });

    let merged = merge(&theirs, &ours);

    let env = json!([{ "name": "x", "value": "2" }, { "name": "y" }, { "name": "z" }]);
    assert_eq!(merged, json!({ "a": { "env": env, "args": [2, 3] } }));
}

fn ours() -> Value {
    daemonset("conf/daemonset.yaml")
}

fn daemonset(path: &str) -> Value {
    yaml(path).remove(0)
}

fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array().into_iter().flatten().map(|it| it["name"].as_str().unwrap()).collect()
}

/// A strategic merge patch of `ours` over `theirs`, without directives.
fn merge(theirs: &Value, ours: &Value) -> Value {
    let (Value::Object(theirs), Value::Object(ours)) = (theirs, ours) else { return ours.clone() };
    let mut merged = theirs.clone();
    for (name, value) in ours {
        let key = KEYS.iter().find(|(list, _)| list == name).map(|(_, key)| *key);
        let before = theirs.get(name);
        let after = match (key, before.and_then(Value::as_array), value.as_array()) {
            (Some(key), Some(theirs), Some(ours)) => by_key(key, theirs, ours),
            _ => before.map_or_else(|| value.clone(), |before| merge(before, value)),
        };
        merged.insert(name.clone(), after);
    }
    Value::Object(merged)
}

fn by_key(key: &str, theirs: &[Value], ours: &[Value]) -> Value {
    let mut merged = theirs.to_vec();
    for item in ours {
        match merged.iter_mut().find(|it| it[key] == item[key]) {
            Some(same) => *same = merge(same, item),
            None => merged.push(item.clone()),
        }
    }
    Value::Array(merged)
}
