//! A world whose Kubernetes is a real one.

use super::{
    NodeRequest, World, node,
    status::{NodeStatus, Summary},
};
use crate::cluster::{self, CONTROL_PLANE, Cluster, ClusterSpec, Programs, ProxyMode};
use anyhow::{Context, Result, bail};
use std::{fs, net::SocketAddr, path::PathBuf};
use tokio::net::TcpListener;

/// What a cluster is made of, before it exists.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) programs: Programs,
    pub(super) proxy: ProxyMode,
    /// For clients outside of the VPC.
    pub(super) listener: TcpListener,
}

/// Boots the node of the control plane and starts that. When this returns, the API answers.
pub(super) async fn start(world: &mut World, wanted: Wanted) -> Result<()> {
    let Wanted { programs, proxy, listener } = wanted;
    let disk = world.folder().make_disk()?;
    let request = NodeRequest { name: CONTROL_PLANE.into(), ..NodeRequest::default() };
    let NodeStatus { address, .. } = node::boot_machine(world, &request).await?;
    let network = world.node(CONTROL_PLANE)?.namespace.clone();
    let outside = listener.local_addr().context("address of a listener")?;
    world.spawn(cluster::forward(listener, network.clone()));
    let spec = ClusterSpec { programs, disk, network, address, outside, proxy };
    let cluster = Cluster::start(spec).await?;
    tell(world, &cluster, outside)?;
    world.cluster = Some(cluster);
    Ok(())
}

/// Refuses what only a world with the small Kubernetes can do.
///
/// # Errors
/// Kubernetes is a real one.
pub(super) fn must_be_built_in(world: &World, what: &str) -> Result<()> {
    if world.cluster.is_some() {
        let config = world.folder().kubeconfig();
        bail!(
            "{what}: Kubernetes is a real one in this world, ask it: kubectl --kubeconfig {}",
            config.display()
        );
    }
    Ok(())
}

fn tell(world: &mut World, cluster: &Cluster, outside: SocketAddr) -> Result<()> {
    let folder = world.folder().clone();
    for (from, to) in [
        (cluster.outside_kubeconfig(), folder.kubeconfig()),
        (cluster.inside_kubeconfig(), folder.node_kubeconfig()),
    ] {
        fs::copy(&from, &to)
            .with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    }
    let Summary { outside: without, inside: within, .. } = &mut world.summary;
    without.kubernetes = format!("https://{outside}");
    cluster.server().clone_into(&mut within.kubernetes);
    super::write_summary(&folder, &world.summary)
}

/// Programs of a folder that a file or the command line names.
///
/// # Errors
/// Something is missing.
pub(super) async fn wanted(folder: Option<PathBuf>, proxy: ProxyMode) -> Result<Option<Wanted>> {
    let Some(folder) = folder else { return Ok(None) };
    let programs = Programs::find(&folder)?;
    Ok(Some(Wanted { programs, proxy, listener: super::serve::listen_outside().await? }))
}
