//! The daemon of a node: a process in the node's network, as its DaemonSet would run it.

use super::{
    World,
    cluster::must_be_built_in,
    node::Node,
    running::{Daemon, DaemonRequest},
};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, path::PathBuf};

/// The daemon's program beside our own.
const DAEMON: &str = "ipamd";

impl World {
    /// Starts the daemon of a node and returns its process id.
    ///
    /// # Errors
    /// There is no such node, its daemon runs already, or the program cannot be run.
    pub async fn start_daemon(&self, request: DaemonRequest) -> Result<i32> {
        must_be_built_in(self, "start a daemon")?;
        let node = self.running_node(&request.node)?;
        let mut daemon = node.daemon.lock().await;
        if let Some(pid) = daemon.as_ref().and_then(Daemon::pid) {
            bail!("start the daemon of {}: it runs as process {pid}", request.node);
        }
        let again = request.clone();
        let bin = match request.bin {
            Some(bin) => bin,
            None => std::env::current_exe().context("find our own program")?.with_file_name(DAEMON),
        };
        let mut env = self.node_env(&node);
        env.extend(request.env);
        env.retain(|key, _| !request.unset.contains(key));
        let started = Daemon::start(&node.folder, &node.namespace, &bin, &env)
            .with_context(|| format!("start {} on {}", bin.display(), request.node))?;
        let process = started.process();
        node.folder.write_daemon(process)?;
        *daemon = Some(started);
        *node.lock_daemon_request() = Some(again);
        Ok(process.pid)
    }

    /// Ends the daemon of a node as Kubernetes does: asks, waits, and kills it if it must. One that
    /// does not run has ended.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn stop_daemon(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        if let Some(daemon) = node.daemon.lock().await.take() {
            daemon.stop().await;
        }
        Ok(())
    }

    /// Kills the daemon of a node with SIGKILL. One that does not run has ended.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn kill_daemon(&self, node: &str) -> Result<()> {
        let node = self.node(node)?;
        if let Some(daemon) = node.daemon.lock().await.take() {
            daemon.kill().await;
        }
        Ok(())
    }

    /// The whole environment of what runs on a node.
    pub(super) fn node_env(&self, node: &Node) -> BTreeMap<String, String> {
        let kept = ["PATH", "HOME"].into_iter();
        let kept = kept.filter_map(|key| Some((key.to_owned(), std::env::var(key).ok()?)));
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let folder = &node.folder;
        let ours = [
            ("AWS_ENDPOINT_URL_EC2", self.summary.inside.ec2.clone()),
            ("KUBECONFIG", path(self.folder().node_kubeconfig())),
            ("MY_NODE_NAME", node.name.clone()),
            ("HOST_CNI_BIN_PATH", path(folder.cni_bin())),
            ("HOST_CNI_CONFDIR_PATH", path(folder.cni_conf())),
            ("ENI_CNI_RUN_DIR", path(folder.run())),
            ("AWS_VPC_K8S_CNI_LOG_FILE", "stdout".into()),
            ("AWS_VPC_K8S_PLUGIN_LOG_FILE", path(folder.log().join("plugin.log"))),
        ];
        kept.chain(ours.map(|(key, value)| (key.to_owned(), value))).collect()
    }
}
