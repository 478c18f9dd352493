//! Every setting, read from the environment in one place, into types.

mod log;
mod table;

pub(crate) use log::{LogFile, LogFormat, LogLimits};
pub(crate) use table::{Support, in_force, table};

use ipnetwork::Ipv4Network;
use net::{
    Layout, TableMarks,
    firewall::{Metadata, NodePort, Snat},
};
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

/// Where pods' addresses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Networking {
    /// From the node's own subnet.
    Node,
    /// From the subnet of an ENIConfig.
    Custom,
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
    /// Whether metrics are served.
    pub metrics: Metrics,
    /// How often `ipamd shadow` looks; 0 means once.
    pub shadow_interval: Duration,
    /// Where `ipamd shadow` serves its metrics, if it does.
    pub shadow_port: Option<u16>,
}

/// Whether metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metrics {
    /// They are.
    Served,
    /// They are not.
    Off,
}

impl Metrics {
    fn unless(disabled: bool) -> Self {
        if disabled { Self::Off } else { Self::Served }
    }
}

/// A setting with a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadSetting {
    name: &'static str,
    value: String,
    legal: &'static str,
}

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, legal } = self;
        write!(f, "{name}=`{value}`: must be {legal}")
    }
}

impl Settings {
    /// The bits of a packet's mark that name a routing table, where our rules do.
    pub(crate) fn table_marks(&self) -> Option<TableMarks> {
        (self.layout == Layout::Flat).then(|| TableMarks::beside(self.mark)).flatten()
    }

    /// Reads all settings; one that is not set or empty has its default.
    ///
    /// # Errors
    /// All settings with values that they cannot have.
    pub(crate) fn read(environment: &BTreeMap<String, String>) -> Result<Self, Vec<BadSetting>> {
        let mut read = Reader { environment, bad: vec![] };
        let eni_mtu = read.number("AWS_VPC_ENI_MTU", 576, 9001).unwrap_or(9001);
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
                warm_prefixes: read
                    .number("WARM_PREFIX_TARGET", 0, u16::MAX)
                    .map_or(0, usize::from),
                warm_enis: read.number("WARM_ENI_TARGET", 0, u16::MAX).map_or(1, usize::from),
                warm_addresses: read.target("WARM_IP_TARGET"),
                minimum_addresses: read.target("MINIMUM_IP_TARGET"),
                cooldown: read.seconds("IP_COOLDOWN_PERIOD", 30),
            },
            max_enis: read.max_enis(),
            additional_tags: read.tags("ADDITIONAL_ENI_TAGS"),
            cluster: read.value("CLUSTER_NAME").map(Into::into),
            node: read.value("MY_NODE_NAME").map(Into::into),
            eni_mtu: u32::from(eni_mtu),
            pod_mtu: u32::from(read.number("POD_MTU", 576, 9001).unwrap_or(eni_mtu)),
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
            metrics: Metrics::unless(read.flag("DISABLE_METRICS", false)),
            shadow_interval: read.seconds("ENI_CNI_SHADOW_INTERVAL", 300),
            shadow_port: read.number("ENI_CNI_SHADOW_PORT", 0, u16::MAX).filter(|port| *port > 0),
        };
        if read.bad.is_empty() { Ok(settings) } else { Err(read.bad) }
    }
}

const ENI_CONFIG_KEY: &str = "k8s.amazonaws.com/eniConfig";
/// The name that the peer's checkpoint has in the run folder.
const BACKING_STORE: &str = "ipam.json";

/// Tags with this in their key belong to the controllers of the cluster.
const RESERVED_TAG: &str = "k8s.amazonaws.com";

/// The longest prefix that leaves room for the eleven digits of the pod in fifteen bytes.
const VETH_PREFIX: usize = 4;

/// Reads values and collects those that are wrong, so that all are reported at once.
struct Reader<'a> {
    environment: &'a BTreeMap<String, String>,
    bad: Vec<BadSetting>,
}

impl<'a> Reader<'a> {
    fn value(&self, name: &'static str) -> Option<&'a str> {
        self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &'static str, default: &str) -> String {
        self.value(name).unwrap_or(default).into()
    }

    fn parse<T>(
        &mut self,
        name: &'static str,
        legal: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let parsed = parse(value);
        if parsed.is_none() {
            self.bad.push(BadSetting { name, value: value.into(), legal });
        }
        parsed
    }

    /// As Go's `ParseBool`, which the peer uses.
    fn flag(&mut self, name: &'static str, default: bool) -> bool {
        let parse = |value: &str| match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        };
        self.parse(name, "true or false", parse).unwrap_or(default)
    }

    fn number(&mut self, name: &'static str, from: u16, to: u16) -> Option<u16> {
        let legal =
            if from == 0 { "a whole number, 0 or more" } else { "a whole number from 576 to 9001" };
        self.parse(name, legal, |value| value.parse().ok().filter(|it| (from..=to).contains(it)))
    }

    fn target(&mut self, name: &'static str) -> Option<usize> {
        self.number(name, 0, u16::MAX).map(usize::from).filter(|target| *target > 0)
    }

    fn seconds(&mut self, name: &'static str, default: u16) -> Duration {
        Duration::from_secs(self.number(name, 0, u16::MAX).unwrap_or(default).into())
    }

    fn max_enis(&mut self) -> Option<usize> {
        let limit = self.parse("MAX_ENI", "a whole number; below 1 means no limit", |value| {
            value.parse::<i32>().ok()
        });
        limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0)
    }

    fn tags(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let legal = "a JSON object of texts whose keys do not contain k8s.amazonaws.com";
        let parse = |value: &str| {
            let tags: BTreeMap<String, String> = serde_json::from_str(value).ok()?;
            tags.keys().all(|key| !key.contains(RESERVED_TAG)).then_some(tags)
        };
        self.parse(name, legal, parse).unwrap_or_default()
    }

    fn veth_prefix(&mut self) -> String {
        let legal = "one to four letters or digits, not eth, vlan or lo";
        let parse = |value: &str| {
            let plain = value.len() <= VETH_PREFIX
                && value.bytes().all(|byte| byte.is_ascii_alphanumeric());
            (plain && !["eth", "vlan", "lo"].contains(&value)).then(|| value.to_owned())
        };
        self.parse("AWS_VPC_K8S_CNI_VETHPREFIX", legal, parse).unwrap_or_else(|| "eni".into())
    }

    fn snat(&mut self) -> Snat {
        let how =
            self.parse("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng, hashrandom or none", |value| {
                match value {
                    "prng" => Some(Snat::FullyRandom),
                    "hashrandom" => Some(Snat::Random),
                    "none" => Some(Snat::Sequential),
                    _ => None,
                }
            });
        if self.flag("AWS_VPC_K8S_CNI_EXTERNALSNAT", false) {
            Snat::External
        } else {
            how.unwrap_or(Snat::FullyRandom)
        }
    }

    fn layout(&mut self, name: &'static str) -> Layout {
        let layout = self.parse(name, "flat or aws", |value| match value {
            "flat" => Some(Layout::Flat),
            "aws" => Some(Layout::Peer),
            _ => None,
        });
        layout.unwrap_or(Layout::Flat)
    }

    fn cidrs(&mut self, name: &'static str) -> Vec<Ipv4Network> {
        let cidr = |text: &str| {
            let cidr: Ipv4Network = text.trim().parse().ok()?;
            Ipv4Network::new(cidr.network(), cidr.prefix()).ok()
        };
        let parse = |value: &str| value.split(',').map(cidr).collect();
        self.parse(name, "IPv4 CIDRs such as 10.1.0.0/16,192.168.0.0/16", parse).unwrap_or_default()
    }

    fn mark(&mut self, name: &'static str) -> u32 {
        let parse = |value: &str| match value.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok(),
            None => value.parse().ok(),
        };
        let mark = self.parse(name, "a number from 1 to 0xffffffff", |value| {
            parse(value).filter(|mark| *mark > 0)
        });
        mark.unwrap_or(0x80)
    }
}

#[cfg(test)]
mod tests {
    use super::{table::TABLE, *};

    #[test]
    fn without_any_variable_every_setting_has_the_peers_default() {
        let settings = Settings::read(&BTreeMap::new()).unwrap();

        assert_eq!(settings.networking, Networking::Node);
        assert_eq!(settings.targets.warm_enis, 1);
        assert_eq!(settings.targets.warm_addresses, None);
        assert_eq!((settings.eni_mtu, settings.pod_mtu, settings.mark), (9001, 9001, 0x80));
        assert_eq!(settings.snat, Snat::FullyRandom);
    }

    #[test]
    fn every_bad_value_is_reported_with_its_name_and_what_is_legal() {
        let environment = [
            ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "yes"),
            ("AWS_VPC_ENI_MTU", "12000"),
            ("AWS_VPC_K8S_CNI_VETHPREFIX", "eth"),
            ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.0.0.0/8,wrong"),
            ("ADDITIONAL_ENI_TAGS", r#"{"node.k8s.amazonaws.com/x":"y"}"#),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into())).into();

        let bad = Settings::read(&environment).unwrap_err();

        assert_eq!(bad.len(), 5, "{bad:?}");
        let text = bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(
            text.contains("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=`yes`: must be true or false"),
            "{text}"
        );
    }

    #[test]
    fn every_setting_that_is_read_is_in_the_table() {
        let source = include_str!("mod.rs");
        let named = source.split('"').filter(|word| {
            word.len() > 6
                && word.contains('_')
                && word.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
        });

        for name in named {
            assert!(TABLE.iter().any(|line| line.name == name), "{name}");
        }
    }

    #[test]
    fn the_readme_has_the_table_of_settings() {
        let readme = include_str!("../../../README.md");

        assert!(readme.contains(&table()), "README.md: put in what `ipamd settings` prints");
    }
}
