//! containerd on a node of a world, with the plugin and the network list that the daemon installed.

use crate::{
    cri::{Cri, Wanted},
    enclosure::Enclosure,
    grpc::Refusal,
    image,
    shim::Shim,
};
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::Pid,
};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};
use tests::{
    command::until,
    http,
    world::{Pod, World},
};

/// Its folders within the enclosure.
const FOLDER: &str = "/run/containerd";

/// A node of a world whose runtime is containerd. Dropping it ends all of it.
pub(crate) struct Containerd<'a> {
    pub(crate) cri: Cri,
    pub(crate) enclosure: Enclosure,
    world: &'a World,
    node: String,
    process: Option<Child>,
    log: PathBuf,
}

impl<'a> Containerd<'a> {
    /// Starts it with what the daemon of the node installed, and with what is beside that.
    pub(crate) fn on(world: &'a World, node: &str) -> Self {
        let folder = world.node_folder(node);
        Self::with(world, node, &folder.cni_bin(), &folder.cni_conf())
    }

    /// Starts it with other plugins and network lists.
    pub(crate) fn with(world: &'a World, node: &str, plugins: &Path, lists: &Path) -> Self {
        let enclosure = Enclosure::new(world, node, plugins, lists);
        let within = Path::new(FOLDER);
        fs::create_dir_all(enclosure.path(within)).unwrap();
        fs::write(enclosure.path(&within.join("config.toml")), settings()).unwrap();
        let socket = enclosure.path(&within.join("containerd.sock"));
        let cri = Cri { socket, cgroup: format!("/{}", enclosure.cgroup()) };
        let log = world.folder().join(format!("containerd-{node}.log"));
        let mut containerd =
            Self { cri, enclosure, world, node: node.to_owned(), process: None, log };
        containerd.start();
        containerd.import();
        containerd
    }

    /// Starts it with a shim before the plugin.
    pub(crate) fn behind_shim(world: &'a World, node: &str) -> (Shim, Self) {
        let shim = Shim::new(world, node);
        let lists = world.node_folder(node).cni_conf();
        let containerd = Self::with(world, node, &shim.plugins(), &lists);
        (shim, containerd)
    }

    /// Starts it, after it was killed.
    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let process = self
            .enclosure
            .command("containerd")
            .args(["--config", &format!("{FOLDER}/config.toml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        until("containerd and its network are ready", || self.cri.is_ready());
    }

    /// Kills it with SIGKILL. What it started lives on.
    pub(crate) fn kill(&mut self) {
        let socket = UnixStream::connect(&self.cri.socket).unwrap();
        let credentials = getsockopt(&socket, PeerCredentials).unwrap();
        kill(Pid::from_raw(credentials.pid()), Signal::SIGKILL).unwrap();
        let mut process = self.process.take().expect("it was started");
        process.wait().unwrap();
    }

    fn import(&self) {
        let image = self.enclosure.image();
        self.ctr("k8s.io", &["images", "import", image]).unwrap();
    }

    /// containerd's own client, with the namespace of containerd that it uses.
    pub(crate) fn ctr(&self, namespace: &str, arguments: &[&str]) -> Result<String, String> {
        let socket = format!("{FOLDER}/containerd.sock");
        let global = ["--address", &socket, "--namespace", namespace];
        self.enclosure.run("ctr", &[&global, arguments].concat())
    }

    /// Starts a pod that serves; or what kubelet's event would say.
    pub(crate) fn try_pod(&self, wanted: &Wanted<'_>) -> Result<(String, Pod), Refusal> {
        let id = self.cri.run(wanted)?;
        Ok((id.clone(), self.pod(&id, wanted.name)?))
    }

    /// Starts a pod of this name: its sandbox, and as whom others see it.
    #[track_caller]
    pub(crate) fn run(&self, name: &str) -> (String, Pod) {
        let wanted = Wanted { name, ..Wanted::default() };
        self.try_pod(&wanted).unwrap_or_else(|error| panic!("pod {name} on {}: {error}", self.node))
    }

    /// Ends a pod as kubelet does.
    #[track_caller]
    pub(crate) fn end(&self, id: &str) {
        self.cri.stop(id).unwrap_or_else(|error| panic!("stop {id} on {}: {error}", self.node));
        self.cri.remove(id).unwrap_or_else(|error| panic!("remove {id} on {}: {error}", self.node));
    }

    /// A sandbox as a pod of the world.
    fn pod(&self, id: &str, name: &str) -> Result<Pod, Refusal> {
        let sandbox = self.cri.sandbox(id)?;
        let (address, namespace) = (sandbox.address, sandbox.namespace);
        let namespace = self.enclosure.path(&namespace.expect("it has a network namespace"));
        // Its program may just have begun; that is not the network's.
        until("the pod serves itself", || {
            let asked = http::get_within(&namespace, SocketAddr::from((Ipv4Addr::LOCALHOST, 80)));
            asked.map(drop).map_err(|error| error.to_string())
        });
        Ok(Pod {
            node: self.node.clone(),
            name: name.to_owned(),
            address: address.expect("a sandbox that runs has an address"),
            namespace,
        })
    }
}

impl Drop for Containerd<'_> {
    #[expect(clippy::print_stderr, reason = "whoever reads why a test failed needs it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("── containerd on {} in {}\n{log}", self.node, self.world.name());
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// containerd's settings: everything below its own folder, and nothing that needs a capability that
/// machines for tests lack.
fn settings() -> String {
    let image = image::NAME;
    format!(
        r#"version = 2
root = "{FOLDER}/root"
state = "{FOLDER}/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{FOLDER}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "{image}"
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
max_conf_num = 1
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
BinaryName = "runc"
"#
    )
}
