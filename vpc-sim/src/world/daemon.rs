//! The daemon of a node: a process in the node's network, as its DaemonSet would run it.

use super::{World, node::Node, process::Process};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Time that a daemon has to end after SIGTERM: a pod's default `terminationGracePeriodSeconds` is
/// 30, the DaemonSet of the CNI sets 10.
const GRACE: Duration = Duration::from_secs(10);

/// Time that the kernel has to end a process that was killed; it takes milliseconds.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How often a process is looked at that is about to end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The daemon's program beside our own.
const DAEMON: &str = "ipamd";

/// How to start a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonRequest {
    /// On which node.
    pub node: String,
    /// More environment, which wins.
    pub env: BTreeMap<String, String>,
    /// The program; ours beside this one when not given.
    pub bin: Option<PathBuf>,
}

/// A daemon that was started, whether it runs still or not.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Process,
    child: Mutex<Child>,
}

impl World {
    /// Starts the daemon of a node and returns its process id.
    ///
    /// # Errors
    /// There is no such node, its daemon runs already, or the program cannot be run.
    pub async fn start_daemon(&self, request: DaemonRequest) -> Result<i32> {
        let node = self.node(&request.node)?;
        let mut daemon = node.daemon.lock().await;
        if let Some(pid) = daemon.as_ref().and_then(Daemon::pid) {
            bail!("start the daemon of {}: it runs as process {pid}", request.node);
        }
        let bin = match request.bin {
            Some(bin) => bin,
            None => std::env::current_exe().context("find our own program")?.with_file_name(DAEMON),
        };
        let mut env = self.node_env(&node);
        env.extend(request.env);
        let started = Daemon::start(&node, &bin, &env)
            .with_context(|| format!("start {} on {}", bin.display(), request.node))?;
        let pid = started.process.pid;
        node.folder.write_daemon(started.process)?;
        *daemon = Some(started);
        Ok(pid)
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

impl Daemon {
    fn start(node: &Arc<Node>, bin: &PathBuf, env: &BTreeMap<String, String>) -> Result<Self> {
        let path = node.folder.log().join("ipamd.log");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("open {}", path.display()))?;
        let mut command = Command::new(bin);
        command.env_clear().envs(env).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.current_dir("/");
        let mut child = net::netns::within(&node.namespace, || command.spawn())?;
        let process = i32::try_from(child.id()).ok().and_then(Process::of);
        let Some(process) = process else {
            let status = child.wait().context("wait for its end")?;
            bail!("it ended at once with {status}; what it said is in {}", path.display());
        };
        Ok(Self { process, child: Mutex::new(child) })
    }

    /// Its process id, while it runs.
    pub(super) fn pid(&self) -> Option<i32> {
        self.ended().is_none().then_some(self.process.pid)
    }

    async fn stop(self) {
        self.process.signal(Signal::SIGTERM);
        self.ends_within(GRACE).await;
        self.kill().await;
    }

    pub(super) async fn kill(self) {
        self.process.signal(Signal::SIGKILL);
        if !self.ends_within(KILL_LIMIT).await {
            tracing::warn!(pid = self.process.pid, "a killed daemon does not end");
        }
    }

    async fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.ended().is_none() && Instant::now() < deadline {
            sleep(LOOK_EVERY).await;
        }
        self.ended().is_some()
    }

    /// How it ended. It stays known to the kernel until this has said so, so a signal cannot reach
    /// another process.
    fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // The only error is that it was waited for already.
        child.try_wait().unwrap_or_default()
    }
}
