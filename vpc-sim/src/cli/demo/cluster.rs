//! The demo's cluster: what it does to the world, and what it looks at.

use super::{
    story::{Story, say},
    traffic,
};
use crate::{
    api::kube::Kind,
    world::{
        DaemonRequest, NodeRequest, PodRequest, World,
        status::{NodeStatus, Status, SubnetStatus},
    },
};
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use serde_json::json;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::{JoinHandle, spawn_blocking};

/// The Kubernetes namespace of the demo's pods.
const NAMESPACE: &str = "default";

/// Name of the security group of pods in the world's file.
const POD_GROUP: &str = "pods";

/// A pause of a client between two rounds through all pods.
const CLIENT_PAUSE: Duration = Duration::from_millis(20);

/// Lines of a daemon's log that are shown when the demo fails.
const LOG_LINES: usize = 15;

/// A pod of the demo.
#[derive(Clone, Debug)]
struct Pod {
    node: String,
    address: IpAddr,
    namespace: PathBuf,
}

/// The demo's view of its world.
#[derive(Debug)]
pub(super) struct Cluster {
    world: Arc<World>,
    pods: BTreeMap<String, Pod>,
    /// Interfaces of nodes that were removed.
    removed: Vec<String>,
}

/// Clients that ask every pod without a pause until they are stopped.
#[derive(Debug)]
pub(super) struct Clients {
    stopped: Arc<AtomicBool>,
    asking: JoinHandle<(usize, Vec<String>)>,
}

impl Clients {
    /// Stops them; how many requests they sent, and what went wrong.
    pub(super) async fn stop(self) -> Result<(usize, Vec<String>)> {
        self.stopped.store(true, Ordering::Relaxed);
        Ok(self.asking.await?)
    }
}

impl Cluster {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, pods: BTreeMap::new(), removed: vec![] }
    }

    pub(super) async fn boot(&self, story: &Story, node: &str, zone: &str) -> Result<()> {
        let request =
            NodeRequest { name: node.into(), zone: Some(zone.into()), ..NodeRequest::default() };
        let booted = self.world.add_node(request).await?;
        let NodeStatus { instance_id, instance_type, address, .. } = booted;
        story.tell(format!("{node} boots in {zone}: {instance_id}, {instance_type}, {address}"))
    }

    pub(super) async fn start_daemon(&self, node: &str, env: &[(&str, &str)]) -> Result<()> {
        let env = env.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.world.start_daemon(DaemonRequest { node: node.into(), env, bin: None }).await?;
        self.wait_for_plugin(node).await
    }

    /// Kubelet starts pods once the daemon has installed the plugin's configuration.
    async fn wait_for_plugin(&self, node: &str) -> Result<()> {
        let folder = self.world.folder().node(node);
        let story = Story::default();
        let look = async || -> Result<Option<String>> {
            let installed =
                std::fs::read_dir(folder.cni_conf()).is_ok_and(|mut it| it.next().is_some());
            let listening = std::fs::exists(folder.run().join("eni-cni.sock"))?;
            Ok((!installed || !listening).then(|| "it does not serve yet".into()))
        };
        story.wait(&format!("ipamd on {node}"), look).await
    }

    pub(super) async fn stop_daemon(&self, node: &str) -> Result<()> {
        self.world.stop_daemon(node).await
    }

    pub(super) async fn add_pod(&mut self, name: &str, node: &str) -> Result<()> {
        let request = PodRequest {
            node: node.into(),
            name: name.into(),
            namespace: Some(NAMESPACE.into()),
            serve: true,
        };
        let added = self
            .world
            .add_pod(request)
            .await
            .with_context(|| format!("start pod {name} on {node}"))?;
        let address = added.address.with_context(|| format!("pod {name} has no address"))?;
        let place = self.world.locate(node, Some((NAMESPACE.into(), name.into()))).await?;
        let pod = Pod { node: node.into(), address, namespace: place.namespace };
        self.pods.insert(name.into(), pod);
        Ok(())
    }

    /// Terminates a node; returns the names of the pods that it had.
    pub(super) async fn remove_node(&mut self, node: &str) -> Result<Vec<String>> {
        let status = self.node(node).await?;
        self.removed.extend(status.interfaces.into_iter().map(|eni| eni.id));
        self.world.remove_node(node).await?;
        let gone: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.node == node)
            .map(|(name, _)| name.clone())
            .collect();
        self.pods.retain(|_, pod| pod.node != node);
        Ok(gone)
    }

    /// Creates an ENIConfig as `kubectl apply` does; returns the id of its subnet.
    pub(super) async fn create_eniconfig(&self, name: &str, subnet: &str) -> Result<String> {
        let status = self.world.status().await?;
        let subnet = find(&status, subnet)?.id.clone();
        let group =
            status.groups.get(POD_GROUP).context("the world has no security group `pods`")?;
        let object = json!({
            "apiVersion": "crd.k8s.amazonaws.com/v1alpha1",
            "kind": "ENIConfig",
            "metadata": { "name": name },
            "spec": { "subnet": subnet, "securityGroups": [group] },
        });
        self.world.kubernetes().create(Kind::EniConfig, None, object)?;
        Ok(subnet)
    }

    /// Waits until a node has an interface in a subnet.
    pub(super) async fn wait_for_interface(
        &self,
        story: &Story,
        node: &str,
        subnet: &str,
    ) -> Result<()> {
        let look = async || -> Result<Option<String>> {
            let status = self.world.status().await?;
            let id = &find(&status, subnet)?.id;
            let there =
                status.nodes.iter().filter(|it| it.name == node).flat_map(|it| &it.interfaces);
            let attached = there.filter(|eni| eni.state == "attached").any(|eni| eni.subnet == *id);
            Ok((!attached).then(|| format!("no interface in {subnet} yet")))
        };
        story.wait(node, look).await
    }

    /// Starts clients on every node that ask every pod again and again.
    pub(super) fn start_clients(&self) -> Clients {
        let stopped = Arc::new(AtomicBool::new(false));
        let pods: Vec<(String, Pod)> = self.pods.clone().into_iter().collect();
        let until = Arc::clone(&stopped);
        let asking = spawn_blocking(move || {
            let (mut asked, mut failed) = (0, vec![]);
            while !until.load(Ordering::Relaxed) {
                for (name, pod) in &pods {
                    // The neighbour that comes next: mostly on the other node.
                    let Some((_, from)) = pods.get(asked % pods.len()) else { break };
                    asked += 1;
                    if let Err(error) = traffic::ask(&from.namespace, pod.address) {
                        failed.push(format!("{name}: {error:#}"));
                    }
                }
                std::thread::sleep(CLIENT_PAUSE);
            }
            (asked, failed)
        });
        Clients { stopped, asking }
    }

    /// Every pod's address.
    pub(super) fn addresses(&self) -> BTreeMap<String, IpAddr> {
        self.pods.iter().map(|(name, pod)| (name.clone(), pod.address)).collect()
    }

    /// Pods of a node with an address outside of a subnet.
    pub(super) async fn outside_of(&self, node: &str, subnet: &str) -> Result<Vec<String>> {
        self.new_pods_outside_of(node, subnet, &BTreeMap::new()).await
    }

    /// The same, without those that were there before.
    pub(super) async fn new_pods_outside_of(
        &self,
        node: &str,
        subnet: &str,
        before: &BTreeMap<String, IpAddr>,
    ) -> Result<Vec<String>> {
        let block = self.block(subnet).await?;
        let mut pods = self
            .pods
            .iter()
            .filter(|(name, pod)| pod.node == node && !before.contains_key(*name))
            .peekable();
        if pods.peek().is_none() {
            return Ok(vec![format!("{node} has no such pod")]);
        }
        let outside = pods.filter(|(_, pod)| !inside(block, pod.address));
        Ok(outside.map(|(name, pod)| format!("{name} has {}", pod.address)).collect())
    }

    /// The node's own address, if it is outside of a subnet.
    pub(super) async fn node_outside_of(&self, node: &str, subnet: &str) -> Result<Vec<String>> {
        let (block, status) = (self.block(subnet).await?, self.node(node).await?);
        let wrong = !block.contains(status.address);
        Ok(wrong.then(|| format!("it has {}", status.address)).into_iter().collect())
    }

    /// Secondary addresses of a node's primary interface.
    pub(super) async fn secondary_of_primary(&self, node: &str) -> Result<Vec<String>> {
        let status = self.node(node).await?;
        let primary = status
            .interfaces
            .iter()
            .find(|eni| eni.device_index == 0)
            .context("no primary interface")?;
        Ok(primary.secondary.iter().map(ToString::to_string).collect())
    }

    /// Pods whose address is not what it was.
    pub(super) fn moved(&self, before: &BTreeMap<String, IpAddr>) -> Vec<String> {
        let now = |name: &String| self.pods.get(name).map(|pod| pod.address);
        let moved = before.iter().filter(|(name, was)| now(name) != Some(**was));
        moved.map(|(name, was)| format!("{name} had {was}, has {:?}", now(name))).collect()
    }

    /// Pods that do not answer one pod of every node.
    pub(super) async fn unreachable(
        &self,
        names: impl Iterator<Item = String>,
    ) -> Result<Vec<String>> {
        let mut clients: BTreeMap<String, Pod> = BTreeMap::new();
        for pod in self.pods.values() {
            clients.insert(pod.node.clone(), pod.clone());
        }
        let asked: Vec<(String, Option<Pod>)> =
            names.map(|name| (name.clone(), self.pods.get(&name).cloned())).collect();
        let ask = move || {
            let mut wrong = vec![];
            for (name, pod) in asked {
                let Some(pod) = pod else {
                    wrong.push(format!("{name} is gone"));
                    continue;
                };
                for (node, client) in &clients {
                    if let Err(error) = traffic::ask(&client.namespace, pod.address) {
                        wrong.push(format!("{name}, asked from {node}: {error:#}"));
                    }
                }
            }
            wrong
        };
        Ok(spawn_blocking(ask).await?)
    }

    /// Interfaces of removed nodes that EC2 still has.
    pub(super) fn interfaces_left_over(&self) -> Vec<String> {
        self.world.cloud().with(|vpc, _| {
            let left =
                vpc.interfaces().values().filter(|eni| self.removed.contains(&eni.id.to_string()));
            left.map(|eni| eni.id.to_string()).collect()
        })
    }

    /// Every pod asks every other. How many pairs, and what went wrong.
    pub(super) async fn everybody_asks_everybody(&self) -> Result<(usize, Vec<String>)> {
        let pods = self.pods.clone();
        let ask = move || {
            let (mut pairs, mut wrong) = (0, vec![]);
            for (from, client) in &pods {
                for (to, server) in pods.iter().filter(|(to, _)| *to != from) {
                    pairs += 1;
                    match traffic::ask(&client.namespace, server.address) {
                        Ok(answer)
                            if answer.pod == *to && answer.source == Some(client.address) => {}
                        Ok(answer) => wrong.push(format!("{from} asked {to}: {answer:?}")),
                        Err(error) => wrong.push(format!("{from} asked {to}: {error:#}")),
                    }
                }
            }
            (pairs, wrong)
        };
        Ok(spawn_blocking(ask).await?)
    }

    /// Every pod asks a host on the internet who called.
    pub(super) async fn everybody_asks_the_internet(&self, story: &Story) -> Result<Vec<String>> {
        let status = self.world.status().await?;
        let (host, pods) = (status.summary.internet, self.pods.clone());
        let mut rows = vec![];
        let mut public = BTreeMap::new();
        for node in &status.nodes {
            let seen = node.public_address.context("a node without a public address")?;
            public.insert(node.name.clone(), IpAddr::V4(seen));
            rows.push([node.name.clone(), node.address.to_string(), seen.to_string()]);
        }
        story.table(["NODE", "PRIMARY ADDRESS", "ON THE INTERNET"], &rows)?;
        let ask = move || {
            let mut wrong = vec![];
            for (name, pod) in &pods {
                match traffic::seen_as(&pod.namespace, host) {
                    Ok(seen) if public.get(&pod.node) == Some(&seen) => {}
                    Ok(seen) => wrong.push(format!("{name} on {} is seen as {seen}", pod.node)),
                    Err(error) => wrong.push(format!("{name} on {}: {error:#}", pod.node)),
                }
            }
            wrong
        };
        Ok(spawn_blocking(ask).await?)
    }

    /// One node sends with the address of a pod of another; whether the VPC let that pass.
    pub(super) async fn spoof(&self, story: &Story, from: &str, of: &str) -> Result<Vec<String>> {
        let pod = |node: &str| {
            self.pods.values().find(|pod| pod.node == node).context("a node without pods")
        };
        let IpAddr::V4(source) = pod(of)?.address else {
            anyhow::bail!("{of} has pods without IPv4")
        };
        let to = self.node(of).await?.address;
        let namespace = self.world.locate(from, None).await?.namespace;
        let before = self.dropped(source).await?;
        spawn_blocking(move || traffic::spoof(namespace, source, to)).await??;
        let dropped = self.dropped(source).await?.saturating_sub(before);
        story.tell(format!(
            "{from} sends to {to} as {source}, a pod of {of}: {dropped} packets dropped"
        ))?;
        Ok((dropped == 0).then(|| "the packets were not dropped".into()).into_iter().collect())
    }

    async fn dropped(&self, source: Ipv4Addr) -> Result<u64> {
        let status = self.world.status().await?;
        let drops = status.dropped.iter().filter(|drop| drop.source == source);
        Ok(drops.filter(|drop| drop.reason.contains("source")).map(|drop| drop.packets).sum())
    }

    pub(super) async fn show_subnets(&self, story: &Story) -> Result<()> {
        let status = self.world.status().await?;
        let row = |(name, subnet): (&String, &SubnetStatus)| {
            [name.clone(), subnet.cidr.clone(), subnet.zone.clone(), subnet.id.clone()]
        };
        let rows: Vec<_> = status.subnets.iter().map(row).collect();
        story.table(["SUBNET", "BLOCK", "ZONE", "ID"], &rows)
    }

    pub(super) async fn show_nodes(&self, story: &Story) -> Result<()> {
        let status = self.world.status().await?;
        let mut rows = vec![];
        for node in &status.nodes {
            for eni in &node.interfaces {
                let subnet = status.subnets.iter().find(|(_, subnet)| subnet.id == eni.subnet);
                rows.push([
                    node.name.clone(),
                    format!("ens{}", 5 + eni.device_index),
                    eni.id.clone(),
                    subnet.map_or_else(|| eni.subnet.clone(), |(name, _)| name.clone()),
                    eni.primary.to_string(),
                    summarize(&eni.secondary),
                ]);
            }
        }
        story.table(
            ["NODE", "DEVICE", "INTERFACE", "SUBNET", "PRIMARY", "SECONDARY ADDRESSES"],
            &rows,
        )
    }

    pub(super) fn show_pods(&self, story: &Story) -> Result<()> {
        let row = |(name, pod): (&String, &Pod)| {
            [name.clone(), pod.node.clone(), pod.address.to_string()]
        };
        let mut rows: Vec<_> = self.pods.iter().map(row).collect();
        rows.sort_by(|a, b| (&a[1], &a[0]).cmp(&(&b[1], &b[0])));
        story.table(["POD", "NODE", "ADDRESS"], &rows)
    }

    /// Calls of EC2 by action: what all of this cost.
    pub(super) fn show_calls(&self, story: &Story) -> Result<()> {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for call in self.world.calls() {
            *count.entry(call.action).or_default() += 1;
        }
        let rows: Vec<_> =
            count.into_iter().map(|(action, count)| [action, count.to_string()]).collect();
        story.tell("What it took in calls of EC2:")?;
        story.table(["ACTION", "CALLS"], &rows)
    }

    /// The end of every daemon's log.
    pub(super) async fn show_logs(&self) -> Result<()> {
        for node in self.world.node_names() {
            let path = self.world.folder().node(&node).log().join("ipamd.log");
            let log = tokio::fs::read_to_string(&path).await.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            say(&format!("\n── {}\n{end}\n", path.display()))?;
        }
        Ok(())
    }

    async fn node(&self, name: &str) -> Result<NodeStatus> {
        self.world.node_status(name).await
    }

    async fn block(&self, subnet: &str) -> Result<Ipv4Network> {
        let status = self.world.status().await?;
        let block = &find(&status, subnet)?.cidr;
        block.parse().with_context(|| format!("understand {block}"))
    }
}

fn find<'a>(status: &'a Status, subnet: &str) -> Result<&'a SubnetStatus> {
    status.subnets.get(subnet).with_context(|| format!("the world has no subnet `{subnet}`"))
}

fn inside(block: Ipv4Network, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => block.contains(address),
        IpAddr::V6(_) => false,
    }
}

/// The first few of many addresses, and how many there are.
fn summarize(addresses: &[Ipv4Addr]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = addresses.iter().take(SHOWN).map(ToString::to_string).collect();
    match addresses.len() {
        0 => "none".into(),
        count if count <= SHOWN => shown.join(" "),
        count => format!("{} … ({count} in all)", shown.join(" ")),
    }
}
