//! A machine for real programs: processes, mounts and a name of its own, which end with who made it.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::task::spawn_blocking;

/// Makes the mounts.
const SCRIPT: &str = include_str!("enclosure.sh");

/// Namespaces of processes, mounts and names, and a network.
#[derive(Debug)]
pub(super) struct Enclosure {
    /// `unshare`, whose only child is the first process within.
    holder: Arc<Mutex<Child>>,
    pid: u32,
    network: PathBuf,
    search_path: String,
}

impl Enclosure {
    /// Makes one whose files are below `disk`.
    pub(super) async fn new(
        name: &str,
        disk: &Path,
        network: &Path,
        search_path: String,
    ) -> Result<Self> {
        let log = disk.join("enclosure.log");
        let stderr = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--uts", "--propagation", "slave", "--pid", "--mount-proc"])
            .args(["--fork", "--kill-child", "bash", "-c", SCRIPT, "enclosure"])
            .arg(disk)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut holder = command.spawn().context("start unshare")?;
        let stdout = holder.stdout.take().context("its output")?;
        let pid = holder.id();
        let enclosure = Self {
            holder: Arc::new(Mutex::new(holder)),
            pid,
            network: network.to_owned(),
            search_path,
        };
        let line = spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        if line.await.context("wait for the mounts")?? != "ready\n" {
            let said = fs::read_to_string(&log).unwrap_or_default();
            bail!("make the mounts of {name}: {}", said.trim());
        }
        Ok(enclosure)
    }

    /// A program that will run within.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("nsenter");
        command.args(enter(self.pid, &self.network)).arg(program).current_dir("/");
        command.env_clear().env("PATH", &self.search_path).env("HOME", "/root");
        command
    }

    /// Process id by which others enter.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends everything within, and waits for it.
    pub(super) async fn end(&self) {
        let holder = Arc::clone(&self.holder);
        // It fails only where the world ends, which ends all of it.
        let _ = spawn_blocking(move || end(&holder)).await;
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        end(&self.holder);
    }
}

fn end(holder: &Mutex<Child>) {
    let mut holder = holder.lock().unwrap_or_else(PoisonError::into_inner);
    // Its first process ends with its input, the kernel ends all others, and then `unshare`.
    drop(holder.stdin.take());
    let _ = holder.wait();
}

/// What `nsenter` is told, to be within.
pub(crate) fn enter(pid: u32, network: &Path) -> Vec<OsString> {
    let of = |option: &str, path: PathBuf| {
        let mut argument = OsString::from(format!("--{option}="));
        argument.push(path);
        argument
    };
    let own = |namespace: &str| PathBuf::from(format!("/proc/{pid}/ns/{namespace}"));
    vec![
        of("mount", own("mnt")),
        of("uts", own("uts")),
        of("pid", own("pid_for_children")),
        of("net", network.to_owned()),
    ]
}

/// The name of a node's control group: that of the folder of all files and that of its own, so that it
/// is unique where the folder is.
pub(super) fn control_group(disk: &Path, node: &str) -> String {
    format!("{}{node}", control_groups_of(disk))
}

/// What the names of all nodes' control groups begin with whose files are below `disk`.
pub(crate) fn control_groups_of(disk: &Path) -> String {
    let name = |path: Option<&Path>| {
        let name = path.and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    format!("{}-{}-", name(disk.parent()), name(Some(disk)))
}
