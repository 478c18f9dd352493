//! A simulated VPC of one test: `vpc-sim` and its commands, ended in any case.

use crate::command::{outcome, run, until};
use nix::libc;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::Ipv4Addr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use vpc_sim::world::{
    Folder, NodeFolder,
    control::{self, Location, Request},
    status::{InterfaceStatus, NodeStatus, Status},
};

/// Until a world is ready; it takes a second.
const UP_LIMIT: Duration = Duration::from_secs(60);

/// The zones of the default world.
pub const ZONES: [&str; 2] = ["us-west-2a", "us-west-2b"];

/// Custom networking, with ENIConfigs that are named after zones.
pub const CUSTOM: &[&str] = &[
    "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true",
    "ENI_CONFIG_LABEL_DEF=topology.kubernetes.io/zone",
];

/// The log line of a daemon that serves.
const SERVES: &str = ": serving interfaces=";

/// What it logs that keeps pods away.
const KEPT_BACK: &str = "no network list is installed";

/// The network list of a daemon.
const LIST: &str = "10-aws.conflist";

/// A world. Dropping it ends it, and fails the test when a daemon logged an error.
pub struct World {
    name: String,
    process: Child,
    folder: Folder,
    description: Option<PathBuf>,
}

/// A pod that serves.
#[derive(Clone, Debug)]
pub struct Pod {
    /// The node that it runs on.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its network namespace.
    pub namespace: PathBuf,
}

impl World {
    /// A world as `conf/world.toml` describes it.
    pub fn up() -> Self {
        Self::described_by(None)
    }

    /// A world as a file describes it.
    pub fn described_by(file: Option<&Path>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{count}", std::process::id());
        let folder = Folder::of(&name).unwrap();
        let description = file.map(Path::to_owned);
        let process = start(&name, file);
        // From here on it is ended in any case.
        let mut world = Self { name, process, folder, description };
        wait_until_ready(&mut world);
        world
    }

    /// Makes the world again under its name, after it was killed.
    pub fn restart(&mut self) {
        self.process = start(&self.name, self.description.as_deref());
        wait_until_ready(self);
    }

    /// A world with this node and its daemon, which serves.
    pub fn with_node(node: &str, env: &[&str]) -> Self {
        let world = Self::up();
        world.node_add(node, ZONES[0], &[]);
        world.daemon_start(node, env);
        world
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kills `vpc-sim` with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// `vpc-sim --name NAME …`: its standard output, or what it said went wrong.
    pub fn try_sim(&self, arguments: &[&str]) -> Result<String, String> {
        outcome(&run(&mut self.command(arguments), ""))
    }

    /// The same, when it must succeed.
    #[track_caller]
    pub fn sim(&self, arguments: &[&str]) -> String {
        self.try_sim(arguments).unwrap_or_else(|error| panic!("vpc-sim {arguments:?}: {error}"))
    }

    /// A program in a place, with more environment and this on its stdin.
    pub fn exec(
        &self,
        place: &str,
        program: &[&str],
        env: &[(&str, String)],
        stdin: &str,
    ) -> Output {
        let arguments = [&["exec", place, "--"], program].concat();
        run(self.command(&arguments).envs(env.iter().cloned()), stdin)
    }

    /// Boots a node.
    pub fn node_add(&self, node: &str, zone: &str, more: &[&str]) -> NodeStatus {
        let said = self.sim(&[&["node", "add", node, "--zone", zone], more].concat());
        serde_json::from_str(&said).unwrap()
    }

    /// Terminates a node.
    pub fn node_rm(&self, node: &str) {
        assert_eq!(logged_error(self, node), None);
        self.sim(&["node", "rm", node]);
    }

    /// Reboots a node; its daemon runs again, if it ran.
    pub fn node_reboot(&self, node: &str) -> NodeStatus {
        serde_json::from_str(&self.sim(&["node", "reboot", node])).unwrap()
    }

    /// Stops a node.
    pub fn node_stop(&self, node: &str) {
        self.sim(&["node", "stop", node]);
    }

    /// Starts a stopped node, with another type if one is given, and its daemon if that ran.
    pub fn node_start(&self, node: &str, instance_type: Option<&str>) -> NodeStatus {
        let of_type = instance_type.into_iter().flat_map(|it| ["--type", it]);
        let arguments: Vec<_> = ["node", "start", node].into_iter().chain(of_type).collect();
        serde_json::from_str(&self.sim(&arguments)).unwrap()
    }

    /// Starts a daemon and waits until it serves, and pods can come or are kept away.
    pub fn daemon_start(&self, node: &str, env: &[&str]) {
        self.daemon_start_with(node, &[], env);
    }

    /// The same with more arguments.
    pub fn daemon_start_with(&self, node: &str, more: &[&str], env: &[&str]) {
        let before = self.log(node).len();
        let env: Vec<&str> = env.iter().flat_map(|pair| ["--env", pair]).collect();
        self.sim(&[&["daemon", "start", node], more, &env].concat());
        until("the daemon serves", || {
            let log = self.log(node);
            let is_over = has_list(self, node) || log[before..].contains(KEPT_BACK);
            let serves = log[before..].contains(SERVES);
            if serves && is_over { Ok(()) } else { Err(log[before..].to_owned()) }
        });
    }

    /// Stops a daemon as Kubernetes does.
    pub fn daemon_stop(&self, node: &str) {
        self.sim(&["daemon", "stop", node]);
    }

    /// Kills a daemon. A program that it was about to start may have its socket for a moment longer.
    pub fn daemon_kill(&self, node: &str) {
        self.sim(&["daemon", "kill", node]);
        let socket = self.node_folder(node).run().join(rpc::SOCKET_NAME);
        until("nobody listens", || match UnixStream::connect(&socket) {
            // It listens for packets, not for streams.
            Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => Err(error.to_string()),
            _ => Ok(()),
        });
    }

    /// What the daemons of a node have logged.
    pub fn log(&self, node: &str) -> String {
        read(&self.node_folder(node).log().join("ipamd.log"))
    }

    /// Starts a pod that serves; or what its event says.
    pub fn try_pod_add(&self, node: &str, name: &str) -> Result<Pod, String> {
        let said = self.try_sim(&["pod", "add", node, name, "--serve"])?;
        let result: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
        let namespace = self.namespace(node, Some(name));
        Ok(Pod { node: node.into(), name: name.into(), address: address(&result), namespace })
    }

    /// The same, when it must succeed.
    #[track_caller]
    pub fn pod_add(&self, node: &str, name: &str) -> Pod {
        self.try_pod_add(node, name).unwrap_or_else(|error| panic!("pod {name} on {node}: {error}"))
    }

    /// Stops a pod.
    pub fn pod_rm(&self, pod: &Pod) {
        self.sim(&["pod", "rm", &pod.node, &pod.name]);
    }

    /// The network namespace of a node or a pod.
    pub fn namespace(&self, node: &str, pod: Option<&str>) -> PathBuf {
        let request =
            Request::Locate { node: node.into(), namespace: None, pod: pod.map(str::to_owned) };
        let located = control::ask(&self.folder, &request).unwrap();
        serde_json::from_value::<Location>(located).unwrap().namespace
    }

    /// The folder of a node.
    pub fn node_folder(&self, node: &str) -> NodeFolder {
        self.folder.node(node)
    }

    /// The folder of the world.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the world tells about itself.
    pub fn status(&self) -> Status {
        serde_json::from_str(&self.sim(&["status", "--json"])).unwrap()
    }

    /// What the world tells about a node.
    #[track_caller]
    pub fn node(&self, name: &str) -> NodeStatus {
        let mut nodes = self.status().nodes.into_iter();
        nodes.find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    /// The interfaces of a node that are not its primary one.
    pub fn more_interfaces(&self, node: &str) -> Vec<InterfaceStatus> {
        let all = self.node(node).interfaces.into_iter();
        all.filter(|interface| interface.device_index != 0).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::binary("vpc-sim"));
        command.args(["--name", &self.name]).args(arguments);
        command
    }
}

fn wait_until_ready(world: &mut World) {
    let stdout = world.process.stdout.take().unwrap();
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        sender.send(line)
    });
    let line = ready.recv_timeout(UP_LIMIT).expect("a world is ready within a minute");
    let said: Value =
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("vpc-sim up: {error}: {line:?}"));
    assert_eq!(said["name"], world.name.as_str());
}

/// What a daemon logged that nobody expects.
fn logged_error(world: &World, node: &str) -> Option<String> {
    let log = world.log(node);
    let wrong = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
    log.lines().find(wrong).map(|line| format!("{node}: {line}"))
}

#[expect(clippy::print_stderr, reason = "whoever reads why a test failed needs it")]
fn tell(world: &World) {
    eprintln!("── world {}\n{}", world.name, read(&log_path(&world.name)));
    match world.try_sim(&["status"]) {
        Ok(status) => eprintln!("{status}"),
        Err(error) => eprintln!("{error}"),
    }
    eprintln!("{}", world.try_sim(&["calls"]).unwrap_or_default());
    for node in nodes(world) {
        eprintln!("── ipamd on {node}\n{}", world.log(&node));
    }
}

/// Names of nodes that have a folder, also after the world was killed.
fn nodes(world: &World) -> Vec<String> {
    let folders = fs::read_dir(world.folder().join("nodes")).into_iter().flatten().flatten();
    folders.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

impl Drop for World {
    fn drop(&mut self) {
        if thread::panicking() {
            tell(self);
        }
        let logged = nodes(self).into_iter().find_map(|node| logged_error(self, &node));
        let down = self.try_sim(&["down"]);
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(log_path(&self.name));
        // A second panic would hide the first.
        if !thread::panicking() {
            assert_eq!(down, Ok(String::new()), "end world {}", self.name);
            assert_eq!(logged, None);
        }
    }
}

/// Gives a node a network list before its daemon starts, as one has that was Ready before.
pub fn list_from_before(world: &World, node: &str) {
    let list = fs::read(crate::repository().join("conf").join(LIST)).unwrap();
    fs::write(world.node_folder(node).cni_conf().join(LIST), list).unwrap();
}

/// Whether a node has the daemon's network list.
pub fn has_list(world: &World, node: &str) -> bool {
    world.node_folder(node).cni_conf().join(LIST).exists()
}

/// Waits until the daemons of a node have logged this so often; a daemon writes its lines a moment
/// after what they tell of.
#[track_caller]
pub fn logged(world: &World, node: &str, text: &str, times: usize) {
    until("the daemon logs it", || {
        let log = world.log(node);
        if log.matches(text).count() == times { Ok(()) } else { Err(log) }
    });
}

/// The first address of a CNI result.
pub fn address(result: &Value) -> Ipv4Addr {
    let cidr = result["ips"][0]["address"].as_str().unwrap_or_default();
    cidr.trim_end_matches("/32").parse().unwrap_or_else(|error| panic!("{error}: {result}"))
}

fn start(world: &str, description: Option<&Path>) -> Child {
    Command::new(crate::binary("vpc-sim"))
        .args(["up", "--name", world, "--until-eof"])
        .args(description.into_iter().flat_map(|file| [Path::new("--world"), file]))
        // Ours to the end of this process, whatever ends it: the world ends with it.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(log_path(world)).unwrap())
        .spawn()
        .unwrap()
}

/// Where `vpc-sim up` logs.
fn log_path(world: &str) -> PathBuf {
    std::env::temp_dir().join(format!("vpc-sim-{world}.log"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
