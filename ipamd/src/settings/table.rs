//! Every setting, and what becomes of it: for the daemon's start, the README and `ipamd settings`.

use super::reader;

/// What becomes of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It works as it does for the peer.
    Works,
    /// It is accepted and needs nothing to be done; this is why.
    Quiet(&'static str),
    /// Any other value than the default is not acted on, and that is told; this does not happen.
    Warns(&'static str),
    /// Safety depends on any other value than the default, so that the daemon does not start; this is
    /// why, and what to do.
    Refuses(&'static str),
}

/// What values a setting has that nothing here reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// True or false.
    Flag,
    /// One of these, in letters of any case.
    Words(&'static [&'static str]),
    /// Anything.
    Text,
}

/// One line of the table of settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Name of the environment variable.
    pub name: &'static str,
    /// Its default, as text.
    pub default: &'static str,
    /// What values it has.
    pub kind: Kind,
    /// What becomes of it.
    pub support: Support,
}

impl Line {
    /// Whether the value means what the default means, or something as harmless; `Err` says what is
    /// legal.
    pub(super) fn is_as_default(&self, value: &str) -> Result<bool, String> {
        match self.kind {
            Kind::Text => Ok(value == self.default),
            Kind::Flag => match reader::flag(value) {
                Some(flag) => Ok(Some(flag) == reader::flag(self.default)),
                None => Err(format!("must be {}", reader::FLAG)),
            },
            Kind::Words(words) => match words.iter().find(|it| it.eq_ignore_ascii_case(value)) {
                Some(word) => Ok(*word == self.default || HARMLESS.contains(&(self.name, *word))),
                None => Err(format!("must be {}", words.join(", "))),
            },
        }
    }
}

/// Values beside the default that ask for nothing that we do not do.
const HARMLESS: &[(&str, &str)] = &[("NETWORK_POLICY_ENFORCING_MODE", "none")];

const fn works(name: &'static str, default: &'static str) -> Line {
    Line { name, default, kind: Kind::Text, support: Support::Works }
}

const fn quiet(name: &'static str, default: &'static str, kind: Kind, why: &'static str) -> Line {
    Line { name, default, kind, support: Support::Quiet(why) }
}

const fn warns(name: &'static str, default: &'static str, kind: Kind, what: &'static str) -> Line {
    Line { name, default, kind, support: Support::Warns(what) }
}

const fn refuses(name: &'static str, default: &'static str, kind: Kind, why: &'static str) -> Line {
    Line { name, default, kind, support: Support::Refuses(why) }
}

/// Every setting that we know, the peer's (`docs/references.md#peer-settings`) and ours (`ENI_CNI_…`).
pub(crate) const TABLE: &[Line] = &[
    works("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false"),
    works("ENI_CONFIG_ANNOTATION_DEF", "k8s.amazonaws.com/eniConfig"),
    works("ENI_CONFIG_LABEL_DEF", "k8s.amazonaws.com/eniConfig"),
    works("WARM_ENI_TARGET", "1"),
    works("WARM_IP_TARGET", "0 (unset)"),
    works("MINIMUM_IP_TARGET", "0 (unset)"),
    works("ENABLE_PREFIX_DELEGATION", "false"),
    works("WARM_PREFIX_TARGET", "0"),
    works("MAX_ENI", "-1 (what the instance type allows)"),
    works("IP_COOLDOWN_PERIOD", "30"),
    works("CLUSTER_NAME", ""),
    works("ADDITIONAL_ENI_TAGS", "{}"),
    works("MY_NODE_NAME", ""),
    works("AWS_VPC_ENI_MTU", "9001"),
    works("POD_MTU", "AWS_VPC_ENI_MTU"),
    works("AWS_VPC_K8S_CNI_VETHPREFIX", "eni"),
    works("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
    works("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", ""),
    works("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
    works("AWS_VPC_K8S_CNI_CONNMARK", "0x80"),
    works("AWS_VPC_CNI_NODE_PORT_SUPPORT", "true"),
    works("AWS_EXTERNAL_SERVICE_CIDRS", ""),
    works("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG"),
    works("AWS_VPC_K8S_CNI_LOG_FILE", "/host/var/log/aws-routed-eni/ipamd.log"),
    works("AWS_VPC_K8S_PLUGIN_LOG_FILE", "/var/log/aws-routed-eni/plugin.log"),
    works("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "DEBUG"),
    works("AWS_VPC_K8S_CNI_BACKING_STORE", "/var/run/aws-node/ipam.json"),
    works("HOST_CNI_BIN_PATH", "/host/opt/cni/bin"),
    works("HOST_CNI_CONFDIR_PATH", "/host/etc/cni/net.d"),
    works("DISABLE_LEAKED_ENI_CLEANUP", "false"),
    works("DISABLE_METRICS", "false"),
    works("CLUSTER_ENDPOINT", "what the pod or KUBECONFIG says"),
    works("HTTP_TIMEOUT", "10"),
    works("AWS_ENDPOINT_URL_EC2", "what the region says"),
    works("AWS_EC2_ENDPOINT", "AWS_ENDPOINT_URL"),
    works("AWS_ENDPOINT_URL", ""),
    works("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false"),
    works("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254"),
    works("AWS_CA_BUNDLE", "the system's"),
    works("HTTPS_PROXY", ""),
    works("HTTP_PROXY", ""),
    works("NO_PROXY", ""),
    works("ENI_CNI_RULE_LAYOUT", "flat"),
    works("ENI_CNI_BLOCK_POD_IMDS", "false"),
    works("ENI_CNI_STATUS", "false"),
    works("ENI_CNI_RUN_DIR", "/var/run/aws-node"),
    works("ENI_CNI_PLUGIN", "aws-cni beside ipamd"),
    works("ENI_CNI_REFERENCE_PLUGINS", "cni-plugins beside ipamd"),
    works("ENI_CNI_ADD_WAIT", "30"),
    works("ENI_CNI_GONE_AFTER", "60"),
    works("ENI_CNI_SWEEP_INTERVAL", "1800"),
    works("ENI_CNI_SWEEP_GRACE", "900"),
    works("ENI_CNI_SHADOW_INTERVAL", "300"),
    works("ENI_CNI_SHADOW_PORT", "0 (none)"),
    works("ENI_CNI_METRICS_BIND_ADDRESS", ":61678"),
    works("ENI_CNI_METRICS_CONNECTIONS", "32"),
    works("ENI_CNI_METRICS_RATE", "10"),
    works("ENI_CNI_LOG_FORMAT", "text"),
    works("ENI_CNI_LOG_SIZE", "100M"),
    works("ENI_CNI_LOG_FILES", "5"),
    works("ENI_CNI_LOG_DAYS", "30"),
    refuses(
        "ENABLE_IPv4",
        "true",
        Kind::Flag,
        "pods get IPv4 addresses, and no others: set it to true",
    ),
    refuses(
        "ENABLE_IPv6",
        "false",
        Kind::Flag,
        "IPv6 is not supported: set it to false, or keep amazon-vpc-cni-k8s in IPv6 clusters",
    ),
    refuses(
        "ENABLE_POD_ENI",
        "false",
        Kind::Flag,
        "security groups for pods are not supported, and pods that a SecurityGroupPolicy selects would run in the node's security groups: set it to false, or keep amazon-vpc-cni-k8s where such pods run",
    ),
    refuses(
        "NETWORK_POLICY_ENFORCING_MODE",
        "standard",
        Kind::Words(&["none", "strict", "standard"]),
        "pods would start before their network policies are in force: set it to standard or none, or keep amazon-vpc-cni-k8s where that matters",
    ),
    refuses(
        "ENABLE_IMDS_ONLY_MODE",
        "false",
        Kind::Flag,
        "the daemon would call EC2 all the same, and attach and delete interfaces: set it to false, or keep amazon-vpc-cni-k8s on such nodes",
    ),
    refuses(
        "DISABLE_NETWORK_RESOURCE_PROVISIONING",
        "false",
        Kind::Flag,
        "the daemon would attach and delete interfaces and addresses all the same: set it to false, or keep amazon-vpc-cni-k8s on such nodes",
    ),
    refuses(
        "MANAGE_UNTAGGED_ENI",
        "true",
        Kind::Flag,
        "addresses of interfaces without tags would be given to pods all the same: set it to true, and tag each interface that is not for pods node.k8s.amazonaws.com/no_manage=true",
    ),
    warns("ENABLE_MULTI_NIC", "false", Kind::Flag, "pods get addresses of network card 0 alone"),
    warns("ANNOTATE_POD_IP", "false", Kind::Flag, "pods are not annotated with their addresses"),
    warns(
        "ENABLE_BANDWIDTH_PLUGIN",
        "false",
        Kind::Flag,
        "annotations that limit a pod's bandwidth are without effect",
    ),
    warns("ENABLE_V6_EGRESS", "false", Kind::Flag, "pods do not reach IPv6 addresses"),
    warns("DISABLE_POD_V6", "false", Kind::Flag, "IPv6 stays as the kernel has it in pods"),
    warns(
        "DISABLE_TCP_EARLY_DEMUX",
        "false",
        Kind::Flag,
        "net.ipv4.tcp_early_demux stays as the node has it",
    ),
    warns(
        "INTROSPECTION_BIND_ADDRESS",
        "127.0.0.1:61679",
        Kind::Text,
        "no introspection is served; metrics and the log say what it would",
    ),
    quiet("DISABLE_INTROSPECTION", "false", Kind::Flag, "no introspection is served"),
    quiet(
        "ENABLE_SUBNET_DISCOVERY",
        "true",
        Kind::Flag,
        "interfaces are made in the node's subnet, or in that of its ENIConfig",
    ),
    quiet(
        "AWS_MANAGE_ENIS_NON_SCHEDULABLE",
        "false",
        Kind::Flag,
        "interfaces of a cordoned node are looked after as of any other",
    ),
    quiet(
        "POD_SECURITY_GROUP_ENFORCING_MODE",
        "strict",
        Kind::Text,
        "there are no security groups for pods, see ENABLE_POD_ENI",
    ),
    quiet("ENABLE_V4_EGRESS", "true", Kind::Flag, "it is for IPv6 clusters"),
    quiet("AWS_VPC_K8S_EGRESS_V4_PLUGIN_LOG_FILE", "", Kind::Text, "that plugin is not used"),
    quiet("AWS_VPC_K8S_EGRESS_V6_PLUGIN_LOG_FILE", "", Kind::Text, "that plugin is not used"),
    quiet("AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "false", Kind::Text, "the peer ignores it, too"),
    quiet("ENABLE_NFTABLES", "false", Kind::Text, "the peer ignores it, too"),
    quiet("VPC_CNI_VERSION", "", Kind::Text, "it is for the peer's user agent"),
    quiet("MY_POD_NAME", "", Kind::Text, "events are about the Node"),
];

/// The line of a setting; those of proxies can be in small letters, too.
pub(super) fn find(name: &str) -> Option<&'static Line> {
    TABLE.iter().find(|line| {
        line.name == name
            || (line.name.ends_with("_PROXY") && line.name.to_ascii_lowercase() == name)
    })
}

/// The table as Markdown.
pub(crate) fn table() -> String {
    let mut text = String::from("| setting | default | |\n|---|---|---|\n");
    for Line { name, default, support, .. } in TABLE {
        let says = match support {
            Support::Works => "works".into(),
            Support::Quiet(why) => format!("accepted: {why}"),
            Support::Warns(what) => format!("another value is a warning: {what}"),
            Support::Refuses(why) => format!("another value is refused: {why}"),
        };
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        text.push_str(&format!("| `{name}` | {default} | {says} |\n"));
    }
    text
}
