//! The demo's cluster: what it does to the world, and what it looks at.

use super::{story::Story, traffic};
use anyhow::{Context, Result};
use ipnetwork::Ipv4Network;
use serde_json::json;
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::{JoinHandle, spawn_blocking};
use vpc::Interface;
use vpc_sim::{
    api::kube::Kind,
    world::{
        DaemonRequest, NodeRequest, PodRequest, World,
        status::{NodeStatus, Status, SubnetStatus},
    },
};

/// The Kubernetes namespace of the demo's pods.
const NAMESPACE: &str = "default";

/// Name of the security group of pods in the world's file.
const POD_GROUP: &str = "pods";

/// A pause of a client between two rounds through all pods.
const CLIENT_PAUSE: Duration = Duration::from_millis(20);

/// A pod of the demo.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) node: String,
    pub(super) address: IpAddr,
    pub(super) namespace: PathBuf,
}

/// The demo's view of its world.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    pub(super) pods: BTreeMap<String, Pod>,
}

/// Clients that ask every pod without a pause until they are stopped.
#[derive(Debug)]
pub(super) struct Clients {
    stopped: Arc<AtomicBool>,
    asking: JoinHandle<(usize, Vec<String>)>,
}

/// A story that ends early does not leave them asking.
impl Drop for Clients {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Clients {
    /// Stops them; how many requests they sent, and what went wrong.
    pub(super) async fn stop(mut self) -> Result<(usize, Vec<String>)> {
        self.stopped.store(true, Ordering::Relaxed);
        Ok((&mut self.asking).await?)
    }
}

impl Cluster {
    pub(super) fn new(world: Arc<World>) -> Self {
        Self { world, pods: BTreeMap::new() }
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
        self.world
            .start_daemon(DaemonRequest { node: node.into(), env, ..DaemonRequest::default() })
            .await?;
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
            ..PodRequest::default()
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

    /// Waits until no daemon is at work on an interface.
    pub(super) async fn wait_for_daemons(&self, story: &Story) -> Result<()> {
        let look = async || -> Result<Option<String>> {
            let at_work = self.world.cloud().with(|vpc, _| {
                let finished = |eni: &Interface| {
                    eni.attachment.as_ref().is_some_and(|it| it.delete_on_termination)
                };
                vpc.interfaces().values().find(|eni| !finished(eni)).map(|eni| eni.id.to_string())
            });
            Ok(at_work.map(|eni| format!("{eni} is being made")))
        };
        story.wait("daemons", look).await
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

    pub(super) async fn node(&self, name: &str) -> Result<NodeStatus> {
        self.world.node_status(name).await
    }

    pub(super) async fn block(&self, subnet: &str) -> Result<Ipv4Network> {
        let status = self.world.status().await?;
        let block = &find(&status, subnet)?.cidr;
        block.parse().with_context(|| format!("understand {block}"))
    }
}

pub(super) fn find<'a>(status: &'a Status, subnet: &str) -> Result<&'a SubnetStatus> {
    status.subnets.get(subnet).with_context(|| format!("the world has no subnet `{subnet}`"))
}
