//! A whole world in one process: the VPC, its wires, its services, its nodes and their pods.
//!
//! [`World`] does everything that the command line can; the command line is a client of the process
//! that owns the world ([`control`]), or that process itself.

mod cluster;
mod daemon;
mod fault;
mod group;
mod interface;
mod metadata;
mod node;
mod place;
mod pod;
mod policy;
mod power;
mod ready;
mod running;
mod sandbox;
mod serve;
mod wires;

pub mod calls;
pub mod control;
pub mod file;
pub mod folder;
pub mod kubernetes;
pub mod process;
pub mod status;

pub use crate::cluster::ProxyMode;
pub use file::WorldFile;
pub use folder::{Folder, NodeFolder};
pub use group::{PermissionChange, PermissionRequest};
pub use interface::InterfaceRequest;
pub use node::NodeRequest;
pub use pod::{PodAdded, PodRequest};
pub use running::DaemonRequest;

use crate::{
    api::{cloud::Cloud, ec2, imds, kube},
    cluster::Cluster,
    fabric::{Fabric, INTERNET_HOST, METADATA_SERVICE, Place},
};
use anyhow::{Context, Result, bail};
use folder::Claimed;
use kubernetes::Kubernetes;
use node::Node;
use process::Process;
use status::{Endpoints, Summary};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{net::TcpListener, task::JoinSet};
use vpc::{Time, Vpc};
use wires::Wires;

/// The port of everything that a world serves at a well-known address.
const HTTP: u16 = 80;

/// A running world. It is removed by [`World::down`]; what a killed one leaves is removed by the
/// next of its name.
#[derive(Debug)]
pub struct World {
    summary: Summary,
    cluster: Option<Cluster>,
    claimed: Claimed,
    defaults: file::Nodes,
    cloud: Arc<Cloud>,
    store: Arc<kube::Store>,
    wires: Wires,
    nodes: Mutex<BTreeMap<String, Arc<Node>>>,
    /// Nodes come and go one at a time: the fabric must know a node before the VPC does, and
    /// longer.
    machines: tokio::sync::Mutex<()>,
    tasks: Mutex<JoinSet<()>>,
}

impl World {
    /// Makes a world, and returns when everything in it answers.
    ///
    /// # Errors
    /// A world of this name runs, the description makes no VPC, or the kernel refuses. Nothing is
    /// left behind then.
    pub async fn up(name: &str, file: WorldFile) -> Result<Arc<Self>> {
        let Kubernetes { programs, proxy, .. } = &file.kubernetes;
        let wanted = cluster::wanted(programs.clone(), *proxy).await?;
        let claimed = Folder::of(name)?.claim()?;
        let made = match Fabric::create(name) {
            Ok(fabric) => Self::start(file, fabric, &claimed).await,
            Err(error) => Err(error),
        };
        let left = match made {
            Ok(parts) => {
                let mut world = parts.own(claimed);
                let Some(wanted) = wanted else { return Ok(Arc::new(world)) };
                match cluster::start(&mut world, wanted).await {
                    Ok(()) => return Ok(Arc::new(world)),
                    Err(error) => (error, Arc::new(world).down().await),
                }
            }
            Err(error) => (error, claimed.remove()),
        };
        let (error, removed) = left;
        if let Err(left) = removed {
            tracing::warn!("remove what was made of world {name}: {left:#}");
        }
        Err(error.context(format!("make world {name}")))
    }

    /// Ends everything in the world and removes it.
    ///
    /// # Errors
    /// Something cannot be removed; the rest is.
    pub async fn down(self: Arc<Self>) -> Result<()> {
        let nodes: Vec<_> = self.lock_nodes().values().cloned().collect();
        for node in nodes {
            node.halt().await;
        }
        if let Some(cluster) = &self.cluster {
            cluster.end().await;
        }
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        self.wires.cut();
        // Commands that are still under way hold the world, and the lock with it, a moment longer.
        self.claimed.remove()
    }

    /// Its name, process, folder and endpoints.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The VPC.
    pub fn cloud(&self) -> &Arc<Cloud> {
        &self.cloud
    }

    /// The objects of the cluster.
    pub fn kubernetes(&self) -> &Arc<kube::Store> {
        &self.store
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.claimed.folder
    }

    /// The path of a place's network namespace, whether it exists or not.
    ///
    /// # Errors
    /// The world has ended.
    pub async fn namespace(&self, place: Place<'_>) -> Result<PathBuf> {
        let path = |fabric: &mut Fabric, place: Place<'_>| Ok(fabric.namespace(place));
        match place {
            Place::Router => self.wires.with(move |it| path(it, Place::Router)).await,
            Place::Internet => self.wires.with(move |it| path(it, Place::Internet)).await,
            Place::Services => self.wires.with(move |it| path(it, Place::Services)).await,
            Place::Node(node) => {
                let node = node.to_owned();
                self.wires.with(move |it| path(it, Place::Node(&node))).await
            }
            Place::Pod(node, pod) => {
                let (node, pod) = (node.to_owned(), pod.to_owned());
                self.wires.with(move |it| path(it, Place::Pod(&node, &pod))).await
            }
        }
    }

    /// Names of the nodes.
    pub fn node_names(&self) -> Vec<String> {
        self.lock_nodes().keys().cloned().collect()
    }

    /// Runs something until the world ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
    }

    fn node(&self, name: &str) -> Result<Arc<Node>> {
        let nodes = self.lock_nodes();
        match nodes.get(name) {
            Some(node) => Ok(Arc::clone(node)),
            None if nodes.is_empty() => {
                bail!("no node {name}: there is none yet; `vpc-sim node add {name} --zone ZONE`")
            }
            None => {
                let names: Vec<&str> = nodes.keys().map(String::as_str).collect();
                bail!("no node {name}: there are {}", names.join(", "))
            }
        }
    }

    fn lock_nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Node>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(file: WorldFile, mut fabric: Fabric, claimed: &Claimed) -> Result<Parts> {
        let WorldFile { vpc, services, nodes, kubernetes: said, faults } = file;
        let mut vpc = Vpc::new(vpc)?;
        for fault in faults {
            vpc.add_fault(Time::ZERO, fault.into_inner())?;
        }
        if let (Some(role), Some(policy)) = (&nodes.role, &nodes.policy) {
            vpc.set_policy(role, Some(policy.get_ref().parse()?));
        }
        let cloud = Cloud::new(vpc);
        let store = kube::Store::new();
        said.apply(&store)?;
        let hop_limit = cloud.with(|vpc, _| vpc.imds().hop_limit);
        let (kubernetes, ec2) = (*services.kubernetes.get_ref(), *services.ec2.get_ref());
        fabric.serve_at(&[*kubernetes.ip(), *ec2.ip()])?;

        let mut tasks = JoinSet::new();
        let at = |place| fabric.namespace(place);
        let ipv4 = |ip: Ipv4Addr| SocketAddr::from((ip, HTTP));
        let metadata = serve::listen_within(at(Place::Router), ipv4(METADATA_SERVICE)).await?;
        tasks.spawn(metadata::serve(metadata, imds::router(Arc::clone(&cloud)), hop_limit));
        let internet = serve::listen_within(at(Place::Internet), ipv4(INTERNET_HOST)).await?;
        tasks.spawn(serve::serve(internet, serve::internet()));
        let mut outside = Vec::new();
        let as_seen_by = |caller| kube::router(Arc::clone(&store), caller);
        let calls = ec2::router(Arc::clone(&cloud));
        for (inside, within, router) in [
            (kubernetes, as_seen_by(kube::Caller::Node), as_seen_by(kube::Caller::Outside)),
            (ec2, calls.clone(), calls),
        ] {
            let listener = serve::listen_within(at(Place::Services), inside.into()).await?;
            tasks.spawn(serve::serve(listener, within));
            let listener = serve::listen_outside().await?;
            outside.push(url(&listener)?);
            tasks.spawn(serve::serve(listener, router));
        }
        let summary = summary(&claimed.folder, [kubernetes, ec2], &outside)?;
        write_files(&claimed.folder, &summary)?;

        let wires = Wires::new(fabric);
        tasks.spawn(wires.clone().follow(Arc::clone(&cloud), cloud.topologies()));
        tasks.spawn(Arc::clone(&cloud).run());
        wires.settled(&cloud).await?;
        Ok(Parts { summary, defaults: nodes, cloud, store, wires, tasks })
    }
}

/// A world that does not own its folder yet.
struct Parts {
    summary: Summary,
    defaults: file::Nodes,
    cloud: Arc<Cloud>,
    store: Arc<kube::Store>,
    wires: Wires,
    tasks: JoinSet<()>,
}

impl Parts {
    fn own(self, claimed: Claimed) -> World {
        let Self { summary, defaults, cloud, store, wires, tasks } = self;
        World {
            summary,
            cluster: None,
            claimed,
            defaults,
            cloud,
            store,
            wires,
            nodes: Mutex::default(),
            machines: tokio::sync::Mutex::default(),
            tasks: Mutex::new(tasks),
        }
    }
}

fn url(listener: &TcpListener) -> Result<String> {
    Ok(format!("http://{}", listener.local_addr().context("address of a listener")?))
}

fn summary(folder: &Folder, inside: [SocketAddrV4; 2], outside: &[String]) -> Result<Summary> {
    let [kubernetes, ec2] = inside.map(|it| format!("http://{it}"));
    let [outside_kubernetes, outside_ec2] = outside else { bail!("two services are served") };
    Ok(Summary {
        name: folder.world().into(),
        process: Process::current()?,
        folder: folder.path().into(),
        kubeconfig: folder.kubeconfig(),
        outside: Endpoints { kubernetes: outside_kubernetes.clone(), ec2: outside_ec2.clone() },
        inside: Endpoints { kubernetes, ec2 },
        internet: INTERNET_HOST,
    })
}

fn write_files(folder: &Folder, summary: &Summary) -> Result<()> {
    let kubeconfig = |endpoints: &Endpoints| kube::kubeconfig(&summary.name, &endpoints.kubernetes);
    for (path, text) in [
        (folder.kubeconfig(), kubeconfig(&summary.outside)),
        (folder.node_kubeconfig(), kubeconfig(&summary.inside)),
    ] {
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    write_summary(folder, summary)
}

fn write_summary(folder: &Folder, summary: &Summary) -> Result<()> {
    let path = folder.summary();
    std::fs::write(&path, serde_json::to_string_pretty(summary)?)
        .with_context(|| format!("write {}", path.display()))
}
