//! Pending pods of this node: their addresses are asked for before the pods start.

use crate::node::Node;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt, watcher, watcher::Event},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tracing::warn;

/// Pods that come within this time of each other are counted together, so that they cost one call.
const BATCH: Duration = Duration::from_millis(50);

/// The longest that a stream of them is taken for one.
const MOST_BATCHED: usize = 256;

/// Follows the pending pods of a node, for ever. Those that run leave the list by themselves.
pub(super) async fn follow(daemon: Arc<Node>, client: Client, name: String) {
    let pending = format!("spec.nodeName={name},status.phase=Pending");
    let events = watcher(Api::<Pod>::all(client), watcher::Config::default().fields(&pending))
        .default_backoff();
    let mut events = std::pin::pin!(events);
    let (mut listed, mut pods) = (BTreeSet::new(), BTreeSet::new());
    while let Some(first) = events.next().await {
        let mut next = Some(first);
        for _ in 0..MOST_BATCHED {
            match next {
                Some(Ok(event)) => take(&mut pods, &mut listed, event),
                Some(Err(error)) => {
                    warn!(error = &error as &dyn std::error::Error, "failed to watch pending pods");
                }
                None => return,
            }
            match tokio::time::timeout(BATCH, events.next()).await {
                Ok(event) => next = event,
                Err(_quiet) => break,
            }
        }
        let pending = pods.clone();
        daemon.store.update(|state| state.set_pending(pending));
    }
}

type Names = BTreeSet<(String, String)>;

/// Brings the pods up to date. Half a list says nothing about what is missing.
fn take(pods: &mut Names, listed: &mut Names, event: Event<Pod>) {
    match event {
        Event::Init => listed.clear(),
        Event::InitApply(pod) => listed.extend(wants_address(&pod)),
        Event::InitDone => *pods = std::mem::take(listed),
        Event::Apply(pod) => match wants_address(&pod) {
            Some(name) => drop(pods.insert(name)),
            None => drop(pods.remove(&name(&pod))),
        },
        Event::Delete(pod) => drop(pods.remove(&name(&pod))),
    }
}

/// The name of a pod that gets an address of its own and is not ending.
fn wants_address(pod: &Pod) -> Option<(String, String)> {
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let ends = pod.metadata.deletion_timestamp.is_some();
    (!host_network && !ends).then(|| name(pod))
}

fn name(pod: &Pod) -> (String, String) {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodSpec;

    #[test]
    fn a_list_replaces_what_was_known_once_it_is_whole() {
        let (mut pods, mut listed) = (BTreeSet::new(), BTreeSet::new());
        for event in [Event::Init, Event::InitApply(pod("a")), Event::InitDone] {
            take(&mut pods, &mut listed, event);
        }

        take(&mut pods, &mut listed, Event::Init);
        take(&mut pods, &mut listed, Event::InitApply(pod("b")));
        assert_eq!(names(&pods), ["a"], "half a list");
        take(&mut pods, &mut listed, Event::InitDone);
        assert_eq!(names(&pods), ["b"]);

        take(&mut pods, &mut listed, Event::Apply(pod("c")));
        take(&mut pods, &mut listed, Event::Delete(pod("b")));
        assert_eq!(names(&pods), ["c"]);
    }

    #[test]
    fn pods_on_the_nodes_network_and_pods_that_end_need_no_address() {
        let mut host = pod("host");
        host.spec = Some(PodSpec { host_network: Some(true), ..PodSpec::default() });
        let mut ending = pod("ending");
        let (mut pods, mut listed) = (BTreeSet::new(), BTreeSet::new());
        take(&mut pods, &mut listed, Event::Apply(host));
        take(&mut pods, &mut listed, Event::Apply(ending.clone()));
        assert_eq!(names(&pods), ["ending"]);

        ending.metadata.deletion_timestamp =
            serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap();
        take(&mut pods, &mut listed, Event::Apply(ending));

        assert_eq!(names(&pods), [] as [&str; 0]);
    }

    fn pod(name: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.namespace = Some("default".into());
        pod
    }

    fn names(pods: &Names) -> Vec<&str> {
        pods.iter().map(|(_, name)| name.as_str()).collect()
    }
}
