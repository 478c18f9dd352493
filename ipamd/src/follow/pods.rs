//! Pending pods of this node: their addresses are asked for before the pods start.

use super::watch::{Event, Key, Watch};
use crate::node::Node;
use kube::Client;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Pods that come within this time of each other are counted together, so that they cost one call.
const BATCH: Duration = Duration::from_millis(50);

/// The longest that a stream of them is taken for one.
const MOST_BATCHED: usize = 256;

/// Follows the pending pods of a node, for ever. Those that run leave the list by themselves.
pub(super) async fn follow(daemon: Arc<Node>, client: Client, name: String, seed: u64) {
    let watch = Watch {
        client,
        path: "/api/v1/pods",
        resource: "pods",
        fields: Some(format!("spec.nodeName={name},status.phase=Pending")),
        seed,
        read: wants_address,
    };
    let mut events = watch.start();
    let (mut pods, mut told) = (BTreeSet::new(), None);
    while let Some(first) = events.recv().await {
        let mut next = Some(first);
        for _ in 0..MOST_BATCHED {
            match next {
                Some(event) => take(&mut pods, event),
                None => return,
            }
            match tokio::time::timeout(BATCH, events.recv()).await {
                Ok(event) => next = event,
                Err(_quiet) => break,
            }
        }
        // What changes nothing must not wake the planner.
        if told.as_ref() != Some(&pods) {
            let pending = pods.clone();
            daemon.store.update(|state| state.set_pending(pending));
            told = Some(pods.clone());
        }
    }
}

/// Brings the pods up to date; those that want an address are kept.
fn take(pods: &mut BTreeSet<Key>, event: Event<bool>) {
    match event {
        Event::Listed(all) => {
            *pods = all.into_iter().filter(|(_, wants)| *wants).map(|(key, _)| key).collect();
        }
        Event::Changed(key, true) => drop(pods.insert(key)),
        Event::Changed(key, false) | Event::Gone(key) => drop(pods.remove(&key)),
        // Told where it happened; pods that are known stay known.
        Event::Failed(_) | Event::Followed => {}
    }
}

/// Whether a pod gets an address of its own and is not ending.
pub(super) fn wants_address(pod: &Value) -> bool {
    let host_network = pod["spec"]["hostNetwork"].as_bool().unwrap_or(false);
    !host_network && pod["metadata"]["deletionTimestamp"].is_null()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_replaces_what_was_known_and_changes_add_to_it() {
        let mut pods = BTreeSet::new();
        take(&mut pods, Event::Listed([(key("a"), true), (key("host"), false)].into()));
        assert_eq!(names(&pods), ["a"]);

        take(&mut pods, Event::Listed([(key("b"), true)].into()));
        take(&mut pods, Event::Changed(key("c"), true));
        take(&mut pods, Event::Failed("refused".into()));
        assert_eq!(names(&pods), ["b", "c"]);

        take(&mut pods, Event::Gone(key("b")));
        take(&mut pods, Event::Changed(key("c"), false));
        assert_eq!(names(&pods), [] as [&str; 0]);
    }

    #[test]
    fn pods_on_the_nodes_network_and_pods_that_end_need_no_address() {
        assert!(!wants_address(&json!({ "spec": { "hostNetwork": true } })));
        let ends = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        assert!(!wants_address(&ends));
        assert!(wants_address(&json!({ "spec": { "hostNetwork": false } })));
    }

    #[test]
    fn an_odd_pod_is_read_all_the_same() {
        for odd in [json!({}), json!({ "spec": null }), json!({ "spec": { "hostNetwork": 1 } })] {
            assert!(wants_address(&odd), "{odd}");
        }
    }

    fn key(name: &str) -> Key {
        ("default".into(), name.into())
    }

    fn names(pods: &BTreeSet<Key>) -> Vec<&str> {
        pods.iter().map(|(_, name)| name.as_str()).collect()
    }
}
