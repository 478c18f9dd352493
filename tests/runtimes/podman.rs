//! podman and `ctr`, which call plugins in other ways than Kubernetes does.

use crate::{
    containerd::Containerd,
    enclosure::Enclosure,
    image,
    nodes::{TIGHT, tight},
    shim::{Call, Shim},
};
use serde_json::Value;
use std::{fs, net::Ipv4Addr, path::Path};
use tests::{
    command::until,
    world::{CUSTOM, Pod, World},
};

/// podman on a machine without systemd, with the network that the daemon installs.
const SETTINGS: &str = r#"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
default_network = "aws-cni"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
[containers]
default_ulimits = []
"#;

/// A node whose runtime is podman.
struct Podman {
    enclosure: Enclosure,
}

impl Podman {
    fn on(world: &World, shim: &Shim) -> Self {
        let lists = world.node_folder("n1").cni_conf();
        let enclosure = Enclosure::new(world, "n1", &shim.plugins(), &lists);
        let settings = enclosure.path(Path::new("/etc/containers"));
        fs::create_dir_all(&settings).unwrap();
        fs::write(settings.join("containers.conf"), SETTINGS).unwrap();
        let podman = Self { enclosure };
        let image = podman.enclosure.image();
        podman.run(&["load", "--quiet", "--input", image]);
        podman
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let ended = self.enclosure.run("podman", arguments);
        ended.unwrap_or_else(|error| panic!("podman {arguments:?}: {error}"))
    }

    /// Starts a container that serves, as a pod of the world.
    #[track_caller]
    fn start(&self, name: &str) -> Pod {
        let cgroup = format!("/{}", self.enclosure.cgroup());
        let run =
            ["run", "--detach", "--cgroup-parent", &cgroup, "--name", name, "--hostname", name];
        self.run(&[&run, &[image::NAME][..]].concat());
        self.pod(name)
    }

    /// A container as a pod of the world.
    #[track_caller]
    fn pod(&self, name: &str) -> Pod {
        let shown: Value = serde_json::from_str(&self.run(&["inspect", name])).unwrap();
        let settings = &shown[0]["NetworkSettings"];
        let address = &settings["Networks"]["aws-cni"]["IPAddress"];
        let address: Option<Ipv4Addr> = address.as_str().and_then(|it| it.parse().ok());
        let namespace = Path::new(settings["SandboxKey"].as_str().unwrap());
        Pod {
            node: "n1".into(),
            name: name.into(),
            address: address.unwrap_or_else(|| panic!("{name} has no address: {settings}")),
            namespace: self.enclosure.path(namespace),
        }
    }
}

#[test]
fn a_container_of_podman_has_an_address_and_talks_and_gives_it_back() {
    let world = tight();
    let before = world.traces("n1");
    let shim = Shim::new(&world, "n1");
    let podman = Podman::on(&world, &shim);

    let pod = podman.start("web");

    let interfaces = world.more_interfaces("n1");
    assert!(interfaces[0].secondary.contains(&pod.address), "{pod:?} {interfaces:?}");
    pod_answers(&world, &pod);
    podman.run(&["rm", "--force", "--time", "0", "web"]);
    world.as_before("n1", &before);
    // Its calls are unlike those of Kubernetes, and come with a question for the version.
    let calls = shim.calls();
    let verbs: Vec<_> = calls.iter().map(Call::verb).collect();
    assert_eq!(verbs, ["VERSION", "ADD", "VERSION", "DEL"]);
    for call in calls.iter().filter(|call| call.verb() != "VERSION") {
        let args = call.variable("CNI_ARGS");
        assert!(!args.contains("K8S_POD_NAMESPACE") && args.contains("K8S_POD_NAME=web"), "{args}");
    }
    assert_eq!(podman.start("next").address, pod.address);
}

#[test]
fn a_container_of_podman_is_disconnected_connected_and_reloaded_in_its_namespace() {
    let world = tight();
    let before = world.traces("n1");
    let shim = Shim::new(&world, "n1");
    let podman = Podman::on(&world, &shim);
    let first = podman.start("web");

    podman.run(&["network", "disconnect", "aws-cni", "web"]);
    world.as_before("n1", &before);
    podman.run(&["network", "connect", "aws-cni", "web"]);
    let connected = podman.pod("web");
    pod_answers(&world, &connected);
    podman.run(&["network", "reload", "web"]);
    let reloaded = podman.pod("web");
    pod_answers(&world, &reloaded);
    podman.run(&["rm", "--force", "--time", "0", "web"]);
    world.as_before("n1", &before);

    assert_eq!((connected.address, reloaded.address), (first.address, first.address));
    let calls = shim.calls();
    let acts: Vec<_> = calls.iter().map(Call::verb).filter(|verb| *verb != "VERSION").collect();
    assert_eq!(acts, ["ADD", "DEL", "ADD", "DEL", "ADD", "DEL"]);
}

#[test]
fn a_container_of_podman_that_is_disconnected_without_a_daemon_is_so_by_the_next_one() {
    let world = tight();
    let before = world.traces("n1");
    let shim = Shim::new(&world, "n1");
    let podman = Podman::on(&world, &shim);
    let first = podman.start("web");

    // Its namespace stays, so that only the DEL tells that the network is not wanted any more.
    world.daemon_kill("n1");
    podman.run(&["network", "disconnect", "aws-cni", "web"]);
    world.daemon_start("n1", &[CUSTOM, TIGHT].concat());
    world.as_before("n1", &before);

    assert_eq!(podman.start("next").address, first.address);
}

#[test]
fn a_container_of_ctr_has_an_address_and_gives_it_back() {
    let world = tight();
    let before = world.traces("n1");
    let (shim, containerd) = Containerd::behind_shim(&world, "n1");
    // Its control group has the name of containerd's namespace.
    let namespace = containerd.enclosure.cgroup();
    containerd.ctr(namespace, &["images", "import", containerd.enclosure.image()]).unwrap();

    let run = ["run", "--rm", "--cni", image::NAME, "c1", "/bin/ip", "-4", "-o", "addr"];
    let said = containerd.ctr(namespace, &run).unwrap();

    let address = world.more_interfaces("n1")[0].secondary[0];
    assert!(said.contains(&format!("inet {address}/32 ")), "{said}");
    world.as_before("n1", &before);
    let calls = shim.calls();
    let del = calls.iter().find(|call| call.verb() == "DEL").unwrap();
    assert_eq!((del.variable("CNI_NETNS"), del.variable("CNI_ARGS")), ("", ""));
    assert!(!del.stdin["prevResult"].is_null(), "{del:?}");
    assert_eq!(containerd.run("next").1.address, address);
}

#[track_caller]
fn pod_answers(world: &World, pod: &Pod) {
    until("the container serves", || world.ask(&world.namespace("n1", None), pod).map(drop));
}
