//! A node for real programs: its network, and processes and mounts that end with it.

use crate::image;
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tests::{
    command::{outcome, run},
    world::World,
};
use vpc_sim::{control_groups, world::folder::BASE};

/// Makes the mounts.
const SCRIPT: &str = include_str!("enclosure.sh");

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
        let removed = control_groups::remove(|name| name == self.cgroup);
        // A second panic would hide the first.
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}
