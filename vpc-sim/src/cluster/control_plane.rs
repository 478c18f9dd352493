//! The control plane: etcd, API server, controllers and scheduler, each started again when it ends.

use super::{Programs, enclosure::Enclosure, supervise};
use anyhow::{Context, Result};
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Addresses of services: EKS' own where the VPC has none of 10.0.0.0/8's second half.
pub(super) const SERVICES: &str = "10.100.0.0/16";

/// What is written down of requests: everything that the daemon asks, so that its permissions can be
/// compared with what it uses; and who was refused because nobody knows whom, who has no group.
const AUDIT: &str = r#"{
  "apiVersion": "audit.k8s.io/v1",
  "kind": "Policy",
  "omitStages": ["RequestReceived"],
  "rules": [
    { "level": "Metadata", "users": ["system:serviceaccount:kube-system:aws-node"] },
    { "level": "None", "userGroups": ["system:authenticated", "system:unauthenticated"] },
    { "level": "Metadata" }
  ]
}
"#;

/// A running control plane.
#[derive(Debug)]
pub(super) struct ControlPlane {
    programs: supervise::Programs,
    enclosure: Arc<Enclosure>,
    folder: PathBuf,
}

impl ControlPlane {
    /// Starts it; it answers some seconds later. Its certificates are in `pki` below the folder, its
    /// logs in the folder.
    pub(super) async fn start(
        programs: &Programs,
        folder: &Path,
        network: &Path,
        address: Ipv4Addr,
    ) -> Result<Self> {
        let audit = folder.join("audit.yaml");
        fs::write(&audit, AUDIT).with_context(|| format!("write {}", audit.display()))?;
        let enclosure =
            Enclosure::new(super::CONTROL_PLANE, folder, network, programs.search_path());
        let enclosure = Arc::new(enclosure.await?);
        let running = supervise::Programs::default();
        for (name, arguments) in [
            ("etcd", etcd(folder)),
            ("kube-apiserver", api_server(folder, address)),
            ("kube-controller-manager", controllers(folder)),
            ("kube-scheduler", scheduler(folder)),
        ] {
            let (within, program) = (Arc::clone(&enclosure), programs.path(name));
            let command = move || {
                let mut command = within.command(&program);
                command.args(&arguments);
                command
            };
            running.keep(&folder.join(format!("{name}.log")), command)?;
        }
        Ok(Self { programs: running, enclosure, folder: folder.to_owned() })
    }

    /// Process id by which others enter.
    pub(super) fn enclosure(&self) -> u32 {
        self.enclosure.pid()
    }

    /// What the API server said last, for who waits in vain.
    pub(super) fn last_words(&self) -> String {
        let path = self.folder.join("kube-apiserver.log");
        let log = fs::read(&path).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        format!("{}: {last}", path.display())
    }

    /// Ends it.
    pub(super) async fn end(&self) {
        self.programs.end().await;
        self.enclosure.end().await;
    }
}

fn etcd(folder: &Path) -> Vec<String> {
    let mut arguments = vec![format!("--data-dir={}", folder.join("etcd").display())];
    let clients = "http://127.0.0.1:2379";
    let peers = "http://127.0.0.1:2380";
    arguments.extend([
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        // A world does not outlive its machine.
        "--unsafe-no-fsync".into(),
    ]);
    arguments
}

fn api_server(folder: &Path, address: Ipv4Addr) -> Vec<String> {
    let pki = |name: &str| folder.join("pki").join(name).display().to_string();
    let (authority, accounts) = (pki("ca.crt"), pki("sa.key"));
    vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        "--bind-address=0.0.0.0".into(),
        format!("--secure-port={}", super::API_PORT),
        format!("--advertise-address={address}"),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--client-ca-file={authority}"),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--kubelet-client-certificate={}", pki("kubelet-client.crt")),
        format!("--kubelet-client-key={}", pki("kubelet-client.key")),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={accounts}"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-account-extend-token-expiration=false".into(),
        // Servers of other APIs, and webhooks, are pods.
        "--enable-aggregator-routing=true".into(),
        format!("--requestheader-client-ca-file={authority}"),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        format!("--proxy-client-cert-file={}", pki("front-proxy.crt")),
        format!("--proxy-client-key-file={}", pki("front-proxy.key")),
        format!("--audit-policy-file={}", folder.join("audit.yaml").display()),
        format!("--audit-log-path={}", folder.join("audit.log").display()),
    ]
}

fn controllers(folder: &Path) -> Vec<String> {
    let pki = |name: &str| folder.join("pki").join(name).display().to_string();
    let config = pki("controller-manager.conf");
    vec![
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        // Pods' addresses are the network plugin's.
        "--allocate-node-cidrs=false".into(),
        "--bind-address=127.0.0.1".into(),
    ]
}

fn scheduler(folder: &Path) -> Vec<String> {
    let config = folder.join("pki/scheduler.conf").display().to_string();
    vec![
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
    ]
}
