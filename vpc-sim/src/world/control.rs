//! Commands to a running world: one JSON document each way over a unix socket.

use super::{
    DaemonRequest, Folder, InterfaceRequest, NodeRequest, PermissionRequest, PodRequest, World,
    cluster::must_be_built_in,
    sandbox::{DEFAULT_NAMESPACE, sandbox},
};
use crate::fabric::Place;
use anyhow::{Context, Result, anyhow, bail};
use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::Shutdown,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::Notify,
    time::timeout,
};
use vpc::{
    calls::CallFilter,
    fault::{FaultSpec, Span},
};

/// The longest request that is read; real ones have some hundred bytes.
const MAX_REQUEST: u64 = 1 << 20;

/// How long a client may take to say what it wants: it writes at once.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// What a world can be asked to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Tell everything: [`super::status::Status`].
    Status,
    /// End.
    Down,
    /// Boot a node.
    NodeAdd(NodeRequest),
    /// Terminate a node.
    NodeRemove {
        /// Its name.
        node: String,
    },
    /// Reboot a node.
    NodeReboot {
        /// Its name.
        node: String,
    },
    /// Stop a node.
    NodeStop {
        /// Its name.
        node: String,
    },
    /// Start a stopped node.
    NodeStart {
        /// Its name.
        node: String,
        /// Its new instance type, if it gets one.
        instance_type: Option<String>,
    },
    /// Change a permission of a security group.
    GroupPermission(PermissionRequest),
    /// Put an interface into other security groups.
    GroupSet {
        /// Id of the interface, or name of a node.
        place: String,
        /// Names or ids of the groups.
        groups: Vec<String>,
    },
    /// Give the role of nodes a policy, or take it away.
    PolicySet {
        /// IAM's JSON.
        policy: Option<String>,
    },
    /// Attach an interface to a node: [`super::status::InterfaceStatus`].
    InterfaceAttach {
        /// Name of the node.
        node: String,
        /// The interface.
        interface: InterfaceRequest,
    },
    /// Detach an interface and delete it.
    InterfaceRemove {
        /// Its id.
        id: String,
    },
    /// Start a node's daemon.
    DaemonStart(DaemonRequest),
    /// Wait until a node's daemon is ready.
    DaemonReady {
        /// Name of the node.
        node: String,
        /// How long at most.
        limit: Span,
    },
    /// Ask a node's daemon to end.
    DaemonStop {
        /// Name of the node.
        node: String,
    },
    /// Kill a node's daemon.
    DaemonKill {
        /// Name of the node.
        node: String,
    },
    /// Start a pod.
    PodAdd(PodRequest),
    /// Stop a pod.
    PodRemove {
        /// Name of the node.
        node: String,
        /// Kubernetes namespace; `default` when not given.
        namespace: Option<String>,
        /// Name of the pod.
        name: String,
    },
    /// Tell where a node or a pod is: [`Location`].
    Locate {
        /// Name of the node.
        node: String,
        /// Kubernetes namespace of the pod; `default` when not given.
        namespace: Option<String>,
        /// Name of the pod; the node itself when not given.
        pod: Option<String>,
    },
    /// Add an address block to the VPC.
    BlockAdd {
        /// The block.
        block: Ipv4Network,
    },
    /// Tell the calls of EC2: a list of [`super::calls::Call`].
    Calls(CallFilter),
    /// Tell how often who called what: [`super::calls::Counts`].
    CallCounts(CallFilter),
    /// Change what is odd about the cluster.
    Kubernetes(super::kubernetes::Change),
    /// Let something go wrong: [`vpc::fault::FaultStatus`].
    FaultAdd(Box<FaultSpec>),
    /// Tell what goes wrong: a list of [`vpc::fault::FaultStatus`].
    FaultList,
    /// Let something go wrong no longer; how many there were.
    FaultClear {
        /// Its number; everything when not given.
        id: Option<u32>,
    },
}

/// Where to run a command so that it is on a node or in a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The network namespace.
    pub namespace: PathBuf,
    /// Process id by which the node's other namespaces are entered, where programs of its own run.
    #[serde(default)]
    pub enclosure: Option<u32>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Done(Value),
    Failed(String),
}

/// Asks the world of a folder, and waits for the answer. Blocks.
///
/// # Errors
/// The world does not run, or cannot do it.
pub fn ask(folder: &Folder, request: &Request) -> Result<Value> {
    let path = folder.control();
    let connected = std::os::unix::net::UnixStream::connect(&path);
    let mut stream = match connected {
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            let name = folder.world();
            bail!("world {name} does not run: start it with `vpc-sim up --name {name}`");
        }
        connected => connected.with_context(|| format!("connect to {}", path.display()))?,
    };
    let told = || format!("ask world {}", folder.world());
    stream.write_all(&serde_json::to_vec(request)?).with_context(told)?;
    stream.shutdown(Shutdown::Write).with_context(told)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(told)?;
    if answer.is_empty() {
        bail!("world {} ended before it answered", folder.world());
    }
    match serde_json::from_slice(&answer).with_context(told)? {
        Answer::Done(value) => Ok(value),
        Answer::Failed(error) => Err(anyhow!(error)),
    }
}

/// Takes commands until the world ends; `ended` is told when somebody asks for that.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(world: &Arc<World>, ended: Arc<Notify>) -> Result<()> {
    let path = world.folder().control();
    let listener =
        UnixListener::bind(&path).with_context(|| format!("listen at {}", path.display()))?;
    let weak = Arc::downgrade(world);
    world.spawn(async move {
        loop {
            let accepted = listener.accept().await;
            let (Ok((stream, _)), Some(world)) = (accepted, weak.upgrade()) else { return };
            let ended = Arc::clone(&ended);
            // Not a task of the world: a command may outlive the wish to end it.
            tokio::spawn(async move {
                if let Err(error) = answer(stream, world, &ended).await {
                    tracing::debug!("a client went away: {error:#}");
                }
            });
        }
    });
    Ok(())
}

async fn answer(mut stream: UnixStream, world: Arc<World>, ended: &Notify) -> Result<()> {
    let mut text = Vec::new();
    let (reader, mut writer) = stream.split();
    timeout(READ_LIMIT, reader.take(MAX_REQUEST).read_to_end(&mut text)).await??;
    let done = match serde_json::from_slice(&text) {
        Ok(Request::Down) => {
            ended.notify_one();
            Ok(Value::Null)
        }
        Ok(request) => execute(&world, request).await,
        Err(error) => Err(anyhow!("the request is not understood: {error}")),
    };
    let answer = match done {
        Ok(value) => Answer::Done(value),
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    drop(world);
    writer.write_all(&serde_json::to_vec(&answer)?).await?;
    Ok(())
}

async fn execute(world: &World, request: Request) -> Result<Value> {
    let namespace = |it: Option<String>| it.unwrap_or_else(|| DEFAULT_NAMESPACE.into());
    match request {
        Request::Status => Ok(serde_json::to_value(world.status().await?)?),
        Request::Down => Ok(Value::Null),
        Request::NodeAdd(request) => Ok(serde_json::to_value(world.add_node(request).await?)?),
        Request::NodeRemove { node } => world.remove_node(&node).await.map(|()| Value::Null),
        Request::NodeReboot { node } => Ok(serde_json::to_value(world.reboot_node(&node).await?)?),
        Request::NodeStop { node } => world.stop_node(&node).await.map(|()| Value::Null),
        Request::NodeStart { node, instance_type } => {
            Ok(serde_json::to_value(world.start_node(&node, instance_type).await?)?)
        }
        Request::GroupPermission(it) => world.change_permission(&it).await.map(|()| Value::Null),
        Request::GroupSet { place, groups } => {
            world.set_groups(&place, &groups).await.map(|()| Value::Null)
        }
        Request::PolicySet { policy } => world.set_policy(policy.as_deref()).map(|()| Value::Null),
        Request::InterfaceAttach { node, interface } => {
            Ok(serde_json::to_value(world.attach_interface(&node, &interface).await?)?)
        }
        Request::InterfaceRemove { id } => world.remove_interface(&id).await.map(|()| Value::Null),
        Request::DaemonStart(request) => Ok(world.start_daemon(request).await?.into()),
        Request::DaemonReady { node, limit: Span(limit) } => {
            world.daemon_ready(&node, limit).await.map(|()| Value::Null)
        }
        Request::DaemonStop { node } => world.stop_daemon(&node).await.map(|()| Value::Null),
        Request::DaemonKill { node } => world.kill_daemon(&node).await.map(|()| Value::Null),
        Request::PodAdd(request) => Ok(serde_json::to_value(world.add_pod(request).await?)?),
        Request::PodRemove { node, namespace: within, name } => {
            world.remove_pod(&node, &namespace(within), &name).await.map(|()| Value::Null)
        }
        Request::Locate { node, namespace: within, pod } => {
            let pod = pod.map(|pod| (namespace(within), pod));
            Ok(serde_json::to_value(world.locate(&node, pod).await?)?)
        }
        Request::BlockAdd { block } => world.add_block(block).map(|()| Value::Null),
        Request::Calls(filter) => Ok(serde_json::to_value(world.calls_like(&filter)?)?),
        Request::CallCounts(filter) => Ok(serde_json::to_value(world.call_counts(&filter)?)?),
        Request::Kubernetes(change) => {
            must_be_built_in(world, "change what is odd about Kubernetes")?;
            change.apply(world.kubernetes()).map(|()| Value::Null)
        }
        Request::FaultAdd(spec) => Ok(serde_json::to_value(world.add_fault(*spec)?)?),
        Request::FaultList => Ok(serde_json::to_value(world.faults())?),
        Request::FaultClear { id } => Ok(world.clear_faults(id)?.into()),
    }
}

impl World {
    /// Adds an address block to the VPC.
    ///
    /// # Errors
    /// A VPC cannot have it beside the others.
    pub fn add_block(&self, block: Ipv4Network) -> Result<()> {
        Ok(self.cloud().with(|vpc, _| vpc.add_block(block))?)
    }

    /// Where to run a command so that it is on a node, or in a pod: its Kubernetes namespace and
    /// name.
    ///
    /// # Errors
    /// There is no such node or pod.
    pub async fn locate(&self, node: &str, pod: Option<(String, String)>) -> Result<Location> {
        let machine = self.node(node)?;
        let mut enclosure = None;
        let namespace = match pod {
            None => {
                enclosure = machine.enclosure(self.cluster.as_ref()).await;
                machine.namespace.clone()
            }
            Some((namespace, name)) => {
                let sandbox = sandbox(&namespace, &name);
                if !machine.lock_pods().contains_key(&sandbox) {
                    bail!("no pod {namespace}/{name} on node {node}");
                }
                self.namespace(Place::Pod(node, &sandbox)).await?
            }
        };
        Ok(Location { namespace, enclosure, env: self.node_env(&machine) })
    }
}
