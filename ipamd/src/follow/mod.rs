//! What is read from Kubernetes: this node's labels, the ENIConfig that they select, pending pods.

mod client;
mod eniconfig;
mod pods;
pub(crate) mod vpc_cidrs;

use eniconfig::{EniConfig, Keys, choose};

use crate::{
    node::Node as Daemon,
    settings::{Networking, Settings},
    tell::events,
};
use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, reflector, reflector::Store, watcher},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tracing::warn;

/// Starts to follow Kubernetes, where this node has a name there.
///
/// # Errors
/// Custom networking needs the name of the Node, and there is none.
pub(crate) fn start(node: &Arc<Daemon>) -> Result<()> {
    let name = match (node.settings.node.clone(), node.settings.networking) {
        (Some(name), _) => name,
        (None, Networking::Node) => {
            node.heard.send_replace(true);
            return Ok(());
        }
        (None, Networking::Custom) => {
            anyhow::bail!("set MY_NODE_NAME: custom networking needs the name of this Node")
        }
    };
    let node = node.clone();
    tokio::spawn(async move {
        if let Err(error) = follow(node.clone(), name).await {
            warn!(error = format!("{error:#}"), "failed to follow Kubernetes");
            node.heard.send_replace(true);
            if node.settings.networking == Networking::Custom {
                node.store.draw_from(pool::Source::Missing { why: format!("{error:#}") });
            }
        }
    });
    Ok(())
}

/// Asks once where addresses of custom networking come from.
///
/// # Errors
/// This node has no name there, or Kubernetes does not answer in time.
pub(crate) async fn ask_once(
    settings: &Settings,
    primary_groups: &[String],
) -> Result<pool::Source> {
    let name = settings.node.as_deref();
    let name = name.context("set MY_NODE_NAME: custom networking needs the name of this Node")?;
    let ask = async {
        let client = client::client(&settings.servers).await?;
        let node = Api::<Node>::all(client.clone()).get(name).await?;
        let keys = Keys::of(settings);
        let choice = choose(node.labels(), node.annotations(), &keys);
        let config = Api::<EniConfig>::all(client).get_opt(&choice.name).await?;
        anyhow::Ok(choice.source(config.as_ref(), primary_groups))
    };
    let answered = tokio::time::timeout(ASK, ask).await;
    answered.context("ask Kubernetes for the ENIConfig of this node")?
}

/// How long one question may take that nothing depends on.
const ASK: Duration = Duration::from_secs(10);

/// Follows this node and all ENIConfigs, and tells the pool where addresses come from whenever
/// either changes. Returns only when the client cannot be made; a server that does not answer is
/// asked again with growing pauses.
async fn follow(daemon: Arc<Daemon>, name: String) -> Result<()> {
    let client = client::client(&daemon.settings.servers).await?;
    let keys = Keys::of(&daemon.settings);
    let (nodes, node_writer) = reflector::store();
    let (configs, config_writer) = reflector::store();
    let own = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let node_events = watcher(Api::<Node>::all(client.clone()), own)
        .default_backoff()
        .modify(|node| {
            node.managed_fields_mut().clear();
            if let Some(status) = &mut node.status {
                // The list of images is by far the largest part of a Node.
                status.images = None;
            }
        })
        .reflect(node_writer)
        .map_ok(|event| (Kind::Nodes, matches!(event, watcher::Event::InitDone)));
    let config_events = watcher(Api::<EniConfig>::all(client.clone()), watcher::Config::default())
        .default_backoff()
        .reflect(config_writer)
        .map_ok(|event| (Kind::Configs, matches!(event, watcher::Event::InitDone)));
    let mut changes = std::pin::pin!(futures::stream::select(node_events, config_events));
    tokio::spawn(pods::follow(daemon.clone(), client.clone(), name.clone()));
    if let Some(notices) = daemon.notices.take() {
        let failures = daemon.add_failure.subscribe();
        tokio::spawn(events::tell(failures, notices, client.clone(), name.clone()));
    }
    let not_acted_on = daemon.settings.not_acted_on.clone();
    tokio::spawn(events::tell_settings(not_acted_on, client.clone(), name.clone()));
    match count_nodes(&Api::all(client.clone())).await {
        Ok(count) => set_cluster_size(&daemon, count),
        Err(error) => warn!(error = &error as &dyn std::error::Error, "failed to count the nodes"),
    }
    let mut listed = BTreeSet::new();
    while let Some(event) = changes.next().await {
        match event {
            Ok((kind, done)) => {
                if done {
                    listed.insert(kind);
                }
                let pods = max_pods(&nodes, &name);
                daemon.store.update(|state| state.pool.set_max_pods(pods));
                if listed.len() == 2 {
                    daemon.heard.send_replace(true);
                }
                // Half a list says nothing about what is missing.
                if listed.len() == 2 && daemon.settings.networking == Networking::Custom {
                    daemon.store.draw_from(source(&daemon, &nodes, &configs, &keys, &name));
                }
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "failed to watch Kubernetes")
            }
        }
    }
    Ok(())
}

/// Notes how many nodes share the account's budget of calls with this one.
pub(crate) fn set_cluster_size(daemon: &Daemon, nodes: u32) {
    let instance = daemon.identity.instance.bytes();
    // A number of this instance's own, for pauses that differ from node to node.
    let seed = instance.fold(0, |seed: u64, byte| seed.rotate_left(7) ^ u64::from(byte));
    daemon.store.state().pool.set_jitter(pool::Jitter { nodes, seed });
}

/// How many nodes there are: their calls share one budget. One object is read, and the count of
/// those that are not.
async fn count_nodes(nodes: &Api<Node>) -> Result<u32, kube::Error> {
    let page = nodes.list_metadata(&ListParams::default().limit(1)).await?;
    let rest = page.metadata.remaining_item_count.unwrap_or(0);
    Ok(u32::try_from(rest).unwrap_or(u32::MAX).saturating_add(1))
}

/// How many pods kubelet lets run on this node.
fn max_pods(nodes: &Store<Node>, name: &str) -> Option<usize> {
    let node = nodes.get(&reflector::ObjectRef::new(name))?;
    let capacity = node.status.as_ref()?.capacity.as_ref()?;
    capacity.get("pods")?.0.parse().ok()
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Nodes,
    Configs,
}

fn source(
    daemon: &Daemon,
    nodes: &Store<Node>,
    configs: &Store<EniConfig>,
    keys: &Keys,
    name: &str,
) -> pool::Source {
    let Some(node) = nodes.get(&reflector::ObjectRef::new(name)) else {
        return pool::Source::Missing {
            why: format!("Kubernetes shows no Node `{name}` (MY_NODE_NAME) yet"),
        };
    };
    let choice = choose(node.labels(), node.annotations(), keys);
    let config = configs.get(&reflector::ObjectRef::new(&choice.name));
    choice.source(config.as_deref(), &daemon.primary_groups)
}
