//! A daemon as a process: how it starts, whether it runs, how it ends.

use super::{
    folder::NodeFolder,
    process::{KILL_LIMIT, Process},
};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Time that a daemon has to end after SIGTERM: a pod's default `terminationGracePeriodSeconds` is
/// 30, the DaemonSet of the CNI sets 10.
const GRACE: Duration = Duration::from_secs(10);

/// How often a process is looked at that is about to end.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How to start a daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonRequest {
    /// On which node.
    pub node: String,
    /// More environment, which wins.
    pub env: BTreeMap<String, String>,
    /// Variables that it does not get, though every daemon here does.
    #[serde(default)]
    pub unset: Vec<String>,
    /// The program; ours beside this one when not given.
    pub bin: Option<PathBuf>,
}

/// A daemon that was started, whether it runs still or not.
#[derive(Debug)]
pub(super) struct Daemon {
    process: Process,
    child: Mutex<Child>,
}

impl Daemon {
    /// Starts the program within a network, with its log in the node's folder.
    pub(super) fn start(
        folder: &NodeFolder,
        network: &Path,
        bin: &Path,
        env: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let path = folder.log().join("ipamd.log");
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("open {}", path.display()))?;
        let mut command = Command::new(bin);
        command.env_clear().envs(env).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.current_dir("/");
        let mut child = net::netns::within(network, || command.spawn())?;
        let process = i32::try_from(child.id()).ok().and_then(Process::of);
        let Some(process) = process else {
            let status = child.wait().context("wait for its end")?;
            bail!("it ended at once with {status}; what it said is in {}", path.display());
        };
        Ok(Self { process, child: Mutex::new(child) })
    }

    /// The process, also when it has ended.
    pub(super) fn process(&self) -> Process {
        self.process
    }

    /// Its process id, while it runs.
    pub(super) fn pid(&self) -> Option<i32> {
        self.ended().is_none().then_some(self.process.pid)
    }

    /// Asks it to end, and kills it if it must.
    pub(super) async fn stop(self) {
        self.process.signal(Signal::SIGTERM);
        self.ends_within(GRACE).await;
        self.kill().await;
    }

    /// Kills it.
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
