//! Pods: what kubelet and containerd do for a pod's network, and nothing else of a pod.

use super::{
    World,
    cluster::must_be_built_in,
    folder::NodeFolder,
    node::{Node, already_gone},
    sandbox::{DEFAULT_NAMESPACE, Pod, address, sandbox},
    serve,
};
use crate::{
    api::kube::{ApiError, Kind},
    runtime::{self, Attachment, HostPort, NodePaths},
};
use anyhow::{Result, bail};
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::task::{JoinSet, spawn_blocking};

/// The interface that containerd asks for.
const IFNAME: &str = "eth0";

/// Where a pod serves.
const POD_PORT: u16 = 80;

/// Which pod to start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRequest {
    /// On which node.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Its Kubernetes namespace; `default` when not given.
    pub namespace: Option<String>,
    /// Serve HTTP on port 80: who it is, and who called.
    pub serve: bool,
    /// Its annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Ports of the node that lead to it.
    #[serde(default)]
    pub host_ports: Vec<HostPort>,
}

/// A pod that was started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodAdded {
    /// Its address.
    pub address: Option<IpAddr>,
    /// Id of its sandbox.
    pub container_id: String,
    /// The CNI result.
    pub result: Value,
}

impl World {
    /// Starts a pod as kubelet and containerd do: object, sandbox, the chain of plugins.
    ///
    /// # Errors
    /// The node does not exist, the pod does, or a plugin fails: then its words are the error, and
    /// an event as kubelet writes it. The Pod object stays, for another attempt.
    pub async fn add_pod(&self, request: PodRequest) -> Result<PodAdded> {
        let PodRequest { node, name, namespace, serve, annotations, host_ports } = request;
        must_be_built_in(self, "add a pod")?;
        let node = self.running_node(&node)?;
        let namespace = namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.into());
        let sandbox = sandbox(&namespace, &name);
        if node.lock_pods().contains_key(&sandbox) {
            bail!("add pod {namespace}/{name}: it is on {}", node.name);
        }
        let uid = pod_object(self, &node, &namespace, &name, (&annotations, &host_ports))?;
        let (fabric_node, fabric_pod) = (node.name.clone(), sandbox.clone());
        let netns = self.wires.with(move |it| it.add_pod(&fabric_node, &fabric_pod)).await?;
        let attachment = Attachment {
            container_id: container_id(),
            netns,
            ifname: IFNAME.into(),
            namespace,
            pod: name,
            uid,
            annotations,
            host_ports,
        };
        let pod = Pod { attachment: attachment.clone(), result: None, _server: JoinSet::new() };
        node.lock_pods().insert(sandbox.clone(), pod);
        let connected = connect(self, &node, &sandbox, &attachment, serve).await;
        if let Err(error) = &connected {
            record_failure(self, &node, &attachment, &format!("{error:#}"));
            // The first error is the one worth telling.
            if let Err(left) = remove_sandbox(self, &node, &sandbox).await {
                tracing::warn!("remove the sandbox of a pod that did not start: {left:#}");
            }
        }
        connected
    }

    /// Stops a pod: DEL, the sandbox, the second DEL, the object.
    ///
    /// # Errors
    /// There is no such node, or the first DEL fails: then the pod is as it was, but for its server.
    /// Or something of it cannot be removed; the rest is.
    pub async fn remove_pod(&self, node: &str, namespace: &str, name: &str) -> Result<()> {
        let node = self.node(node)?;
        let sandbox = sandbox(namespace, name);
        let attachment = node.lock_pods().get(&sandbox).map(|pod| pod.attachment.clone());
        let forget = if let Some(attachment) = attachment {
            let paths = node_paths(&node);
            let second = (paths.clone(), attachment.clone());
            spawn_blocking(move || runtime::delete(&paths, &attachment)).await??;
            Some(second)
        } else {
            let found = self.store.get(Kind::Pod, Some(namespace), name);
            if found.is_ok_and(|it| it["spec"]["nodeName"] != *node.name) {
                bail!("remove pod {namespace}/{name}: it is not on {}", node.name);
            }
            None
        };
        // From here on, what cannot be removed keeps nothing else from going.
        let emptied = remove_sandbox(self, &node, &sandbox).await;
        let forgotten = match forget {
            Some((paths, of)) => spawn_blocking(move || runtime::forget(&paths, &of)).await?,
            None => Ok(()),
        };
        let deleted = already_gone(self.store.delete(Kind::Pod, Some(namespace), name));
        emptied?;
        forgotten?;
        deleted
    }
}

/// The object of a pod that starts: a new one, or that of an attempt that failed.
fn pod_object(
    world: &World,
    node: &Node,
    namespace: &str,
    name: &str,
    (annotations, host_ports): (&BTreeMap<String, String>, &[HostPort]),
) -> Result<String> {
    let ports: Vec<_> = host_ports.iter().map(HostPort::in_pod_spec).collect();
    let object = json!({
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "nodeName": node.name,
            "containers": [{ "name": "main", "image": "none", "ports": ports }],
        },
    });
    let object = match world.store.create(Kind::Pod, Some(namespace), object) {
        Err(ApiError::AlreadyExists { .. }) => {
            let found = world.store.get(Kind::Pod, Some(namespace), name)?;
            if found["spec"]["nodeName"] != *node.name {
                bail!(
                    "add pod {namespace}/{name}: its object is for {}",
                    found["spec"]["nodeName"]
                );
            }
            found
        }
        created => created?,
    };
    Ok(object["metadata"]["uid"].as_str().unwrap_or_default().into())
}

async fn connect(
    world: &World,
    node: &Arc<Node>,
    sandbox: &str,
    attachment: &Attachment,
    serve: bool,
) -> Result<PodAdded> {
    let (paths, of) = (node_paths(node), attachment.clone());
    let result = spawn_blocking(move || runtime::add(&paths, &of)).await??;
    let run = async {
        let server =
            if serve { pod_server(node, attachment, &result).await? } else { JoinSet::new() };
        tell_running(world, node, attachment, &result)?;
        anyhow::Ok(server)
    };
    match run.await {
        Ok(server) => {
            let Attachment { container_id, .. } = attachment.clone();
            if let Some(pod) = node.lock_pods().get_mut(sandbox) {
                pod.result = Some(result.clone());
                pod._server = server;
            }
            Ok(PodAdded { address: address(&result), container_id, result })
        }
        Err(error) => {
            let (paths, of) = (node_paths(node), attachment.clone());
            if let Err(error) = spawn_blocking(move || runtime::delete(&paths, &of)).await? {
                tracing::warn!("disconnect a pod that did not start: {error}");
            }
            Err(error)
        }
    }
}

/// What kubelet writes when the pod runs.
fn tell_running(world: &World, node: &Node, attachment: &Attachment, result: &Value) -> Result<()> {
    let host = world.cloud.with(|vpc, _| {
        vpc.instance(node.instance_id.as_str()).map(|instance| instance.private_ip)
    })?;
    let Attachment { namespace, pod, .. } = attachment;
    world.store.edit(Kind::Pod, Some(namespace), pod, |object| {
        object["status"] = json!({ "phase": "Running", "hostIP": host });
        if let Some(address) = address(result) {
            object["status"]["podIP"] = json!(address);
            object["status"]["podIPs"] = json!([{ "ip": address }]);
        }
    })?;
    Ok(())
}

async fn remove_sandbox(world: &World, node: &Node, sandbox: &str) -> Result<()> {
    node.lock_pods().remove(sandbox);
    let (node, pod) = (node.name.clone(), sandbox.to_owned());
    world.wires.with(move |fabric| fabric.remove_pod(&node, &pod)).await
}

/// The event by which people learn of it, in kubelet's words.
fn record_failure(world: &World, node: &Node, attachment: &Attachment, error: &str) {
    let Attachment { container_id, namespace, pod, uid, .. } = attachment;
    let message = format!(
        "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup \
         network for sandbox \"{container_id}\": {error}"
    );
    let now = jiff::Timestamp::now();
    let seconds = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let event = json!({
        "metadata": { "name": format!("{pod}.{:x}", now.as_nanosecond()) },
        "involvedObject": {
            "kind": "Pod", "apiVersion": "v1",
            "namespace": namespace, "name": pod, "uid": uid,
        },
        "type": "Warning",
        "reason": "FailedCreatePodSandBox",
        "message": message,
        "source": { "component": "kubelet", "host": node.name },
        "reportingComponent": "kubelet",
        "reportingInstance": node.name,
        "firstTimestamp": seconds,
        "lastTimestamp": seconds,
        "count": 1,
    });
    if let Err(error) = world.store.create(Kind::Event, Some(namespace), event) {
        tracing::warn!("record the failure of pod {namespace}/{pod}: {error}");
    }
}

/// Serves inside of the pod, until it is dropped.
async fn pod_server(node: &Node, attachment: &Attachment, result: &Value) -> Result<JoinSet<()>> {
    let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, POD_PORT));
    let listener = serve::listen_within(attachment.netns.clone(), at).await?;
    let answer = serve::PodAnswer {
        pod: attachment.pod.clone(),
        namespace: attachment.namespace.clone(),
        node: node.name.clone(),
        address: address(result),
        source: None,
    };
    let mut server = JoinSet::new();
    server.spawn(serve::serve(listener, serve::pod(answer)));
    Ok(server)
}

/// The runtime's places on a node.
pub(super) fn node_paths(node: &Node) -> NodePaths {
    let folder: &NodeFolder = &node.folder;
    let path = folder.run().to_string_lossy().into_owned();
    NodePaths {
        netns: node.namespace.clone(),
        conf_dir: folder.cni_conf(),
        bin_dir: folder.cni_bin(),
        results_dir: folder.results(),
        env: BTreeMap::from([("ENI_CNI_RUN_DIR".into(), path)]),
    }
}

/// 64 hexadecimal digits, as containerd makes them.
fn container_id() -> String {
    let mut rng = rand::rng();
    (0..4).map(|_| format!("{:016x}", rng.random::<u64>())).collect()
}
