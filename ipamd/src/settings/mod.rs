//! Every setting, read from the environment in one place, into types.

mod door;
mod judge;
mod log;
pub(crate) mod manifest;
mod nearest;
mod reader;
pub(crate) mod servers;
mod sweeping;
mod table;

pub(crate) use door::{Door, Metrics};
pub(crate) use judge::{Outcome, Verdict, judge};
pub(crate) use log::{LogFile, LogFormat, LogLimits};
pub(crate) use reader::BadSetting;
pub(crate) use servers::Servers;
pub(crate) use sweeping::Sweeping;
pub(crate) use table::table;

use ipnetwork::Ipv4Network;
use net::{
    Layout, TableMarks,
    firewall::{Metadata, NodePort, Snat},
};
use reader::Reader;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Where pods' addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Networking {
    /// From the node's own subnet.
    Node,
    /// From the subnet of an ENIConfig.
    Custom,
}

/// What the network list lets runtimes ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuntimeVerbs {
    /// It is of CNI 0.4.0.
    AddAndDel,
    /// It is of 1.1.0 too, with STATUS and GC, for runtimes that know it.
    WithStatus,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where pods' addresses come from.
    pub networking: Networking,
    /// Key of the node annotation that names the ENIConfig.
    pub eni_config_annotation: String,
    /// Key of the node label that names the ENIConfig.
    pub eni_config_label: String,
    /// Addresses to hold ready.
    pub targets: pool::Targets,
    /// Upper limit of interfaces, if any.
    pub max_enis: Option<usize>,
    /// Tags of new interfaces besides those that mark them as ours.
    pub additional_tags: BTreeMap<String, String>,
    /// Name of the cluster, for tags.
    pub cluster: Option<String>,
    /// Name of the Node object.
    pub node: Option<String>,
    /// MTU of interfaces, in bytes.
    pub eni_mtu: u32,
    /// MTU of pods, in bytes.
    pub pod_mtu: u32,
    /// First letters of the names of host ends of veth pairs.
    pub veth_prefix: String,
    /// Who translates traffic that leaves the VPC.
    pub snat: Snat,
    /// CIDRs outside the VPC that pods reach with their own addresses.
    pub exclude_snat: Vec<Ipv4Network>,
    /// Marks connections that leave by the primary interface.
    pub mark: u32,
    /// Whether NodePort traffic is looked after.
    pub node_port: NodePort,
    /// CIDRs that are always reached by the primary interface.
    pub external: Vec<Ipv4Network>,
    /// Whether pods reach the instance metadata service.
    pub metadata: Metadata,
    /// Which routing rules there are.
    pub layout: Layout,
    /// The most detailed level that is logged.
    pub log_level: tracing::Level,
    /// Where the daemon writes its log.
    pub log_file: LogFile,
    /// How lines of the logs are written.
    pub log_format: LogFormat,
    /// What is kept of each log.
    pub log_limits: LogLimits,
    /// Where the plugin's log is on the node: passed on in its configuration.
    pub plugin_log_file: String,
    /// The plugin's log level: passed on in its configuration.
    pub plugin_log_level: tracing::Level,
    /// Folder in which the plugin is installed.
    pub cni_bin: PathBuf,
    /// Folder in which the plugin's configuration is installed.
    pub cni_conf: PathBuf,
    /// What that configuration lets runtimes ask.
    pub verbs: RuntimeVerbs,
    /// Folder of the socket, the journal and the spool.
    pub run_dir: PathBuf,
    /// The checkpoint of the peer's daemon: read at the start, and kept for a way back to it.
    pub backing_store: PathBuf,
    /// The plugin to install; `None` is the one beside the daemon.
    pub plugin: Option<PathBuf>,
    /// Folder of the reference plugins to install; `None` is the one beside the daemon.
    pub reference_plugins: Option<PathBuf>,
    /// How long an ADD waits for an address.
    pub add_wait: Duration,
    /// How long after a pod has lost its link its DEL is waited for, before it is looked for.
    pub gone_after: Duration,
    /// Whether interfaces of dead nodes are searched for.
    pub sweeping: Sweeping,
    /// Whether metrics are served.
    pub metrics: Metrics,
    /// How often `ipamd shadow` looks; 0 means once.
    pub shadow_interval: Duration,
    /// Where `ipamd shadow` serves its metrics, if it does.
    pub shadow_port: Option<u16>,
    /// The ways to AWS and to Kubernetes.
    pub servers: Servers,
    /// Variables that are set and not acted on.
    pub not_acted_on: Vec<Verdict>,
}

impl Settings {
    /// The bits of a packet's mark that name a routing table, where our rules do.
    pub(crate) fn table_marks(&self) -> Option<TableMarks> {
        (self.layout == Layout::Flat).then(|| TableMarks::beside(self.mark)).flatten()
    }

    /// Reads all settings; one that is not set or empty has its default.
    ///
    /// # Errors
    /// All settings with values that they cannot have, and those that ask for what safety depends on
    /// and we do not have.
    pub(crate) fn read(environment: &BTreeMap<String, String>) -> Result<Self, Vec<BadSetting>> {
        let verdicts = judge(environment);
        let bad: Vec<_> = verdicts.iter().filter_map(Verdict::bad).collect();
        if !bad.is_empty() {
            return Err(bad);
        }
        let (mut settings, _) = Self::read_all(environment);
        settings.not_acted_on = verdicts.into_iter().filter(Verdict::is_warning).collect();
        Ok(settings)
    }

    /// Those settings that say where the log is, and defaults for all others: for an environment that
    /// is wrong.
    pub(crate) fn of_log(environment: &BTreeMap<String, String>) -> Self {
        Self::read_all(environment).0
    }

    /// All settings, with defaults for those that are wrong, and what is wrong with those.
    fn read_all(environment: &BTreeMap<String, String>) -> (Self, Vec<BadSetting>) {
        let mut read = Reader::of(environment);
        let eni_mtu = read.mtu("AWS_VPC_ENI_MTU").unwrap_or(9001);
        let settings = Self {
            networking: if read.flag("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", false) {
                Networking::Custom
            } else {
                Networking::Node
            },
            eni_config_annotation: read.text("ENI_CONFIG_ANNOTATION_DEF", ENI_CONFIG_KEY),
            eni_config_label: read.text("ENI_CONFIG_LABEL_DEF", ENI_CONFIG_KEY),
            targets: pool::Targets {
                mode: if read.flag("ENABLE_PREFIX_DELEGATION", false) {
                    pool::Mode::Prefixes
                } else {
                    pool::Mode::Addresses
                },
                warm_prefixes: read.target("WARM_PREFIX_TARGET").unwrap_or(0),
                warm_enis: read.target("WARM_ENI_TARGET").unwrap_or(1),
                warm_addresses: read.target("WARM_IP_TARGET").filter(|target| *target > 0),
                minimum_addresses: read.target("MINIMUM_IP_TARGET").filter(|target| *target > 0),
                cooldown: read.seconds("IP_COOLDOWN_PERIOD", 30),
            },
            max_enis: read.max_enis(),
            additional_tags: read.tags("ADDITIONAL_ENI_TAGS"),
            cluster: read.value("CLUSTER_NAME").map(Into::into),
            node: read.value("MY_NODE_NAME").map(Into::into),
            eni_mtu,
            pod_mtu: read.mtu("POD_MTU").unwrap_or(eni_mtu),
            veth_prefix: read.veth_prefix(),
            snat: read.snat(),
            exclude_snat: read.cidrs("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"),
            mark: read.mark("AWS_VPC_K8S_CNI_CONNMARK"),
            node_port: if read.flag("AWS_VPC_CNI_NODE_PORT_SUPPORT", true) {
                NodePort::Supported
            } else {
                NodePort::Ignored
            },
            external: read.cidrs("AWS_EXTERNAL_SERVICE_CIDRS"),
            metadata: if read.flag("ENI_CNI_BLOCK_POD_IMDS", false) {
                Metadata::Blocked
            } else {
                Metadata::Open
            },
            layout: read.layout("ENI_CNI_RULE_LAYOUT"),
            log_level: read.level("AWS_VPC_K8S_CNI_LOGLEVEL"),
            log_file: read.log_file("AWS_VPC_K8S_CNI_LOG_FILE"),
            log_format: read.log_format("ENI_CNI_LOG_FORMAT"),
            log_limits: read.log_limits(),
            plugin_log_file: read.plugin_log_file("AWS_VPC_K8S_PLUGIN_LOG_FILE"),
            plugin_log_level: read.level("AWS_VPC_K8S_PLUGIN_LOG_LEVEL"),
            cni_bin: read.text("HOST_CNI_BIN_PATH", "/host/opt/cni/bin").into(),
            cni_conf: read.text("HOST_CNI_CONFDIR_PATH", "/host/etc/cni/net.d").into(),
            verbs: read.verbs("ENI_CNI_STATUS"),
            backing_store: read
                .value("AWS_VPC_K8S_CNI_BACKING_STORE")
                .map_or_else(|| rpc::run_dir().join(BACKING_STORE), Into::into),
            run_dir: rpc::run_dir(),
            plugin: read.value("ENI_CNI_PLUGIN").map(Into::into),
            reference_plugins: read.value("ENI_CNI_REFERENCE_PLUGINS").map(Into::into),
            add_wait: read.seconds("ENI_CNI_ADD_WAIT", 30),
            // kubelet repeats a failed DEL at once, and again after 52 s
            // (`docs/references.md#runtime-failed-del`).
            gone_after: read.seconds("ENI_CNI_GONE_AFTER", 60),
            sweeping: sweeping::read(&mut read),
            metrics: read.metrics(),
            shadow_interval: read.seconds("ENI_CNI_SHADOW_INTERVAL", 300),
            shadow_port: read.port("ENI_CNI_SHADOW_PORT"),
            servers: read.servers(),
            not_acted_on: vec![],
        };
        (settings, read.bad)
    }
}

const ENI_CONFIG_KEY: &str = "k8s.amazonaws.com/eniConfig";
/// The name that the peer's checkpoint has in the run folder.
const BACKING_STORE: &str = "ipam.json";

#[cfg(test)]
mod tests;
