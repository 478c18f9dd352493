//! A node for real programs: its network, and processes and mounts that end with it.

use crate::image;
use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tests::{
    command::{outcome, run, until},
    world::World,
};
use vpc_sim::world::folder::BASE;

/// Makes the mounts.
const SCRIPT: &str = include_str!("enclosure.sh");

/// Where control groups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What programs find other programs by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Namespaces of processes and mounts on a node of a world. Dropping it ends everything in it.
#[derive(Debug)]
pub(crate) struct Enclosure {
    /// `unshare`, whose only child is the first process within.
    holder: Child,
    network: PathBuf,
    cgroup: String,
}

impl Enclosure {
    /// Makes one with these plugins and network lists, at the places where runtimes look for them.
    pub(crate) fn new(world: &World, node: &str, plugins: &Path, lists: &Path) -> Self {
        let daemon = world.node_folder(node).run();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "slave", "--pid", "--mount-proc"])
            .args(["--fork", "--kill-child", "bash", "-c", SCRIPT, "enclosure", BASE])
            .args([&daemon, plugins, lists])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let stdout = holder.stdout.take().unwrap();
        let network = world.namespace(node, None);
        // A name that no other test has, nor another run; its folder is unique (`scripts/test`).
        let run = std::env::temp_dir();
        let run = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let cgroup = format!("{run}-{}-{node}", world.name());
        let enclosure = Self { holder, network, cgroup };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "the mounts of {node}");
        enclosure
    }

    /// A program that will run within.
    pub(crate) fn command(&self, program: &str) -> Command {
        let own = |namespace: &str| format!("/proc/{}/ns/{namespace}", self.holder.id());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount={}", own("mnt")))
            .arg(format!("--pid={}", own("pid_for_children")))
            .arg(format!("--net={}", self.network.display()))
            .arg(program)
            .current_dir("/")
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root");
        command
    }

    /// Runs a program within to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        outcome(&run(self.command(program).args(arguments), ""))
    }

    /// The image of all pods, as a file within.
    pub(crate) fn image(&self) -> &'static str {
        let within = "/run/image.tar";
        fs::write(self.path(Path::new(within)), image::archive()).unwrap();
        within
    }

    /// A path within, as seen from here.
    pub(crate) fn path(&self, within: &Path) -> PathBuf {
        // A link that is absolute would lead out.
        let real = within.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest));
        let real = real.unwrap_or_else(|_| within.to_owned());
        let rest = real.strip_prefix("/").expect("paths of programs are absolute");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(rest)
    }

    /// Name of the control group of what runs within.
    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        // Its first process ends with its input, the kernel ends all others, and then `unshare`.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        if !std::thread::panicking() {
            until("no control group is left", || self.remove_cgroups());
        } else {
            // A second panic would hide the first.
            let _ = self.remove_cgroups();
        }
    }
}

impl Enclosure {
    /// Removes the control groups, which are outside of every namespace.
    fn remove_cgroups(&self) -> Result<(), String> {
        // One hierarchy for each controller, or one for all of them.
        let hierarchies = fs::read_dir(CGROUPS).map_err(|error| format!("{CGROUPS}: {error}"))?;
        let hierarchies = hierarchies.flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from(CGROUPS)]) {
            let group = hierarchy.join(&self.cgroup);
            remove_tree(&group).map_err(|error| format!("{}: {error}", group.display()))?;
        }
        Ok(())
    }
}

/// Removes a control group and those in it. Their files are not removed.
fn remove_tree(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
