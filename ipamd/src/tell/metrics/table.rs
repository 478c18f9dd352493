//! Every metric: its name, kind, labels and meaning.
//!
//! Names that begin with `awscni_` are the peer's and mean what they mean there
//! (`docs/references.md#peer-metrics`), so that its dashboards and its metrics helper go on working;
//! ours begin with `eni_cni_`.

/// How Prometheus shows a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Goes up only.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A sum and a count.
    Summary,
    /// A sum, a count, and how many were at most so much.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Prometheus' word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug)]
pub(crate) struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it is shown.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one line.
    pub help: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

/// An ADD takes a millisecond when an address is there, and up to its deadline when none is.
const SECONDS: Kind =
    Kind::Histogram(&[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 30.0]);

/// Declares metrics as constants, and lists them all.
macro_rules! metrics {
    ($(#[$about:meta])* $table:ident; $($constant:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(crate) static $constant: Metric = metric($name, $kind, &[$($label),*], $help);
        )*
        $(#[$about])*
        pub(crate) static $table: &[&Metric] = &[$(&$constant),*];
    };
}

use Kind::{Counter, Gauge, Summary};

metrics! {
    /// All that the daemon shows, in this order.
    TABLE;
    BUILD = "awscni_build_info", Gauge, ["version"], "1, with the version of this daemon";
    ENI_MAX = "awscni_eni_max", Gauge, [],
        "Interfaces that may be attached, without those that are not ours to manage";
    IP_MAX = "awscni_ip_max", Gauge, [], "Addresses that all of them can have";
    ENI_ALLOCATED = "awscni_eni_allocated", Gauge, [], "Interfaces that are attached and managed";
    IP_TOTAL = "awscni_total_ip_addresses", Gauge, [], "Addresses that pods may have, used or not";
    IP_ASSIGNED = "awscni_assigned_ip_addresses", Gauge, [], "Addresses that pods have";
    PREFIX_TOTAL = "awscni_total_ipv4_prefixes", Gauge, [], "Prefixes among what is held";
    IP_PER_ENI = "awscni_assigned_ip_per_eni", Gauge, ["eni"], "Addresses that pods have, by interface";
    IP_PER_CIDR = "awscni_assigned_ip_per_cidr", Gauge, ["cidr"],
        "Addresses that pods have, by prefix; single addresses are not listed";
    IN_PROGRESS = "awscni_ipamd_action_inprogress", Gauge, ["fn"], "Changes in EC2 that are under way";
    ADD_REQUESTS = "awscni_add_ip_req_count", Counter, [], "ADDs of the runtime";
    DEL_REQUESTS = "awscni_del_ip_req_count", Counter, ["reason"], "DELs of the runtime";
    NO_ADDRESS = "awscni_no_available_ip_addresses", Counter, [], "ADDs that got no address";
    EC2_CALLS = "awscni_ec2api_req_count", Counter, ["fn"], "Calls of EC2";
    EC2_ERRORS = "awscni_ec2api_error_count", Counter, ["fn"], "Calls of EC2 that failed";
    API_LATENCY_MS = "awscni_aws_api_latency_ms", Summary, ["api", "error", "status"],
        "How long calls of EC2 took, in milliseconds";
    API_ERRORS = "awscni_aws_api_error_count", Counter, ["api", "error"],
        "Calls of EC2 that failed, by EC2's code";
    IPAMD_ERRORS = "awscni_ipamd_error_count", Counter, ["fn"],
        "Changes in EC2 that failed, by the peer's name of the step";
    STARTUP_SECONDS = "awscni_ipamd_startup_duration_seconds", SECONDS,
        ["success", "with_api_server", "failure_reason"],
        "From the start of the daemon until it serves";
    REASON = "eni_cni_pool_reason", Gauge, ["reason"],
        "1 for why the pool is as it is, 0 for every other reason";
    SHORT = "eni_cni_pool_short_addresses", Gauge, [],
        "Addresses that are missing to targets and waiting pods, and not on their way";
    RETRY_AT = "eni_cni_pool_retry_timestamp_seconds", Gauge, [],
        "When what EC2 refused is asked for again, in seconds since 1970; 0 when nothing is paused";
    FREE = "eni_cni_free_addresses", Gauge, [], "Addresses that a new pod may get now";
    COOLING = "eni_cni_resting_addresses", Gauge, [],
        "Addresses that were released a moment ago, or may be in use by somebody unknown";
    HELD = "eni_cni_held_addresses", Gauge, ["reason"],
        "Addresses that no record knows and somebody may use: no pod gets them, and no interface that may carry one is given back";
    HELD_ADDRESS = "eni_cni_held_address", Gauge, ["address", "eni", "reason"],
        "1 for each of them and each interface that may carry it";
    COMING = "eni_cni_coming_addresses", Gauge, [],
        "Addresses that are on their way: asked for, or of interfaces that are not set up yet";
    WAITING = "eni_cni_waiting_pods", Gauge, [], "Pods that wait for an address";
    EXPECTED = "eni_cni_expected_pods", Gauge, [],
        "Pending pods of this node that have no address and have not asked for one yet";
    REFUSALS = "eni_cni_refusals_total", Counter, ["cause"], "Changes that EC2 refused, by cause";
    REQUEST_SECONDS = "eni_cni_request_seconds", SECONDS, ["verb", "outcome"],
        "How long requests of the runtime took";
    WAIT_SECONDS = "eni_cni_address_wait_seconds", SECONDS, [],
        "How long ADDs waited that found no free address at once";
    REPAIRED = "eni_cni_repaired_total", Counter, ["kind"],
        "Things of ours in the kernel that were gone or changed, and were put back";
    REPAIR_LOOKS = "eni_cni_repair_looks_total", Counter, [],
        "Looks at the kernel because something of ours may be missing; none while all is well";
    SURROUNDINGS = "eni_cni_surroundings_wrong", Gauge, ["check"],
        "1 for each check of what is around the daemon on its node that found something wrong, 0 for the others";
    REPAIR_FIGHTS = "eni_cni_repair_fights_total", Counter, [],
        "Minutes in which another program undid a repair again and again";
    TAKEN_BY_NODE = "eni_cni_addresses_taken_by_node_total", Counter, [],
        "Addresses of running pods that somebody added to a link of the node, which cuts the pods off";
    OVERRULED = "eni_cni_rules_before_pods_total", Counter, [],
        "Rules of other programs that send packets of pods elsewhere";
    ASTRAY = "eni_cni_pods_routed_elsewhere_total", Counter, [],
        "Pods whose packets the kernel began to send elsewhere because of routes, rules or neighbour entries of other programs";
    GONE = "eni_cni_gone_pods_total", Counter, [],
        "Pods that ended without a DEL: their namespaces were gone, and their addresses were taken back";
    UNREADABLE_DELS = "eni_cni_unreadable_dels", Gauge, [],
        "DELs that waited for the daemon in files that cannot be read: these are kept aside";
    SWEEPER = "eni_cni_sweeper", Gauge, [],
        "1 while this node is the one of its cluster that searches for interfaces of dead nodes";
    SWEPT = "eni_cni_swept_interfaces_total", Counter, [],
        "Interfaces that dead nodes left and this node deleted";
    LOG_LOST = "eni_cni_log_lost_lines_total", Counter, ["log"],
        "Lines that a log did not take: its disk is full, read-only or too slow";
    MEMORY = "process_resident_memory_bytes", Gauge, [], "Memory of this process that is in RAM";
    CPU_SECONDS = "process_cpu_seconds_total", Counter, [], "Processor time that this process used";
    OPEN_FILES = "process_open_fds", Gauge, [], "File descriptors that this process has open";
}

metrics! {
    /// All that `ipamd shadow` shows, in this order.
    SHADOW;
    SHADOW_LOOKED_AT = "eni_cni_shadow_look_timestamp_seconds", Gauge, [],
        "`ipamd shadow`: when it last looked, in seconds since 1970; 0 before it could";
    SHADOW_DISAGREEMENTS = "eni_cni_shadow_disagreements", Gauge, [],
        "`ipamd shadow`: addresses of running pods about which not all say the same";
    SHADOW_DISAGREEMENT = "eni_cni_shadow_disagreement", Gauge, ["address", "odd"],
        "`ipamd shadow`: 1 for each such address and each who says what the pod does not need";
    SHADOW_PODS = "eni_cni_shadow_adopted_pods", Gauge, [],
        "`ipamd shadow`: pods that a take-over would adopt";
    SHADOW_HELD = "eni_cni_shadow_held_addresses", Gauge, [],
        "`ipamd shadow`: addresses that a take-over would give to nobody";
    SHADOW_ACTIONS = "eni_cni_shadow_planned_actions", Gauge, ["fn"],
        "`ipamd shadow`: changes in EC2 that a take-over would begin with";
}

/// The table as Markdown.
pub(crate) fn table() -> String {
    let mut text = String::from("| metric | kind | labels | |\n|---|---|---|---|\n");
    for Metric { name, kind, labels, help } in TABLE.iter().chain(SHADOW) {
        let labels = labels.join(", ");
        text.push_str(&format!("| `{name}` | {} | {labels} | {help} |\n", kind.word()));
    }
    text
}
