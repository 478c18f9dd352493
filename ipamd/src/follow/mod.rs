//! What is read from Kubernetes: this node's labels, the ENIConfig that they select, pending pods.

mod client;
mod eniconfig;
pub(crate) mod instance;
#[cfg(test)]
mod odd;
mod pace;
mod pods;
mod seen;
pub(crate) mod vpc_cidrs;
mod watch;

use crate::{
    node::Node as Daemon,
    settings::{Networking, Settings, servers::Servers},
    tell::events::{self, NodeNotice},
};
use anyhow::{Context, Result};
use eniconfig::Keys;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams, core::Request};
use pool::Source;
use seen::{NodeView, Read, Seen};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch::channel as watch_channel};
use tracing::warn;
use watch::{Event, Watch};

pub(crate) use client::client;
pub(crate) use watch::in_words;

/// The path of all Nodes.
const NODES: &str = "/api/v1/nodes";

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

/// Has the Node of a daemon that does not serve yet told what comes, where it has a name; for ever.
///
/// # Errors
/// It is not said where Kubernetes is.
pub(crate) async fn tell(
    name: Option<String>,
    servers: Servers,
    notices: mpsc::Receiver<NodeNotice>,
) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let client = client::client(&servers).await?;
    // No ADD has failed yet.
    let (_open, failures) = watch_channel(None);
    events::tell(failures, notices, client, name).await;
    Ok(())
}

/// Asks once where addresses of custom networking come from.
///
/// # Errors
/// This node has no name there, or Kubernetes does not answer in time.
pub(crate) async fn ask_once(
    settings: &Settings,
    primary_groups: &BTreeSet<String>,
) -> Result<pool::Source> {
    let name = settings.node.as_deref();
    let name = name.context("set MY_NODE_NAME: custom networking needs the name of this Node")?;
    let ask = async {
        let client = client(&settings.servers).await?;
        let node = find(&client, NODES, "nodes", name).await?;
        let node = node.with_context(|| format!("Kubernetes shows no Node `{name}`"))?;
        let choice = NodeView::read(&node).choice(&Keys::of(settings));
        let config = find(&client, eniconfig::PATH, eniconfig::RESOURCE, &choice.name).await?;
        let config = config.map(|config| eniconfig::read(&config));
        anyhow::Ok(choice.source(config.as_ref(), primary_groups))
    };
    let answered = tokio::time::timeout(ASK, ask).await;
    answered.context("ask Kubernetes for the ENIConfig of this node")?
}

/// One object, if it exists, by a list: what the daemon itself may do is enough.
async fn find(client: &Client, path: &str, resource: &str, name: &str) -> Result<Option<Value>> {
    let of_name = ListParams::default().fields(&format!("metadata.name={name}"));
    let request = Request::new(path).list(&of_name)?;
    match client.request::<Value>(request).await {
        Ok(list) => Ok(list["items"].as_array().and_then(|all| all.first()).cloned()),
        Err(error) => anyhow::bail!(in_words("list", resource, &error)),
    }
}

/// How long one question may take that nothing depends on.
const ASK: Duration = Duration::from_secs(10);

/// Follows this node and, with custom networking, all ENIConfigs, and tells the pool where addresses
/// come from whenever either changes. Returns only when the client cannot be made; a server that does
/// not answer is asked again with growing pauses.
async fn follow(daemon: Arc<Daemon>, name: String) -> Result<()> {
    let client = client(&daemon.settings.servers).await?;
    let seed = seed(&daemon);
    let mut nodes = Watch {
        client: client.clone(),
        path: NODES,
        resource: "nodes",
        fields: Some(format!("metadata.name={name}")),
        seed,
        read: NodeView::read,
    }
    .start();
    let mut configs = match daemon.settings.networking {
        Networking::Node => None,
        Networking::Custom => Some(watch_configs(&client, seed)),
    };
    tokio::spawn(pods::follow(daemon.clone(), client.clone(), name.clone(), seed));
    for setting in &daemon.settings.not_acted_on {
        let notice = NodeNotice::warning("SettingNotActedOn", setting.to_string());
        daemon.notices.tell(notice);
    }
    if let Some(notices) = daemon.notices.take() {
        let mut failures = daemon.add_failure.subscribe();
        // What was told before anybody listened.
        failures.mark_changed();
        tokio::spawn(events::tell(failures, notices, client.clone(), name.clone()));
    }
    let counting = daemon.clone();
    tokio::spawn(async move { tell_cluster_size(&counting, client).await });
    let mut groups = daemon.primary_groups.subscribe();
    let mut seen = Seen::new(name, Keys::of(&daemon.settings));
    loop {
        tokio::select! {
            Some(event) = nodes.recv() => seen.node(event),
            Some(event) = next(&mut configs) => seen.config(event),
            Ok(()) = groups.changed() => {}
            else => return Ok(()),
        }
        take(&daemon, &seen);
    }
}

fn watch_configs(client: &Client, seed: u64) -> mpsc::Receiver<Event<Read>> {
    let watch = Watch {
        client: client.clone(),
        path: eniconfig::PATH,
        resource: eniconfig::RESOURCE,
        fields: None,
        seed,
        read: eniconfig::read,
    };
    watch.start()
}

/// The next event of what is watched; never one of what is not.
async fn next<T>(events: &mut Option<mpsc::Receiver<Event<T>>>) -> Option<Event<T>> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// Has the pool know what is known.
fn take(daemon: &Daemon, seen: &Seen) {
    let custom = daemon.settings.networking == Networking::Custom;
    if seen.has_nodes() {
        let pods = seen.max_pods();
        // What changes nothing must not wake the planner.
        let other = daemon.store.state().pool.limits().max_pods != pods;
        if other {
            daemon.store.update(|state| state.pool.set_max_pods(pods));
        }
        if !custom || seen.has_configs() {
            daemon.heard.send_replace(true);
        }
    }
    if !custom {
        return;
    }
    let source = seen.source(&daemon.primary_groups.borrow());
    match (source, seen.failure()) {
        (Some(source), _) => daemon.store.draw_from(source),
        // A node that knows from its record where addresses come from goes on with that.
        (None, Some(failed)) => {
            let missing = matches!(daemon.store.state().pool.source(), Source::Missing { .. });
            if missing {
                daemon.store.draw_from(Source::Missing { why: failed.to_owned() });
            }
        }
        (None, None) => {}
    }
}

/// A number of this instance's own, for pauses that differ from node to node.
pub(crate) fn seed(daemon: &Daemon) -> u64 {
    let instance = daemon.identity.instance.bytes();
    instance.fold(0, |seed: u64, byte| seed.rotate_left(7) ^ u64::from(byte))
}

/// Notes how many nodes share the account's budget of calls with this one.
pub(crate) fn set_cluster_size(daemon: &Daemon, nodes: u32) {
    let seed = seed(daemon);
    daemon.store.state().pool.set_jitter(pool::Jitter { nodes, seed });
}

async fn tell_cluster_size(daemon: &Daemon, client: Client) {
    let nodes = Api::all(client);
    match tokio::time::timeout(ASK, count_nodes(&nodes)).await {
        Ok(Ok(count)) => set_cluster_size(daemon, count),
        Ok(Err(error)) => {
            warn!(error = &error as &dyn std::error::Error, "failed to count the nodes");
        }
        Err(_silent) => warn!(limit = ?ASK, "failed to count the nodes: no answer in time"),
    }
}

/// How many nodes there are: their calls share one budget. One object is read, and the count of
/// those that are not: from its memory a server would give all of them.
async fn count_nodes(nodes: &Api<Node>) -> Result<u32, kube::Error> {
    let page = nodes.list_metadata(&ListParams::default().limit(1)).await?;
    let rest = page.metadata.remaining_item_count.unwrap_or(0);
    Ok(u32::try_from(rest).unwrap_or(u32::MAX).saturating_add(1))
}
