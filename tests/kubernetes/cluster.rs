//! A real Kubernetes in a world, and what a user does with it.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tests::{
    command::{outcome, run, until},
    http, repository,
    world::{Pod, World},
};
use vpc_sim::world::control::{self, Location, Request};

/// The image of a pod that serves, which the folder of programs brings.
pub(crate) const IMAGE: &str = "localhost/pod:test";

/// How often a rollout is waited for, 100 seconds each: controllers and kubelets ask an API server that
/// was away after pauses that have grown.
const LOOKS: usize = 3;

/// Warnings that are about this machine, or about how Kubernetes compares its own records.
const NOT_OURS: [&str; 2] = ["CgroupV1", "ClusterIPNotAllocated"];

/// How kube-proxy works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Iptables,
    Nftables,
}

/// Which containerd runs pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    OfTheMachine,
    SecondGeneration,
}

/// What a cluster is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) proxy: Proxy,
    pub(crate) runtime: Runtime,
    /// More settings of the daemon.
    pub(crate) settings: &'static str,
}

/// Two nodes with the DaemonSet of `conf/`, which work. Dropping it ends it, and tells what Kubernetes
/// complained about when the test failed.
pub(crate) struct Cluster {
    pub(crate) world: World,
    programs: PathBuf,
}

/// The folder of the programs, beside those of this workspace.
///
/// Without a Go toolchain there is none, and nothing of this is tested: the Makefile says so, and
/// `KUBERNETES=required`, as in CI, makes it a failure.
#[expect(clippy::print_stderr, reason = "nothing is left out in silence")]
pub(crate) fn programs() -> Option<PathBuf> {
    let folder = tests::binary("vpc-sim").parent().and_then(Path::parent)?.join("kubernetes");
    let there = folder.join("kubelet").exists();
    let required = std::env::var_os("KUBERNETES").is_some_and(|it| it == "required");
    assert!(there || !required, "{} has no kubelet: run scripts/kubernetes", folder.display());
    if !there {
        eprintln!(
            "NOT TESTED: there is no Kubernetes to test with; `scripts/kubernetes` builds one"
        );
    }
    there.then_some(folder)
}

/// A world with a control plane and without nodes; none without programs.
pub(crate) fn world(proxy: Proxy, runtime: Runtime) -> Option<World> {
    let programs = match runtime {
        Runtime::OfTheMachine => programs()?,
        Runtime::SecondGeneration => programs()?.join("containerd2"),
    };
    let mode = match proxy {
        Proxy::Iptables => "iptables",
        Proxy::Nftables => "nftables",
    };
    let file = std::env::temp_dir().join(format!("kubernetes-{}.toml", std::process::id()));
    let default = fs::read_to_string(repository().join("conf/world.toml")).unwrap();
    let said = format!("[kubernetes]\nprograms = {programs:?}\nproxy = \"{mode}\"\n");
    fs::write(&file, default.replacen("[kubernetes]\n", &said, 1)).unwrap();
    Some(World::described_by(Some(&file)))
}

impl Cluster {
    /// Makes one, as `make cluster` does.
    pub(crate) fn up(how: How) -> Option<Self> {
        let How { proxy, runtime, settings } = how;
        let world = world(proxy, runtime)?;
        let cluster = Self { world, programs: programs()? };
        let mut fill = Command::new(repository().join("scripts/cluster"));
        fill.arg("fill").env("VPC_SIM_NAME", cluster.world.name()).env("SETTINGS", settings);
        // Where this test's own programs are.
        fill.env("CARGO_TARGET_DIR", tests::binary("vpc-sim").parent()?.parent()?);
        outcome(&run(&mut fill, "")).unwrap_or_else(|error| panic!("fill the cluster: {error}"));
        Some(cluster)
    }

    /// kubectl of somebody who may do everything; what it said went wrong.
    pub(crate) fn try_kubectl(&self, arguments: &[&str], stdin: &str) -> Result<String, String> {
        outcome(&run(self.kubectl_command().args(arguments), stdin))
    }

    /// kubectl, with the cluster's configuration.
    pub(crate) fn kubectl_command(&self) -> Command {
        self.kubectl_for(&self.world)
    }

    /// The same kubectl, for another world.
    pub(crate) fn kubectl_for(&self, world: &World) -> Command {
        let mut command = Command::new(self.programs.join("kubectl"));
        command.arg("--kubeconfig").arg(world.folder().join("kubeconfig"));
        command
    }

    /// The same, when it must succeed.
    #[track_caller]
    pub(crate) fn kubectl(&self, line: &str) -> String {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        self.try_kubectl(&arguments, "").unwrap_or_else(|error| panic!("kubectl {line}: {error}"))
    }

    /// Applies objects.
    #[track_caller]
    pub(crate) fn apply(&self, yaml: &str) {
        self.try_kubectl(&["apply", "--filename", "-"], yaml)
            .unwrap_or_else(|error| panic!("apply {yaml}: {error}"));
    }

    /// An object or a list.
    #[track_caller]
    pub(crate) fn get(&self, line: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {line} --output json"))).unwrap()
    }

    /// Makes an object again that was deleted.
    #[track_caller]
    pub(crate) fn create_again(&self, object: &Value) {
        let mut object = object.clone();
        for field in ["resourceVersion", "uid", "creationTimestamp", "generation"] {
            object["metadata"][field].take();
        }
        object["status"].take();
        self.apply(&object.to_string());
    }

    /// Runs a Deployment of pods that serve, spread over the nodes, and waits until all are ready.
    pub(crate) fn deploy(&self, name: &str, replicas: usize) {
        self.apply(&format!(
            "apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name} }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {{ matchLabels: {{ app: {name} }} }}
      containers:
        - {{ name: web, image: {IMAGE}, imagePullPolicy: Never, ports: [{{ containerPort: 80 }}] }}
"
        ));
        self.rolled_out(&format!("deployment/{name}"));
    }

    /// Waits until every pod of a workload is as it should be.
    #[track_caller]
    pub(crate) fn rolled_out(&self, workload: &str) {
        let line = format!("rollout status {workload} --timeout 100s");
        let arguments: Vec<_> = line.split(' ').collect();
        let mut said = String::new();
        for _ in 0..LOOKS {
            match self.try_kubectl(&arguments, "") {
                Ok(_) => return,
                Err(error) => said = error,
            }
        }
        panic!("{workload}: {said}");
    }

    /// The pods of an app that are ready, with their namespaces.
    #[track_caller]
    pub(crate) fn pods(&self, app: &str) -> Vec<Pod> {
        let list = self.get(&format!("pods --selector app={app}"));
        let pods = list["items"].as_array().unwrap().iter();
        let pods = pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods.map(|pod| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (name, node) = (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]));
            let address = text(&pod["status"]["podIP"]);
            let address = address.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            let namespace = self.namespace(&node, &name);
            Pod { node, name, address, namespace }
        })
        .collect()
    }

    /// The network namespace in which the server of a pod says that it is that pod.
    fn namespace(&self, node: &str, pod: &str) -> PathBuf {
        let folder = self.path(node, "/run/netns");
        until("the pod serves in a namespace of the node", || {
            let entries = fs::read_dir(&folder).map_err(|error| error.to_string())?;
            let here = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 80));
            let mut others = Vec::new();
            for path in entries.flatten().map(|entry| entry.path()) {
                match http::get_within(&path, here) {
                    Ok(said) if said.contains(&format!("\"{pod}\"")) => return Ok(path),
                    other => others.push(format!("{other:?}")),
                }
            }
            Err(format!("{pod} on {node}: {others:?}"))
        })
    }

    /// A path of a node, as seen from here.
    pub(crate) fn path(&self, node: &str, within: &str) -> PathBuf {
        let request = Request::Locate { node: node.into(), namespace: None, pod: None };
        let folder = vpc_sim::world::Folder::of(self.world.name()).unwrap();
        let said = control::ask(&folder, &request).unwrap();
        let location: Location = serde_json::from_value(said).unwrap();
        let pid = location.enclosure.expect("a node of a cluster has programs of its own");
        Path::new("/proc").join(pid.to_string()).join("root").join(within.trim_start_matches('/'))
    }

    /// What a shell on a node says.
    #[track_caller]
    pub(crate) fn shell(&self, node: &str, script: &str) -> String {
        let output = self.world.exec(node, &["sh", "-c", script], &[], "");
        outcome(&output).unwrap_or_else(|error| panic!("{script} on {node}: {error}"))
    }

    /// Warnings of Kubernetes, but [`NOT_OURS`].
    pub(crate) fn warnings(&self) -> Vec<String> {
        let events = self.get("events --all-namespaces --field-selector type=Warning");
        let events = events["items"].as_array().unwrap().clone();
        let not_ours = |event: &Value| NOT_OURS.iter().any(|it| event["reason"] == *it);
        let ours = events.into_iter().filter(|event| !not_ours(event));
        ours.map(|event| {
            let (about, reason) = (&event["involvedObject"]["name"], &event["reason"]);
            format!("{about} {reason} {}: {}", event["count"], event["message"])
        })
        .collect()
    }

    /// What kubelets wrote down when their nodes became NotReady.
    fn not_ready(&self) -> String {
        let disk = std::env::temp_dir().join(format!("vpc-sim-{}", self.world.name()));
        let logs = fs::read_dir(disk.join("nodes")).into_iter().flatten().flatten();
        let logs = logs.filter_map(|node| fs::read_to_string(node.path().join("kubelet.log")).ok());
        let lines = logs.flat_map(|log| {
            let lines = log.lines().filter(|line| line.contains("became not ready"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Forgets all events, so that the next look finds new ones.
    pub(crate) fn forget_events(&self) {
        self.kubectl("delete events --all --all-namespaces");
    }
}

impl Drop for Cluster {
    #[expect(clippy::print_stderr, reason = "whoever reads why a test failed needs it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said =
                |arguments: &[&str]| self.try_kubectl(arguments, "").unwrap_or_else(|error| error);
            eprintln!("── events\n{}", said(&["get", "events", "--all-namespaces"]));
            eprintln!(
                "── pods\n{}",
                said(&["get", "pods", "--all-namespaces", "--output", "wide"])
            );
            let logs =
                "logs --namespace kube-system --selector k8s-app=aws-node --tail 40 --prefix";
            eprintln!("── daemons\n{}", said(&logs.split(' ').collect::<Vec<_>>()));
            eprintln!("── why nodes were NotReady\n{}", self.not_ready());
        }
    }
}
