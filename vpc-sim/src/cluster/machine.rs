//! What makes a node of an instance: containerd, kubelet and kube-proxy, each started again when it ends.

use super::{
    Programs,
    enclosure::{Enclosure, control_group},
    supervise,
};
use crate::control_groups;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

/// The sandbox image that kubelet of this version asks for, which an archive of images has.
const PAUSE: &str = "registry.k8s.io/pause:3.10.1";

/// Where containerd listens.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// How long containerd may take to answer: a second.
const RUNTIME_LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The address of the cluster's DNS: the tenth of the services', as on EKS.
const DNS: &str = "10.100.0.10";

/// How kube-proxy reaches services' pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// By rules of iptables.
    #[default]
    Iptables,
    /// By rules of nftables.
    Nftables,
}

/// What a machine is.
#[derive(Clone, Debug)]
pub(crate) struct MachineSpec {
    /// Name of its node.
    pub(crate) name: String,
    /// Its network namespace.
    pub(crate) network: PathBuf,
    /// Its primary address.
    pub(crate) address: Ipv4Addr,
    /// `aws:///ZONE/INSTANCE`, by which a cloud's controllers know it.
    pub(crate) provider_id: String,
    /// Labels of its node, but those that kubelet gives by itself.
    pub(crate) labels: BTreeMap<String, String>,
    /// How many pods may run on it.
    pub(crate) max_pods: u32,
}

/// A running node. Its processes end when it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    group: String,
    programs: supervise::Programs,
    enclosure: Arc<Enclosure>,
}

impl Machine {
    /// Starts its programs, with the certificates of `pki` and files below `folder`, where what was
    /// there before a reboot is still.
    pub(super) async fn start(
        programs: &Programs,
        pki: &Path,
        folder: &Path,
        proxy: ProxyMode,
        spec: MachineSpec,
    ) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))?;
        // Two up: the folder of all files of the cluster.
        let disk = folder.parent().and_then(Path::parent).unwrap_or(folder);
        let group = control_group(disk, &spec.name);
        // Kubelet waits for each group of a pod that a reboot has ended.
        remove(group.clone()).await?;
        control_groups::make(&group)?;
        let enclosure = Enclosure::new(&spec.name, folder, &spec.network, programs.search_path());
        let enclosure = Arc::new(enclosure.await?);
        let machine =
            Self { group: group.clone(), programs: supervise::Programs::default(), enclosure };
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path.display().to_string())
        };
        let config = write("containerd.toml", runtime_config())?;
        machine.keep(folder, "containerd".into(), vec![format!("--config={config}")])?;
        machine.import(programs, folder).await?;
        let names = write("resolv.conf", "nameserver 10.0.0.2\n".into())?;
        let kubelet = write("kubelet.yaml", kubelet_config(&spec, pki, &group, &names))?;
        let arguments = kubelet_arguments(&spec, pki, &kubelet);
        machine.keep(folder, programs.path("kubelet"), arguments)?;
        let arguments = proxy_arguments(&spec, pki, proxy);
        machine.keep(folder, programs.path("kube-proxy"), arguments)?;
        Ok(machine)
    }

    /// Process id by which others enter.
    pub(crate) fn enclosure(&self) -> u32 {
        self.enclosure.pid()
    }

    /// Ends everything on it at once, as a machine does that loses its power.
    pub(crate) async fn end(self) -> Result<()> {
        self.programs.end().await;
        self.enclosure.end().await;
        remove(self.group).await
    }

    fn keep(&self, folder: &Path, program: PathBuf, arguments: Vec<String>) -> Result<()> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let enclosure = Arc::clone(&self.enclosure);
        let command = move || {
            let mut command = enclosure.command(&program);
            command.args(&arguments);
            command
        };
        self.programs.keep(&folder.join(format!("{name}.log")), command)
    }

    /// Waits for containerd, and gives it the images that it has not had before.
    async fn import(&self, programs: &Programs, folder: &Path) -> Result<()> {
        let ctr = async |arguments: &[&str]| {
            let mut command = self.enclosure.command("ctr");
            command.args(["--address", SOCKET, "--namespace", "k8s.io"]).args(arguments);
            let output = command.output().await.context("run ctr")?;
            if !output.status.success() {
                bail!(
                    "ctr {}: {}",
                    arguments.join(" "),
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
            Ok(())
        };
        let deadline = Instant::now() + RUNTIME_LIMIT;
        while let Err(error) = ctr(&["version"]).await {
            if Instant::now() > deadline {
                let log = folder.join("containerd.log");
                return Err(
                    error.context(format!("containerd does not answer: see {}", log.display()))
                );
            }
            sleep(LOOK_EVERY).await;
        }
        let imported = folder.join("imported");
        if imported.exists() {
            return Ok(());
        }
        for archive in programs.images() {
            ctr(&["images", "import", &archive.display().to_string()]).await?;
        }
        fs::write(&imported, "").context("note that images are imported")
    }
}

/// Removes a control group. Waits for what lives in it.
async fn remove(group: String) -> Result<()> {
    spawn_blocking(move || control_groups::remove(|name| name == group)).await.context("remove")?
}

/// containerd's settings: EKS's, without what machines for tests lack a capability for.
fn runtime_config() -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "{PAUSE}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
max_conf_num = 1
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
    )
}

fn kubelet_config(spec: &MachineSpec, pki: &Path, group: &str, names: &str) -> String {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": pki.join("ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{group}"),
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
        // The disk and the memory are shared with everything else on this machine.
        "evictionHard": { "memory.available": "50Mi", "nodefs.available": "1%" },
        "failCgroupV1": false,
        "failSwapOn": false,
        "imageGCHighThresholdPercent": 100,
        "maxOpenFiles": 4096,
        "maxPods": spec.max_pods,
        // To raise it is refused where CAP_SYS_RESOURCE is missing.
        "oomScoreAdj": 0,
        "podLogsDir": "/var/log/pods",
        "providerID": spec.provider_id,
        "readOnlyPort": 0,
        "resolvConf": names,
        "rotateCertificates": false,
        "syncFrequency": "10s",
    });
    format!("{config:#}\n")
}

fn kubelet_arguments(spec: &MachineSpec, pki: &Path, config: &str) -> Vec<String> {
    let labels: Vec<_> = spec.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        format!("--config={config}"),
        format!("--kubeconfig={}", pki.join(format!("{}.conf", spec.name)).display()),
        format!("--hostname-override={}", spec.name),
        format!("--node-ip={}", spec.address),
        "--root-dir=/var/lib/kubelet".into(),
        "--cert-dir=/var/lib/kubelet/pki".into(),
        format!("--node-labels={}", labels.join(",")),
    ]
}

fn proxy_arguments(spec: &MachineSpec, pki: &Path, proxy: ProxyMode) -> Vec<String> {
    let mode = match proxy {
        ProxyMode::Iptables => "iptables",
        ProxyMode::Nftables => "nftables",
    };
    vec![
        format!("--kubeconfig={}", pki.join("proxy.conf").display()),
        format!("--hostname-override={}", spec.name),
        format!("--proxy-mode={mode}"),
        "--oom-score-adj=0".into(),
        // The limit is the machine's, and not this namespace's to set.
        "--conntrack-max-per-core=0".into(),
        "--healthz-bind-address=127.0.0.1:10256".into(),
        "--metrics-bind-address=127.0.0.1:10249".into(),
    ]
}
