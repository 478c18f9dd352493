//! Nodes: an instance, a network namespace, a Node object, and what runs there.

use super::{
    DaemonRequest, InterfaceRequest, World,
    folder::NodeFolder,
    running::Daemon,
    sandbox::Pod,
    status::{NodeStatus, PodStatus},
};
use crate::{
    api::kube::{ApiError, Kind},
    cluster::{CONTROL_PLANE, Cluster, Machine, MachineSpec},
};
use anyhow::{Context, Result, bail};
use instances::InstanceType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};
use vpc::{Instance, InstanceId, Launch, Life, Vpc};

/// What to boot. What is not said is as the world's file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRequest {
    /// Name of the node.
    pub name: String,
    /// Availability zone.
    pub zone: Option<String>,
    /// Instance type.
    pub instance_type: Option<String>,
    /// Name or id of the subnet; otherwise the zone's node subnet.
    pub subnet: Option<String>,
    /// More labels for the Node object.
    pub labels: BTreeMap<String, String>,
    /// More tags of the instance.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// More interfaces that it is launched with, beside those of the world's file.
    #[serde(default)]
    pub interfaces: Vec<InterfaceRequest>,
    /// How many pods may run on it; otherwise as EKS decides by the instance type. Only kubelet reads
    /// that.
    #[serde(default)]
    pub max_pods: Option<u32>,
}

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) instance_id: InstanceId,
    pub(super) folder: NodeFolder,
    pub(super) namespace: PathBuf,
    pub(super) daemon: tokio::sync::Mutex<Option<Daemon>>,
    /// What makes a node of it where Kubernetes is a real one, and what that is told.
    pub(super) machine: tokio::sync::Mutex<Option<Machine>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) max_pods: Option<u32>,
    /// How its daemon was started last.
    daemon_request: Mutex<Option<DaemonRequest>>,
    /// Its daemon ran when the node was stopped, and so starts with it.
    pub(super) starts_daemon: AtomicBool,
    pub(super) pods: Mutex<BTreeMap<String, Pod>>,
}

impl World {
    /// Boots a node; when this returns, its primary interface is up and its Node object exists.
    ///
    /// # Errors
    /// The request names what does not exist, EC2 refuses, or the kernel does. Nothing is left
    /// behind then.
    pub async fn add_node(&self, request: NodeRequest) -> Result<NodeStatus> {
        if self.cluster.is_some() && request.name == CONTROL_PLANE {
            bail!("add node {CONTROL_PLANE}: that is where the control plane runs");
        }
        boot_machine(self, &request).await
    }

    /// Terminates a node as EC2 does it: nobody on it is asked.
    ///
    /// # Errors
    /// There is no such node, or something of it cannot be removed.
    pub async fn remove_node(&self, name: &str) -> Result<()> {
        if self.cluster.is_some() && name == CONTROL_PLANE {
            bail!("remove node {name}: the control plane ends with its world");
        }
        let _one_at_a_time = self.machines.lock().await;
        self.node(name)?;
        remove_machine(self, name).await.with_context(|| format!("remove node {name}"))
    }

    /// The node of a name, which must run.
    pub(super) fn running_node(&self, name: &str) -> Result<Arc<Node>> {
        let node = self.node(name)?;
        let life =
            self.cloud.with(|vpc, _| vpc.instance(node.instance_id.as_str()).map(|it| it.life))?;
        if life != Life::Running {
            bail!("node {name} is stopped: `vpc-sim node start {name}`");
        }
        Ok(node)
    }
}

/// Boots a node of any name.
pub(super) async fn boot_machine(world: &World, request: &NodeRequest) -> Result<NodeStatus> {
    let name = request.name.clone();
    let _one_at_a_time = world.machines.lock().await;
    if world.lock_nodes().contains_key(&name) {
        bail!("add node {name}: it exists");
    }
    let launch = world.cloud.with(|vpc, _| launch(world, vpc, request))?;
    if let Err(error) = boot(world, request, &launch).await {
        remove_machine(world, &name).await.unwrap_or_else(|left| {
            tracing::warn!("remove what was made of node {name}: {left:#}");
        });
        return Err(error.context(format!("add node {name}")));
    }
    world.node_status(&name).await
}

async fn boot(world: &World, request: &NodeRequest, launch: &Launch) -> Result<()> {
    let name = &request.name;
    let (fabric_name, folder) = (name.clone(), world.folder().node(name));
    let namespace = world
        .wires
        .with(move |fabric| {
            fabric.add_node(&fabric_name)?;
            Ok(fabric.namespace(crate::fabric::Place::Node(&fabric_name)))
        })
        .await?;
    folder.create()?;
    let of_file = world.defaults.interfaces.iter().map(toml::Spanned::get_ref);
    let interfaces: Vec<_> = of_file.chain(&request.interfaces).collect();
    let mut tags = world.defaults.tags.clone();
    tags.extend(request.tags.clone());
    // All before anything boots: one look at the VPC sees the whole instance, or none.
    let instance_id = world.cloud.with(|vpc, now| -> Result<_> {
        let id = vpc.run_instance(now, launch)?;
        vpc.create_tags(std::slice::from_ref(&id.0), &tags)?;
        for interface in interfaces {
            let instance = vpc.instance(id.as_str())?.clone();
            interface.launch(vpc, now, &instance).context("launch with an interface")?;
        }
        Ok(id)
    })?;
    world.wires.settled(&world.cloud).await?;
    // A kubelet that runs registers by itself.
    if world.cluster.is_none() {
        let object = world.cloud.with(|vpc, _| node_object(vpc, &instance_id, request))?;
        world.store.create(Kind::Node, None, object)?;
    }
    let node = Node {
        name: name.clone(),
        instance_id,
        folder,
        namespace,
        daemon: tokio::sync::Mutex::default(),
        machine: tokio::sync::Mutex::default(),
        labels: request.labels.clone(),
        max_pods: request.max_pods,
        daemon_request: Mutex::default(),
        starts_daemon: AtomicBool::new(false),
        pods: Mutex::default(),
    };
    let node = Arc::new(node);
    world.lock_nodes().insert(name.clone(), Arc::clone(&node));
    join(world, &node).await
}

/// Starts kubelet and what else makes a node, where Kubernetes is a real one. The node of the
/// control plane runs no pods.
pub(super) async fn join(world: &World, node: &Node) -> Result<()> {
    let Some(cluster) = world.cluster.as_ref().filter(|_| node.name != CONTROL_PLANE) else {
        return Ok(());
    };
    let spec = world.cloud.with(|vpc, _| {
        let instance = vpc.instance(node.instance_id.as_str())?;
        let mut all = labels(vpc, instance, &node.name);
        all.extend(node.labels.clone());
        Ok::<_, vpc::Ec2Error>(MachineSpec {
            name: node.name.clone(),
            network: node.namespace.clone(),
            address: instance.private_ip,
            provider_id: format!("aws:///{}/{}", instance.zone, instance.id),
            labels: all,
            max_pods: node.max_pods.unwrap_or_else(|| max_pods(instance.instance_type)),
        })
    })?;
    *node.machine.lock().await = Some(cluster.join(spec).await?);
    Ok(())
}

/// Removes whatever there is of a node. What cannot be removed keeps nothing else from going; the first
/// error is the one worth telling.
async fn remove_machine(world: &World, name: &str) -> Result<()> {
    let node = world.lock_nodes().remove(name);
    if let Some(node) = node {
        node.halt().await;
    }
    let terminated =
        world.cloud.with(|vpc, now| match vpc.instance_by_node(name).map(|it| it.id.clone()) {
            Some(id) => vpc.terminate_instance(now, &id),
            None => Ok(()),
        });
    let settled = world.wires.settled(&world.cloud).await;
    let fabric_name = name.to_owned();
    let unwired = world.wires.with(move |fabric| fabric.remove_node(&fabric_name)).await;
    let left = match &world.cluster {
        Some(cluster) => cluster.forget(name).await,
        None => Ok(()),
    };
    let deleted = delete_objects(world, name).and(left);
    let folder = world.folder().node(name).remove();
    terminated?;
    settled.and(unwired).and(deleted).and(folder)
}

fn delete_objects(world: &World, node: &str) -> Result<()> {
    let mut deleted = Ok(());
    for pod in world.store.list(Kind::Pod, None) {
        if pod["spec"]["nodeName"] == *node {
            let text = |key: &str| pod["metadata"][key].as_str();
            let name = text("name").unwrap_or_default();
            let gone = already_gone(world.store.delete(Kind::Pod, text("namespace"), name));
            deleted = deleted.and(gone);
        }
    }
    deleted.and(already_gone(world.store.delete(Kind::Node, None, node)))
}

fn launch(world: &World, vpc: &Vpc, request: &NodeRequest) -> Result<Launch> {
    let defaults = &world.defaults;
    let zone = request.zone.as_deref();
    let fits = |it: &&vpc::Subnet| zone.is_none_or(|zone| it.zone == zone);
    let of_nodes = |it: &&vpc::Subnet| {
        let listed =
            |name: &toml::Spanned<String>| *name.get_ref() == it.name || *name.get_ref() == it.id;
        defaults.subnets.is_empty() || defaults.subnets.iter().any(listed)
    };
    let subnet = match &request.subnet {
        Some(wanted) => {
            let named = |it: &&vpc::Subnet| it.name == *wanted || it.id == *wanted;
            let names: Vec<_> = vpc.subnets().values().map(|it| it.name.as_str()).collect();
            let found = vpc.subnets().values().find(named).filter(fits);
            found.with_context(|| {
                let zone = zone.map(|zone| format!(" in zone {zone}")).unwrap_or_default();
                format!("no subnet {wanted}{zone}: there are {}", names.join(", "))
            })?
        }
        None => vpc.subnets().values().filter(of_nodes).find(fits).with_context(|| {
            let zones: Vec<_> =
                vpc.subnets().values().filter(of_nodes).map(|it| it.zone.as_str()).collect();
            let wanted = zone.unwrap_or_default();
            format!("no subnet for nodes in zone {wanted}: there are some in {}", zones.join(", "))
        })?,
    };
    let group = |wanted: &toml::Spanned<String>| {
        let wanted = wanted.get_ref();
        let found = vpc.groups().values().find(|it| it.name == *wanted || it.id == *wanted);
        found.map(|it| it.id.clone()).with_context(|| format!("no security group {wanted}"))
    };
    let default_type = defaults.instance_type.get_ref();
    Ok(Launch {
        node: request.name.clone(),
        instance_type: request.instance_type.as_ref().unwrap_or(default_type).clone(),
        subnet_id: subnet.id.clone(),
        groups: defaults.groups.iter().map(group).collect::<Result<_>>()?,
        role: defaults.role.clone(),
    })
}

impl Node {
    /// Ends everything that runs on the node.
    pub(super) async fn halt(&self) {
        if let Some(daemon) = self.daemon.lock().await.take() {
            daemon.kill().await;
        }
        if let Some(machine) = self.machine.lock().await.take()
            && let Err(error) = machine.end().await
        {
            tracing::warn!("end what runs on node {}: {error:#}", self.name);
        }
        // Dropping a pod ends its server.
        self.lock_pods().clear();
    }

    /// Whether its daemon runs.
    pub(super) async fn runs_daemon(&self) -> bool {
        self.daemon_pid().await.is_some()
    }

    /// How its daemon was started last.
    pub(super) fn daemon_request(&self) -> Option<DaemonRequest> {
        self.lock_daemon_request().clone()
    }

    pub(super) fn lock_daemon_request(&self) -> MutexGuard<'_, Option<DaemonRequest>> {
        self.daemon_request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Process id of the daemon, while it runs.
    pub(super) async fn daemon_pid(&self) -> Option<i32> {
        self.daemon.lock().await.as_ref().and_then(Daemon::pid)
    }

    /// Process id by which its programs are entered, where it has some of its own.
    pub(super) async fn enclosure(&self, cluster: Option<&Cluster>) -> Option<u32> {
        if self.name == CONTROL_PLANE {
            return cluster.map(Cluster::enclosure);
        }
        self.machine.lock().await.as_ref().map(Machine::enclosure)
    }

    /// The pods that have a network.
    pub(super) fn pods(&self) -> Vec<PodStatus> {
        self.lock_pods().values().map(Pod::status).collect()
    }

    pub(super) fn lock_pods(&self) -> MutexGuard<'_, BTreeMap<String, Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The deletion of what is gone already is no error.
pub(super) fn already_gone(deleted: Result<Value, ApiError>) -> Result<()> {
    match deleted {
        Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What a kubelet registers, as far as anybody here reads it.
fn node_object(vpc: &Vpc, id: &InstanceId, request: &NodeRequest) -> Result<Value> {
    let instance = vpc.instance(id.as_str())?;
    let name = &request.name;
    let mut labels = labels(vpc, instance, name);
    labels.extend(request.labels.clone());
    Ok(json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "providerID": format!("aws:///{}/{}", instance.zone, instance.id) },
        "status": status(vpc, instance, name),
    }))
}

/// The labels that a kubelet gives its node.
pub(super) fn labels(vpc: &Vpc, instance: &Instance, name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("kubernetes.io/arch".to_owned(), "amd64".to_owned()),
        ("kubernetes.io/hostname".to_owned(), name.to_owned()),
        ("kubernetes.io/os".to_owned(), "linux".to_owned()),
        ("node.kubernetes.io/instance-type".to_owned(), instance.instance_type.name.clone()),
        ("topology.kubernetes.io/region".to_owned(), vpc.region().to_owned()),
        ("topology.kubernetes.io/zone".to_owned(), instance.zone.clone()),
    ])
}

/// What a kubelet says of its node.
pub(super) fn status(vpc: &Vpc, instance: &Instance, name: &str) -> Value {
    let public = instance.interfaces.iter().find_map(|eni| vpc.interfaces().get(eni)?.public);
    let dns = vpc.private_dns_name(instance.private_ip);
    let mut addresses = vec![
        json!({ "type": "InternalIP", "address": instance.private_ip }),
        json!({ "type": "Hostname", "address": name }),
        json!({ "type": "InternalDNS", "address": dns }),
    ];
    addresses.extend(public.map(|it| json!({ "type": "ExternalIP", "address": it })));
    let capacity = json!({ "pods": max_pods(instance.instance_type).to_string() });
    json!({
        "addresses": addresses,
        "capacity": capacity,
        "allocatable": capacity,
        "nodeInfo": { "architecture": "amd64", "operatingSystem": "linux" },
    })
}

/// EKS' formula for single addresses: each interface's addresses but its first, and two pods that
/// use the node's network.
pub(super) fn max_pods(kind: &InstanceType) -> u32 {
    kind.interfaces * kind.ipv4_per_interface.saturating_sub(1) + 2
}
