//! A machine for real programs: processes, mounts and a name of its own, which end with who made it.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsString,
    fs, io,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};
use tokio::task::spawn_blocking;

/// Makes the mounts.
const SCRIPT: &str = include_str!("enclosure.sh");

/// Where control groups are.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Time that the kernel has to end the processes of control groups: some milliseconds each.
const GROUP_LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Namespaces of processes, mounts and names, and a network.
#[derive(Debug)]
pub(super) struct Enclosure {
    /// `unshare`, whose only child is the first process within.
    holder: Mutex<Child>,
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
        let enclosure =
            Self { holder: Mutex::new(holder), pid, network: network.to_owned(), search_path };
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
    pub(super) fn end(&self) {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        // Its first process ends with its input, the kernel ends all others, and then `unshare`.
        drop(holder.stdin.take());
        let _ = holder.wait();
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        self.end();
    }
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
    format!("{}{node}", prefix(disk))
}

fn prefix(disk: &Path) -> String {
    let name = |path: Option<&Path>| {
        let name = path.and_then(Path::file_name).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    format!("{}-{}-", name(disk.parent()), name(Some(disk)))
}

/// Every hierarchy: one for each controller, or one for all of them.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(CONTROL_GROUPS);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

/// Makes a node's control group, which kubelet wants to find.
pub(super) fn make_control_group(name: &str) -> Result<()> {
    let root = Path::new(CONTROL_GROUPS);
    for hierarchy in hierarchies() {
        // Beside those of the first version, that of the second has no controller.
        if hierarchy != root && hierarchy.join("cgroup.controllers").exists() {
            continue;
        }
        let group = hierarchy.join(name);
        let made = match fs::create_dir(&group) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        made.with_context(|| format!("make control group {}", group.display()))?;
        // A group of the first version has no processor and no memory until it is given some.
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (hierarchy.join(setting), group.join(setting));
            if from.exists() && to.exists() {
                let value = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
                fs::write(&to, value).with_context(|| format!("write {}", to.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes the control groups of all nodes whose files are below `disk`, or of one.
///
/// # Errors
/// A process lives in one after [`GROUP_LIMIT`].
pub(crate) fn remove_control_groups(disk: &Path, node: Option<&str>) -> Result<()> {
    let deadline = Instant::now() + GROUP_LIMIT;
    let wanted = node.map(|node| control_group(disk, node));
    let prefix = prefix(disk);
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = wanted.as_ref().map_or_else(|| name.starts_with(&prefix), |it| name == *it);
            while ours && let Err(error) = remove_tree(&entry.path()) {
                if Instant::now() > deadline {
                    return Err(error).with_context(|| {
                        format!("remove control group {}", entry.path().display())
                    });
                }
                thread::sleep(LOOK_EVERY);
            }
        }
    }
    Ok(())
}

/// Removes a control group and those in it. Their files are not removed.
fn remove_tree(group: &Path) -> io::Result<()> {
    let gone = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    let entries = match fs::read_dir(group) {
        Err(error) => return gone(Err(error)),
        Ok(entries) => entries,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    gone(fs::remove_dir(group))
}
