//! A real Kubernetes in a world: etcd and the control plane on a node of their own, and containerd,
//! kubelet and kube-proxy on every other.

mod control_plane;
mod enclosure;
mod kubectl;
mod machine;
mod pki;
mod programs;
mod supervise;

pub use machine::ProxyMode;

pub(crate) use enclosure::{control_groups_of, enter};
pub(crate) use machine::{Machine, MachineSpec};
pub(crate) use programs::Programs;

use anyhow::{Context, Result};
use control_plane::ControlPlane;
use kubectl::Kubectl;
use pki::Authority;
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{io::copy_bidirectional, net::TcpListener, net::TcpStream, task::spawn_blocking};

/// Name of the node that runs the control plane.
pub(crate) const CONTROL_PLANE: &str = "control-plane";

/// Where the API server listens.
pub(crate) const API_PORT: u16 = 6443;

/// How long the control plane may take to answer: some seconds on an idle machine.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How long a kubelet may take to register its node: two seconds on an idle machine.
const REGISTER_LIMIT: Duration = Duration::from_secs(60);

/// Where a cluster is made, and of what.
#[derive(Debug)]
pub(crate) struct ClusterSpec {
    /// The programs.
    pub(crate) programs: Programs,
    /// Its files; removed with the world.
    pub(crate) disk: PathBuf,
    /// Network namespace and address of the node of the control plane.
    pub(crate) network: PathBuf,
    pub(crate) address: Ipv4Addr,
    /// Where clients outside of the VPC reach the API server.
    pub(crate) outside: SocketAddr,
    /// How kube-proxy works.
    pub(crate) proxy: ProxyMode,
}

/// A running cluster. Its processes end when it is dropped, and with the process that has it.
#[derive(Debug)]
pub(crate) struct Cluster {
    programs: Programs,
    disk: PathBuf,
    authority: Authority,
    server: String,
    proxy: ProxyMode,
    kubectl: Kubectl,
    control_plane: ControlPlane,
}

impl Cluster {
    /// Starts the control plane, and returns when it answers.
    pub(crate) async fn start(spec: ClusterSpec) -> Result<Self> {
        let ClusterSpec { programs, disk, network, address, outside, proxy } = spec;
        let server = format!("https://{address}:{API_PORT}");
        let folder = disk.join("control-plane");
        let pki = folder.join("pki");
        fs::create_dir_all(&pki).with_context(|| format!("make folder {}", pki.display()))?;
        let authority = Authority::new(&pki)?;
        authority.control_plane(address)?;
        let config = |who: &str, server: &str| authority.kubeconfig(who, server);
        for who in ["admin", "controller-manager", "scheduler", "proxy"] {
            config(who, &server)?;
        }
        let kubectl = Kubectl::new(&programs, &network, pki.join("admin.conf"));
        // For clients outside; the node's own way is for everybody else.
        fs::write(
            folder.join("outside.conf"),
            authority.kubeconfig_text("admin", &format!("https://{outside}"))?,
        )?;
        let control_plane = ControlPlane::start(&programs, &folder, &network, address)
            .await
            .context("start the control plane")?;
        if let Err(error) = kubectl.until(&["get", "--raw", "/readyz"], READY_LIMIT).await {
            let told = control_plane.last_words();
            control_plane.end().await;
            return Err(error.context(told));
        }
        Ok(Self { programs, disk, authority, server, proxy, kubectl, control_plane })
    }

    /// The kubeconfig of somebody who may do everything, from outside of the VPC.
    pub(crate) fn outside_kubeconfig(&self) -> PathBuf {
        self.disk.join("control-plane/outside.conf")
    }

    /// The same from nodes.
    pub(crate) fn inside_kubeconfig(&self) -> PathBuf {
        self.disk.join("control-plane/pki/admin.conf")
    }

    /// Where nodes reach the API server.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Process id by which the namespaces of the control plane are entered.
    pub(crate) fn enclosure(&self) -> u32 {
        self.control_plane.enclosure()
    }

    /// Starts what makes a node of an instance. It becomes Ready once its network is.
    pub(crate) async fn join(&self, spec: MachineSpec) -> Result<Machine> {
        let name = spec.name.clone();
        self.authority.node(&name)?;
        self.authority.kubeconfig(&name, &self.server)?;
        let folder = self.machine_folder(&name);
        let joined = async {
            let pki = self.authority.folder();
            let machine = Machine::start(&self.programs, pki, &folder, self.proxy, spec).await?;
            match self.kubectl.until(&["get", "node", &name], REGISTER_LIMIT).await {
                Ok(()) => Ok(machine),
                Err(error) => {
                    machine.end().await?;
                    let log = folder.join("kubelet.log");
                    Err(error.context(format!("kubelet does not register: see {}", log.display())))
                }
            }
        };
        joined.await.with_context(|| format!("join node {name}"))
    }

    /// Removes what the cluster knows of a node and what is left on disk, as a cloud's controller does
    /// for an instance that is gone.
    pub(crate) async fn forget(&self, node: &str) -> Result<()> {
        let deleted = self
            .kubectl
            .run(&["delete", "node", node, "--ignore-not-found", "--wait=false"])
            .await
            .map(drop);
        remove_folder(&self.machine_folder(node)).and(deleted)
    }

    /// What each node's condition Ready says, by name: `Ready`, or why not.
    pub(crate) async fn conditions(&self) -> Result<BTreeMap<String, String>> {
        self.kubectl.conditions().await
    }

    /// Ends the control plane.
    pub(crate) async fn end(&self) {
        self.control_plane.end().await;
    }

    fn machine_folder(&self, node: &str) -> PathBuf {
        self.disk.join("nodes").join(node)
    }
}

/// Removes a folder that may be gone.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// Lets clients outside of the VPC reach the API server, until the task is aborted.
pub(crate) async fn forward(listener: TcpListener, network: PathBuf) {
    while let Ok((mut outside, _)) = listener.accept().await {
        let network = network.clone();
        tokio::spawn(async move {
            let connect = move || {
                let at = SocketAddr::from((Ipv4Addr::LOCALHOST, API_PORT));
                let stream = net::netns::within(&network, || std::net::TcpStream::connect(at))?;
                stream.set_nonblocking(true)?;
                Ok::<_, std::io::Error>(stream)
            };
            // A client of an API server that is away is told by the end of its connection.
            let Ok(Ok(stream)) = spawn_blocking(connect).await else { return };
            let Ok(mut inside) = TcpStream::from_std(stream) else { return };
            let _ = copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}
