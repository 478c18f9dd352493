//! Every setting, and whether it works: for the log, the README and `ipamd settings`.

use std::collections::BTreeMap;

/// Whether a setting of the peer does something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It works as it does for the peer.
    Works,
    /// It is accepted and needs nothing to be done.
    NoEffect,
    /// It does nothing yet.
    NotYet,
}

/// One line of the table of settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// Name of the environment variable.
    pub name: &'static str,
    /// Its default, as text.
    pub default: &'static str,
    /// Whether it works.
    pub support: Support,
}

const fn line(name: &'static str, default: &'static str, support: Support) -> Line {
    Line { name, default, support }
}

/// Every setting that we know, the peer's (`docs/references.md#peer-settings`) and ours (`ENI_CNI_…`).
pub(crate) const TABLE: &[Line] = &[
    line("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false", Support::Works),
    line("ENI_CONFIG_ANNOTATION_DEF", "k8s.amazonaws.com/eniConfig", Support::Works),
    line("ENI_CONFIG_LABEL_DEF", "k8s.amazonaws.com/eniConfig", Support::Works),
    line("WARM_ENI_TARGET", "1", Support::Works),
    line("WARM_IP_TARGET", "0 (unset)", Support::Works),
    line("MINIMUM_IP_TARGET", "0 (unset)", Support::Works),
    line("MAX_ENI", "-1 (what the instance type allows)", Support::Works),
    line("IP_COOLDOWN_PERIOD", "30", Support::Works),
    line("CLUSTER_NAME", "", Support::Works),
    line("ADDITIONAL_ENI_TAGS", "{}", Support::Works),
    line("MY_NODE_NAME", "", Support::Works),
    line("AWS_VPC_ENI_MTU", "9001", Support::Works),
    line("POD_MTU", "AWS_VPC_ENI_MTU", Support::Works),
    line("AWS_VPC_K8S_CNI_VETHPREFIX", "eni", Support::Works),
    line("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false", Support::Works),
    line("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "", Support::Works),
    line("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng", Support::Works),
    line("AWS_VPC_K8S_CNI_CONNMARK", "0x80", Support::Works),
    line("AWS_VPC_CNI_NODE_PORT_SUPPORT", "true", Support::Works),
    line("AWS_EXTERNAL_SERVICE_CIDRS", "", Support::Works),
    line("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG", Support::Works),
    line("AWS_VPC_K8S_CNI_LOG_FILE", "/host/var/log/aws-routed-eni/ipamd.log", Support::Works),
    line("AWS_VPC_K8S_PLUGIN_LOG_FILE", "/var/log/aws-routed-eni/plugin.log", Support::Works),
    line("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "DEBUG", Support::Works),
    line("HOST_CNI_BIN_PATH", "/host/opt/cni/bin", Support::Works),
    line("HOST_CNI_CONFDIR_PATH", "/host/etc/cni/net.d", Support::Works),
    line("ENI_CNI_RULE_LAYOUT", "flat", Support::Works),
    line("ENI_CNI_BLOCK_POD_IMDS", "false", Support::Works),
    line("ENI_CNI_RUN_DIR", "/var/run/aws-node", Support::Works),
    line("ENI_CNI_PLUGIN", "aws-cni beside ipamd", Support::Works),
    line("ENI_CNI_REFERENCE_PLUGINS", "cni-plugins beside ipamd", Support::Works),
    line("ENI_CNI_ADD_WAIT", "30", Support::Works),
    line("ENI_CNI_GONE_AFTER", "60", Support::Works),
    line("ENI_CNI_SHADOW_INTERVAL", "300", Support::Works),
    line("ENI_CNI_SHADOW_PORT", "0 (none)", Support::Works),
    line("ENI_CNI_LOG_FORMAT", "text", Support::Works),
    line("ENI_CNI_LOG_SIZE", "100M", Support::Works),
    line("ENI_CNI_LOG_FILES", "5", Support::Works),
    line("ENI_CNI_LOG_DAYS", "30", Support::Works),
    line("ENABLE_IPv4", "true", Support::NoEffect),
    line("AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER", "false", Support::NoEffect),
    line("AWS_EC2_ENDPOINT", "", Support::NoEffect),
    line("VPC_CNI_VERSION", "", Support::NoEffect),
    line("ENABLE_PREFIX_DELEGATION", "false", Support::Works),
    line("WARM_PREFIX_TARGET", "0", Support::Works),
    line("ENABLE_IPv6", "false", Support::NotYet),
    line("ENABLE_SUBNET_DISCOVERY", "true", Support::NotYet),
    line("ENABLE_POD_ENI", "false", Support::NotYet),
    line("POD_SECURITY_GROUP_ENFORCING_MODE", "strict", Support::NotYet),
    line("ENABLE_MULTI_NIC", "false", Support::NotYet),
    line("MANAGE_UNTAGGED_ENI", "true", Support::NotYet),
    line("DISABLE_NETWORK_RESOURCE_PROVISIONING", "false", Support::NotYet),
    line("ENABLE_IMDS_ONLY_MODE", "false", Support::NotYet),
    line("DISABLE_LEAKED_ENI_CLEANUP", "false", Support::NotYet),
    line("AWS_MANAGE_ENIS_NON_SCHEDULABLE", "false", Support::NotYet),
    line("NETWORK_POLICY_ENFORCING_MODE", "", Support::NotYet),
    line("ANNOTATE_POD_IP", "false", Support::NotYet),
    line("AWS_VPC_K8S_CNI_BACKING_STORE", "/var/run/aws-node/ipam.json", Support::Works),
    line("CLUSTER_ENDPOINT", "", Support::NotYet),
    line("HTTP_TIMEOUT", "10", Support::NotYet),
    line("DISABLE_METRICS", "false", Support::Works),
    line("DISABLE_INTROSPECTION", "false", Support::NotYet),
    line("INTROSPECTION_BIND_ADDRESS", "127.0.0.1:61679", Support::NotYet),
    line("ENABLE_BANDWIDTH_PLUGIN", "false", Support::NotYet),
    line("ENABLE_V4_EGRESS", "true", Support::NotYet),
    line("ENABLE_V6_EGRESS", "false", Support::NotYet),
    line("DISABLE_POD_V6", "false", Support::NotYet),
    line("DISABLE_TCP_EARLY_DEMUX", "false", Support::NotYet),
];

/// Settings that are set, by what they do: for one line in the log at start.
pub(crate) fn in_force(environment: &BTreeMap<String, String>, support: Support) -> Vec<String> {
    let set = |line: &&Line| environment.get(line.name).is_some_and(|value| !value.is_empty());
    let lines = TABLE.iter().filter(|line| line.support == support);
    lines.filter(set).map(|line| format!("{}={}", line.name, environment[line.name])).collect()
}

/// The table as Markdown.
pub(crate) fn table() -> String {
    let mut text = String::from("| setting | default | |\n|---|---|---|\n");
    for Line { name, default, support } in TABLE {
        let says = match support {
            Support::Works => "works",
            Support::NoEffect => "accepted, nothing to do",
            Support::NotYet => "not yet",
        };
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        text.push_str(&format!("| `{name}` | {default} | {says} |\n"));
    }
    text
}
