//! The folder of a world: who owns it, what is where, and what a killed world left.

use super::{
    process::{KILL_LIMIT, Process},
    status::Summary,
};
use crate::{cluster, control_groups, fabric::Fabric};
use anyhow::{Context, Result, bail};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::Signal,
};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Where worlds have their folders.
pub const BASE: &str = "/run/vpc-sim";

/// Only root looks into a world: it holds sockets that run commands.
const PRIVATE: u32 = 0o700;

/// The paths of a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    name: String,
    path: PathBuf,
}

/// A folder that belongs to this process. No other process makes a world of this name meanwhile.
/// Dropping it removes everything of the world, as far as that works.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) folder: Folder,
    // Locked until this is dropped or the process ends, however it ends.
    _lock: Flock<File>,
    /// The name is given up: what is there now is not ours.
    removed: AtomicBool,
}

/// The paths of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFolder(PathBuf);

impl Folder {
    /// The folder of the world with this name, whether it exists or not.
    ///
    /// # Errors
    /// The name is no name of a world.
    pub fn of(world: &str) -> Result<Self> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if world.is_empty() || world.starts_with('-') || !world.chars().all(legal) {
            bail!("`{world}` cannot name a world: use small letters, digits and `-`");
        }
        Ok(Self { name: world.into(), path: Path::new(BASE).join(world) })
    }

    /// Name of the world.
    pub fn world(&self) -> &str {
        &self.name
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kubeconfig for clients outside of the VPC.
    pub fn kubeconfig(&self) -> PathBuf {
        self.path.join("kubeconfig")
    }

    /// Kubeconfig for clients on nodes.
    pub fn node_kubeconfig(&self) -> PathBuf {
        self.path.join("kubeconfig.node")
    }

    /// The socket that takes commands.
    pub fn control(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Which process runs the world, and its endpoints.
    pub fn summary(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// What a world in the background logs; beside the folder, so that it tells also why none came.
    pub fn log(&self) -> PathBuf {
        Path::new(BASE).join(format!("{}.log", self.name))
    }

    /// Opens the log; what is in it stays.
    pub(crate) fn open_log(&self) -> Result<File> {
        self.only_root()?;
        make_private(Path::new(BASE))?;
        let path = self.log();
        let opened = OpenOptions::new().create(true).append(true).open(&path);
        opened.with_context(|| format!("open {}", path.display()))
    }

    /// Makes the folder of what is too large for memory. Where it is, is on record before it exists.
    pub(crate) fn make_disk(&self) -> Result<PathBuf> {
        let disk = std::env::temp_dir().join(format!("vpc-sim-{}", self.name));
        if disk.starts_with("/run") {
            bail!("TMPDIR is below /run, of which every node has its own: choose another");
        }
        let path = self.disk_record();
        fs::write(&path, serde_json::to_vec(&disk)?)
            .with_context(|| format!("write {}", path.display()))?;
        remove_tree(&disk)?;
        make_private(&disk)?;
        Ok(disk)
    }

    fn disk_record(&self) -> PathBuf {
        self.path.join("disk.json")
    }

    /// The folder of a node.
    pub fn node(&self, node: &str) -> NodeFolder {
        NodeFolder(self.path.join("nodes").join(node))
    }

    /// The process that made the world of this name last, whether it runs still or not.
    pub fn process(&self) -> Option<Process> {
        self.read_summary().map(|it| it.process)
    }

    /// Removes what a world of this name left.
    ///
    /// # Errors
    /// It runs, or something cannot be removed.
    pub fn remove(&self) -> Result<()> {
        self.claim()?.remove()?;
        gone(&self.log(), fs::remove_file(self.log()))
    }

    fn only_root(&self) -> Result<()> {
        if !nix::unistd::geteuid().is_root() {
            bail!("make world {}: only root can make network namespaces", self.name);
        }
        Ok(())
    }

    fn read_summary(&self) -> Option<Summary> {
        serde_json::from_slice(&fs::read(self.summary()).ok()?).ok()
    }

    /// Takes the name for this process and removes what a killed world of this name left.
    ///
    /// # Errors
    /// A world of this name runs, or something cannot be removed.
    pub(crate) fn claim(&self) -> Result<Claimed> {
        self.only_root()?;
        let lock = self.lock()?;
        self.clean_up().with_context(|| format!("remove what world {} left", self.name))?;
        make_private(&self.path)?;
        Ok(Claimed { folder: self.clone(), _lock: lock, removed: AtomicBool::new(false) })
    }

    fn lock_path(&self) -> PathBuf {
        Path::new(BASE).join(format!("{}.lock", self.name))
    }

    fn lock(&self) -> Result<Flock<File>> {
        let path = self.lock_path();
        loop {
            make_private(Path::new(BASE))?;
            let file = match OpenOptions::new().create(true).append(true).open(&path) {
                // The last world that ran took the folder with it.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                opened => opened.with_context(|| format!("open {}", path.display()))?,
            };
            let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
                let owner = self.read_summary();
                let owner = owner.map(|it| format!(" in process {}", it.process.pid));
                bail!(
                    "world {} already runs{}: choose another --name, or end it with \
                     `vpc-sim down --name {}`",
                    self.name,
                    owner.unwrap_or_default(),
                    self.name
                );
            };
            // The owner before us removes the file when it ends; a lock on that file is none.
            let same = |at: fs::Metadata| lock.metadata().is_ok_and(|it| it.ino() == at.ino());
            if fs::metadata(&path).is_ok_and(same) {
                return Ok(lock);
            }
        }
    }

    fn clean_up(&self) -> Result<()> {
        for node in self.nodes() {
            if let Some(daemon) = node.read_daemon() {
                daemon.signal(Signal::SIGKILL);
                if !daemon.ends_within(KILL_LIMIT) {
                    tracing::warn!(pid = daemon.pid, "a killed daemon does not end");
                }
            }
        }
        // What one step cannot remove keeps no other from its work.
        let namespaces = Fabric::clean_up(&self.name).map(drop);
        let disk: Option<PathBuf> =
            fs::read(self.disk_record()).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let disk = disk.map_or(Ok(()), |disk| {
            let prefix = cluster::control_groups_of(&disk);
            control_groups::remove(|name| name.starts_with(&prefix)).and(remove_tree(&disk))
        });
        remove_tree(&self.path).and(namespaces).and(disk)
    }

    fn nodes(&self) -> Vec<NodeFolder> {
        let entries = fs::read_dir(self.path.join("nodes")).into_iter().flatten();
        entries.flatten().map(|entry| NodeFolder(entry.path())).collect()
    }
}

impl Claimed {
    /// Removes everything of this world, and gives up the name.
    pub(crate) fn remove(&self) -> Result<()> {
        self.folder.clean_up()?;
        let path = self.folder.lock_path();
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        self.removed.store(true, Ordering::Relaxed);
        // The folder of worlds stays: whatever is mounted on it elsewhere would go with it.
        Ok(())
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // The owner panicked, or forgot to.
        if !self.removed.load(Ordering::Relaxed)
            && let Err(error) = self.remove()
        {
            tracing::warn!("remove world {}: {error:#}", self.folder.name);
        }
    }
}

impl NodeFolder {
    /// Makes the folder and those in it.
    pub(crate) fn create(&self) -> Result<()> {
        for folder in [self.cni_bin(), self.cni_conf(), self.run(), self.log(), self.results()] {
            make_private(&folder)?;
        }
        Ok(())
    }

    /// Removes the folder.
    pub(crate) fn remove(&self) -> Result<()> {
        remove_tree(&self.0)
    }

    /// Empties the run folder.
    pub(crate) fn forget_run(&self) -> Result<()> {
        remove_tree(&self.run())?;
        make_private(&self.run())
    }

    /// Where the node's CNI plugins are installed.
    pub fn cni_bin(&self) -> PathBuf {
        self.0.join("cni/bin")
    }

    /// Where the node's network configurations are.
    pub fn cni_conf(&self) -> PathBuf {
        self.0.join("cni/net.d")
    }

    /// Sockets and state of the daemon.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// What daemon and plugin print.
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The container runtime's cached results.
    pub fn results(&self) -> PathBuf {
        self.0.join("results")
    }

    /// Records which process is the node's daemon.
    pub(crate) fn write_daemon(&self, daemon: Process) -> Result<()> {
        let path = self.daemon();
        fs::write(&path, serde_json::to_vec(&daemon)?)
            .with_context(|| format!("write {}", path.display()))
    }

    fn read_daemon(&self) -> Option<Process> {
        serde_json::from_slice(&fs::read(self.daemon()).ok()?).ok()
    }

    fn daemon(&self) -> PathBuf {
        self.0.join("daemon.json")
    }
}

fn make_private(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(PRIVATE).create(path);
    made.with_context(|| format!("make folder {}", path.display()))
}

fn remove_tree(path: &Path) -> Result<()> {
    gone(path, fs::remove_dir_all(path))
}

/// What was not there is removed as well.
fn gone(path: &Path, removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}
