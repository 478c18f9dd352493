//! Certificates of a cluster, and kubeconfigs that carry them.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;
use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The first address of [`super::control_plane::SERVICES`]: where pods find the API server.
const KUBERNETES_SERVICE: &str = "10.100.0.1";

/// Who signs all certificates of a cluster.
pub(super) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes one, with its files in the folder: `ca.crt`, `ca.key`, and the keys with which tokens of
    /// service accounts are signed and checked, `sa.key` and `sa.pub`.
    pub(super) fn new(folder: &Path) -> Result<Self> {
        let key = KeyPair::generate().context("make a key")?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "kubernetes");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).context("sign the cluster's certificate")?.pem();
        write(&folder.join("ca.crt"), &certificate)?;
        write(&folder.join("ca.key"), &key.serialize_pem())?;
        let accounts = KeyPair::generate().context("make a key")?;
        write(&folder.join("sa.key"), &accounts.serialize_pem())?;
        write(&folder.join("sa.pub"), &accounts.public_key_pem())?;
        let issuer = Issuer::new(params, key);
        Ok(Self { folder: folder.to_owned(), issuer, certificate })
    }

    /// Where the files are.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The certificates of the control plane: the API server's own, and those of its clients.
    /// The names are those by which Kubernetes' RBAC knows them
    /// (<https://kubernetes.io/docs/setup/best-practices/certificates/>).
    pub(super) fn control_plane(&self, address: Ipv4Addr) -> Result<()> {
        let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let addresses = [address.to_string(), "127.0.0.1".into(), KUBERNETES_SERVICE.into()];
        let names = names.map(str::to_owned).into_iter().chain(addresses).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names).context("names of the API server")?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign("apiserver", params)?;
        self.client("admin", "admin", Some("system:masters"))?;
        self.client("kubelet-client", "kube-apiserver", Some("system:masters"))?;
        self.client("controller-manager", "system:kube-controller-manager", None)?;
        self.client("scheduler", "system:kube-scheduler", None)?;
        self.client("proxy", "system:kube-proxy", None)?;
        self.client("front-proxy", "front-proxy-client", None)
    }

    /// The certificate of a kubelet.
    pub(super) fn node(&self, name: &str) -> Result<()> {
        self.client(name, &format!("system:node:{name}"), Some("system:nodes"))
    }

    /// Writes `WHO.conf`, with which WHO reaches a server.
    pub(super) fn kubeconfig(&self, who: &str, server: &str) -> Result<()> {
        write(&self.folder.join(format!("{who}.conf")), &self.kubeconfig_text(who, server)?)
    }

    /// The same as a text.
    pub(super) fn kubeconfig_text(&self, who: &str, server: &str) -> Result<String> {
        let read = |extension: &str| {
            let path = self.folder.join(format!("{who}.{extension}"));
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Ok::<_, anyhow::Error>(STANDARD.encode(text))
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "cluster", "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(&self.certificate),
            } }],
            "users": [{ "name": who, "user": {
                "client-certificate-data": read("crt")?,
                "client-key-data": read("key")?,
            } }],
            "contexts": [{ "name": "cluster", "context": { "cluster": "cluster", "user": who } }],
            "current-context": "cluster",
        });
        // JSON is YAML.
        Ok(format!("{config:#}\n"))
    }

    fn client(&self, file: &str, name: &str, organization: Option<&str>) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(file, params)
    }

    fn sign(&self, file: &str, mut params: CertificateParams) -> Result<()> {
        let signing = || format!("sign the certificate of {file}");
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().with_context(signing)?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(signing)?;
        write(&self.folder.join(format!("{file}.crt")), &certificate.pem())?;
        write(&self.folder.join(format!("{file}.key")), &key.serialize_pem())
    }
}

/// Nobody else reads keys.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("write {}", path.display()))
}
