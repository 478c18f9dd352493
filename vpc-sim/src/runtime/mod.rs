//! What the container runtime does for one pod's network: the conflist's chain, the kept result,
//! and the DELs that containerd sends.
//!
//! Modelled after containerd 2, go-cni and libcni 1.3, with the behaviour that decides whether an
//! address leaks.

mod exec;
mod ports;

pub use ports::HostPort;

use cni::{
    AddResult, Code, Command, Version,
    runtime::{CachedResult, Call, NetworkList, PluginConf, parse_output},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// kubelet waits four minutes for a sandbox, twice its `runtimeRequestTimeout`.
const ADD: Duration = Duration::from_secs(240);

/// kubelet waits two minutes for a sandbox to stop.
const DEL: Duration = Duration::from_secs(120);

/// containerd gives the DEL after a failed ADD a minute of its own.
const CLEANUP: Duration = Duration::from_secs(60);

/// A plugin answers at once, or it is not ready.
const STATUS: Duration = Duration::from_secs(10);

/// How plugins say that they do not know STATUS: an incompatible version, an invalid variable, which is
/// `CNI_COMMAND`, or a container that is missing, as every verb of theirs has one.
const KNOWS_NO_STATUS: [Code; 3] =
    [Code::IncompatibleVersion, Code::InvalidEnvironment, Code::UnknownContainer];

/// The capability by which plugins get the pod's annotations.
const POD_ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// The capability by which plugins get ports of the node that lead to the pod.
const PORT_MAPPINGS: &str = "portMappings";

/// The runtime's places on a node.
#[derive(Clone, Debug)]
pub struct NodePaths {
    /// The node's network namespace, in which plugins run.
    pub netns: PathBuf,
    /// Folder of network lists, `/etc/cni/net.d` on a real node.
    pub conf_dir: PathBuf,
    /// Folder of plugins, `/opt/cni/bin` on a real node.
    pub bin_dir: PathBuf,
    /// Folder of kept results, `/var/lib/cni/results` on a real node.
    pub results_dir: PathBuf,
    /// What the runtime's own environment has beside `PATH`.
    pub env: BTreeMap<String, String>,
}

/// One pod's interface.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The sandbox.
    pub container_id: String,
    /// Its network namespace.
    pub netns: PathBuf,
    /// The interface's name in it.
    pub ifname: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// The pod's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Ports of the node that lead to the pod.
    pub host_ports: Vec<HostPort>,
}

/// Why a pod has no network, or still has one.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// containerd says this on every call until a network list appears.
    #[error("cni plugin not initialized: no network config found in {}", .0.display())]
    NoNetwork(PathBuf),
    /// A plugin failed.
    #[error(transparent)]
    Plugin(#[from] PluginFailure),
    /// The chain gave the interface no address.
    #[error("failed to find network info for sandbox {0:?}")]
    NoAddress(String),
    /// The runtime itself failed.
    #[error("{operation}: {cause}")]
    Io {
        /// What it did.
        operation: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// How a plugin failed; its text is what the pod's event shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFailure {
    /// The executable's name.
    pub plugin: String,
    /// What it was called for.
    pub verb: Command,
    /// The error's code, or 0 when the plugin left no error document.
    pub code: u32,
    /// What it said, or what libcni says of it.
    pub msg: String,
    /// More of it, or empty.
    pub details: String,
}

impl fmt::Display for PluginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = self.verb.as_str().to_lowercase();
        write!(f, "plugin type={:?} failed ({verb}): {}", self.plugin, self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, "; {}", self.details) }
    }
}

impl std::error::Error for PluginFailure {}

/// Connects a pod: what RunPodSandbox does. The chain's result, in the network's version.
///
/// # Errors
/// [`RuntimeError`]; the chain has then been called with DEL.
pub fn add(node: &NodePaths, attachment: &Attachment) -> Result<Value, RuntimeError> {
    let list = network(&node.conf_dir)?;
    let added = add_chain(node, &list, attachment);
    if added.is_err()
        && let Err(error) =
            del_chain(node, &list, (&call(node, attachment), &capabilities(attachment)), CLEANUP)
    {
        // containerd logs it and, from 1.6.37 on, forgets the sandbox all the same.
        tracing::warn!(container = attachment.container_id, %error, "DEL after a failed ADD failed");
    }
    added
}

/// Disconnects a pod: what StopPodSandbox does.
///
/// # Errors
/// [`RuntimeError`]; kubelet tries again later.
pub fn delete(node: &NodePaths, attachment: &Attachment) -> Result<(), RuntimeError> {
    del(node, &call(node, attachment), &capabilities(attachment))
}

/// Disconnects a pod whose network namespace is gone: what RemovePodSandbox does after
/// [`delete`], which took the kept result with it.
///
/// # Errors
/// [`RuntimeError`]; kubelet tries again later.
pub fn forget(node: &NodePaths, attachment: &Attachment) -> Result<(), RuntimeError> {
    let call = Call { netns: String::new(), ..call(node, attachment) };
    del(node, &call, &capabilities(attachment))
}

/// Asks whether the network takes pods. A plugin that does not know STATUS is taken to be ready, and
/// one of an older list is asked all the same: what it can do is not in the list.
///
/// # Errors
/// There is no network, or the first plugin that is not ready.
pub fn status(node: &NodePaths) -> Result<(), RuntimeError> {
    let mut list = network(&node.conf_dir)?;
    list.version = Version::V1_1_0;
    let call = Call {
        container_id: String::new(),
        netns: String::new(),
        ifname: String::new(),
        args: vec![],
        path: node.bin_dir.display().to_string(),
    };
    let knows_none =
        |failed: &PluginFailure| KNOWS_NO_STATUS.map(Code::number).contains(&failed.code);
    for plugin in list.chain(Command::Status) {
        let stdin = list
            .stdin(plugin, None, &BTreeMap::new())
            .map_err(|error| failure(plugin, Command::Status, &error))?;
        match exec::plugin(node, plugin, Command::Status, &call, &stdin, STATUS) {
            Err(failed) if !knows_none(&failed) => return Err(failed.into()),
            Err(_) | Ok(_) => {}
        }
    }
    Ok(())
}

/// The first valid network list of the folder, by name.
fn network(conf_dir: &Path) -> Result<NetworkList, RuntimeError> {
    let none = || RuntimeError::NoNetwork(conf_dir.to_owned());
    let mut files: Vec<PathBuf> =
        fs::read_dir(conf_dir).map_err(|_| none())?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let parse = match file.extension().and_then(|extension| extension.to_str()) {
            Some("conflist") => NetworkList::parse,
            Some("conf" | "json") => NetworkList::parse_plain,
            Some(_) | None => continue,
        };
        let parsed = fs::read_to_string(&file)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(&text).map_err(|error| error.to_string()));
        match parsed {
            Ok(list) => return Ok(list),
            Err(error) => tracing::warn!(file = %file.display(), error, "no network list"),
        }
    }
    Err(none())
}

fn call(node: &NodePaths, attachment: &Attachment) -> Call {
    let args = [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &attachment.namespace),
        ("K8S_POD_NAME", &attachment.pod),
        ("K8S_POD_INFRA_CONTAINER_ID", &attachment.container_id),
        ("K8S_POD_UID", &attachment.uid),
    ];
    Call {
        container_id: attachment.container_id.clone(),
        netns: attachment.netns.display().to_string(),
        ifname: attachment.ifname.clone(),
        args: args.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        path: node.bin_dir.display().to_string(),
    }
}

/// What containerd offers to plugins; a pod without annotations is `null`, and one without host ports
/// has no mappings.
fn capabilities(attachment: &Attachment) -> BTreeMap<String, Value> {
    let Attachment { annotations, host_ports, .. } = attachment;
    let given = if annotations.is_empty() { Value::Null } else { json!(annotations) };
    let mut all = BTreeMap::from([(POD_ANNOTATIONS.to_owned(), given)]);
    if !host_ports.is_empty() {
        let ports = host_ports.iter().map(HostPort::in_capability).collect();
        all.insert(PORT_MAPPINGS.to_owned(), ports);
    }
    all
}

fn add_chain(
    node: &NodePaths,
    list: &NetworkList,
    attachment: &Attachment,
) -> Result<Value, RuntimeError> {
    let (call, capabilities) = (call(node, attachment), capabilities(attachment));
    let mut result: Option<AddResult> = None;
    for plugin in list.chain(Command::Add) {
        let failed = |error: cni::Error| failure(plugin, Command::Add, &error);
        let stdin = list.stdin(plugin, result.as_ref(), &capabilities).map_err(failed)?;
        let stdout = exec::plugin(node, plugin, Command::Add, &call, &stdin, ADD)?;
        result = Some(parse_output(&stdout, list.version).map_err(failed)?);
    }
    let result = result.unwrap_or_default();
    keep(node, list, (&call, &capabilities), &result)?;
    if !has_address(&result, &attachment.ifname) {
        return Err(RuntimeError::NoAddress(attachment.container_id.clone()));
    }
    let last = list.plugins.last().expect("a list without plugins is not parsed");
    Ok(result.to_value(list.version).map_err(|error| failure(last, Command::Add, &error))?)
}

fn del(
    node: &NodePaths,
    call: &Call,
    capabilities: &BTreeMap<String, Value>,
) -> Result<(), RuntimeError> {
    let list = network(&node.conf_dir)?;
    match del_chain(node, &list, (call, capabilities), DEL) {
        // go-cni takes such a text for "already gone", whatever the plugin meant, and leaves the
        // kept result behind.
        Err(RuntimeError::Plugin(failure)) if is_taken_for_success(&failure, call) => {
            tracing::warn!(%failure, "containerd takes this for a success");
            Ok(())
        }
        done => done,
    }
}

fn del_chain(
    node: &NodePaths,
    list: &NetworkList,
    (call, capabilities): (&Call, &BTreeMap<String, Value>),
    deadline: Duration,
) -> Result<(), RuntimeError> {
    let file = kept_file(node, list, call);
    let kept = list
        .keeps_results()
        .then(|| fs::read_to_string(&file).ok())
        .flatten()
        .and_then(|text| CachedResult::parse(&text)?.result());
    for plugin in list.chain(Command::Del) {
        let stdin = list
            .stdin(plugin, kept.as_ref(), capabilities)
            .map_err(|error| failure(plugin, Command::Del, &error))?;
        exec::plugin(node, plugin, Command::Del, call, &stdin, deadline)?;
    }
    // As libcni, which does not look whether that worked.
    let _ = fs::remove_file(file);
    Ok(())
}

fn is_taken_for_success(failure: &PluginFailure, call: &Call) -> bool {
    let text = failure.to_string();
    text.contains("not found")
        || call.netns.is_empty() && text.contains("no such file or directory")
}

fn kept_file(node: &NodePaths, list: &NetworkList, call: &Call) -> PathBuf {
    node.results_dir.join(CachedResult::file_name(&list.name, &call.container_id, &call.ifname))
}

fn keep(
    node: &NodePaths,
    list: &NetworkList,
    (call, capabilities): (&Call, &BTreeMap<String, Value>),
    result: &AddResult,
) -> Result<(), RuntimeError> {
    let file = kept_file(node, list, call);
    let write = || -> io::Result<()> {
        let kept = CachedResult::new(list, call, capabilities, result)
            .map_err(|error| io::Error::other(error.to_string()))?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&node.results_dir)?;
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        io::Write::write_all(&mut options.open(&file)?, kept.to_json().as_bytes())
    };
    write().map_err(|cause| RuntimeError::Io {
        operation: format!("keep result in {}", file.display()),
        cause,
    })
}

/// containerd finds the pod's address by the interface's name. Results before 0.3.0 have no
/// interfaces: then every address is the pod's.
fn has_address(result: &AddResult, ifname: &str) -> bool {
    result.ips.iter().any(|ip| match ip.interface.and_then(|i| result.interfaces.get(i)) {
        Some(interface) => interface.name == ifname,
        None => result.interfaces.is_empty(),
    })
}

fn failure(plugin: &PluginConf, verb: Command, error: &cni::Error) -> PluginFailure {
    PluginFailure {
        plugin: plugin.kind.clone(),
        verb,
        code: error.code.number(),
        msg: error.msg.clone(),
        details: error.details.clone(),
    }
}

#[cfg(test)]
mod tests;
