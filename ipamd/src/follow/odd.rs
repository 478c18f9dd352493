//! Odd objects of Kubernetes: fields of any type, of any length, and none.

use super::{
    eniconfig::{self, Keys},
    pods::wants_address,
    seen::{NodeView, Seen},
    watch::{Event, Key},
};
use crate::random::{INPUTS, Random};
use pool::Source;
use serde_json::{Value, json};

#[test]
fn no_object_of_kubernetes_is_a_panic_and_what_is_wrong_with_it_is_told_in_one_short_line() {
    let keys = || Keys { annotation: "a".into(), label: "b".into() };
    let (mut taken, mut told) = (0, 0);
    for seed in 0..INPUTS {
        let mut random = Random::of(seed);
        let (node, config) = (random.object(node()), random.object(config()));
        let _ = wants_address(&random.object(pod()));

        let mut seen = Seen::new("n1".into(), keys());
        seen.node(Event::Listed([(key("n1"), NodeView::read(&node))].into()));
        seen.config(Event::Listed([(key("c"), eniconfig::read(&config))].into()));

        match seen.source(&["sg-1".into()].into()) {
            Some(Source::Missing { why }) => {
                told += 1;
                let is_short = why.chars().count() < 1200 && !why.chars().any(char::is_control);
                assert!(is_short, "{seed}: {node} {config}: {why:?}");
            }
            Some(_) => taken += 1,
            None => panic!("{seed}: nothing is known after a list"),
        }
    }
    assert!(taken > 100 && told > 100, "{taken} taken, {told} told");
}

fn key(name: &str) -> Key {
    (String::new(), name.into())
}

fn node() -> Value {
    json!({
        "metadata": { "name": "n1", "labels": { "b": "c" }, "annotations": { "a": "c" } },
        "status": { "capacity": { "pods": "29" } },
    })
}

fn config() -> Value {
    json!({
        "metadata": { "name": "c" },
        "spec": { "subnet": "subnet-1", "subnets": ["subnet-2"], "securityGroups": ["sg-1"] },
    })
}

fn pod() -> Value {
    json!({
        "metadata": { "name": "p", "namespace": "d", "deletionTimestamp": null },
        "spec": { "hostNetwork": false },
    })
}
