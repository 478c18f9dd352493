//! Compares what is installed in a cluster with what the daemon does: its permissions in AWS and in
//! Kubernetes, its settings, its custom resource; and what its build promises with what is tested.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod merge;

use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};
use tests::repository;

/// First words of EC2's actions in the SDK's names.
const VERBS: &[&str] =
    &["assign", "attach", "create", "delete", "describe", "detach", "modify", "unassign"];

/// Where containerd and CRI-O keep the network namespaces of pods.
const NAMESPACES: &str = "/var/run/netns";

/// Where programs of iptables-legacy wait for each other.
const LOCK: &str = "/run/xtables.lock";

#[test]
fn the_iam_policies_allow_exactly_the_calls_that_ipamd_makes() {
    let source = sources(&repository().join("ipamd/src"));

    for policy in ["conf/iam-policy.json", "conf/iam-policy-scoped.json"] {
        let allowed = allowed(&read(policy));

        assert_eq!(allowed, calls(&source), "left: {policy}, right: ipamd/src");
    }
}

#[test]
fn the_simulator_answers_every_call_that_ipamd_makes() {
    let answered = actions(vpc::Action::names());

    let unanswered = &calls(&sources(&repository().join("ipamd/src"))) - &answered;

    assert_eq!(unanswered, BTreeSet::new());
}

#[test]
fn a_call_is_found_by_the_name_of_its_method() {
    let source = "self.client\n    .assign_ipv6_addresses()\n    .network_interface_id(eni)
        let filter = described(eni); .delete_on_termination(true) .attachment_id()";

    assert_eq!(calls(source), actions(&["AssignIpv6Addresses"]));
}

#[test]
fn the_oldest_compiler_that_is_promised_is_the_one_that_is_tested() {
    let tested = between(&read("rust-toolchain.toml"), "channel = \"", "\"");
    let promised = between(&read("Cargo.toml"), "rust-version = \"", "\"");
    let in_image = between(&read("Dockerfile"), "/rust:", "-");
    let named_in_image = between(&read("Dockerfile"), "RUSTUP_TOOLCHAIN=", "\n");

    assert_eq!(promised, tested, "rust-version in Cargo.toml");
    assert_eq!(in_image, tested, "the image in the Dockerfile");
    assert_eq!(named_in_image, tested, "RUSTUP_TOOLCHAIN in the Dockerfile");
}

#[test]
fn tagging_what_is_created_needs_a_permission_of_its_own() {
    let source = "client.create_network_interface().tag_specifications(tags)";

    assert_eq!(calls(source), actions(&["CreateNetworkInterface", "CreateTags"]));
}

#[test]
fn ipamd_may_tag_nothing_but_interfaces() {
    for policy in ["conf/iam-policy.json", "conf/iam-policy-scoped.json"] {
        let policy: Value = serde_json::from_str(&read(policy)).unwrap();

        let tagging = statements(&policy).find(|it| it["Action"][0] == "ec2:CreateTags").unwrap();

        assert_eq!(tagging["Action"].as_array().unwrap().len(), 1, "CreateTags stands alone");
        assert_eq!(tagging["Resource"], serde_json::json!(["arn:aws:ec2:*:*:network-interface/*"]));
    }
}

#[test]
fn the_daemonset_sets_only_settings_that_do_something() {
    let settings = read("ipamd/src/settings/table.rs");

    let settings: String = settings.split_whitespace().collect();
    for name in environment(&daemonset()) {
        let before = settings.split(&format!("(\"{name}\",")).next().unwrap();
        assert!(before.len() < settings.len(), "{name}: not in ipamd/src/settings/table.rs");
        let works = before.ends_with("works") || name == "ENABLE_IPv4";
        assert!(works, "{name} does nothing yet: leave it out");
    }
}

#[test]
fn the_daemonset_mounts_where_the_settings_point() {
    let settings = read("ipamd/src/settings/table.rs");

    let daemonset = daemonset();

    for mount in daemonset["containers"][0]["volumeMounts"].as_array().unwrap() {
        let path = mount["mountPath"].as_str().unwrap();
        if [NAMESPACES, LOCK].contains(&path) {
            continue;
        }
        assert!(
            settings.contains(path),
            "{path}: no default in ipamd/src/settings/table.rs lies there"
        );
    }
}

/// Where the time is over that the DaemonSet gives, a kubelet kills.
#[test]
fn what_is_in_hand_finishes_within_half_of_the_grace_period() {
    let source = read("ipamd/src/pods/wire.rs");

    let finish = between(&source, "const FINISH: Duration = Duration::from_secs(", ")");

    let grace = daemonset()["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(finish.parse::<u64>().unwrap() * 2 <= grace, "{finish} s of {grace}");
}

/// The daemon writes the plugin's log, whose path is the node's, through the folder below `/host`.
#[test]
fn the_folder_of_each_log_is_the_nodes_and_below_host() {
    let daemonset = daemonset();

    let mounts = daemonset["containers"][0]["volumeMounts"].as_array().unwrap();
    let volumes = daemonset["volumes"].as_array().unwrap();
    let env = daemonset["containers"][0]["env"].as_array().unwrap();
    let folder = |name: &str| {
        let line = env.iter().find(|line| line["name"] == name).unwrap();
        let path = line["value"].as_str().unwrap();
        path.rsplit_once('/').unwrap().0.to_owned()
    };
    let (daemons, plugins) =
        (folder("AWS_VPC_K8S_CNI_LOG_FILE"), folder("AWS_VPC_K8S_PLUGIN_LOG_FILE"));
    let mount = mounts.iter().find(|mount| mount["mountPath"] == daemons.as_str()).unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();

    assert_eq!(daemons, format!("/host{plugins}"));
    assert_eq!(volume["hostPath"]["path"], plugins.as_str());
    assert_eq!(volume["hostPath"]["type"], "DirectoryOrCreate");
}

/// Where the root is read-only, a folder of a setting that no volume is mounted at would take nothing.
#[test]
fn the_container_writes_only_where_a_volume_is_and_calls_only_what_runtimes_allow() {
    let settings = read("ipamd/src/settings/table.rs");
    let daemonset = daemonset();

    let container = &daemonset["containers"][0];
    let security = &container["securityContext"];

    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(security["allowPrivilegeEscalation"], false);
    let mounts = container["volumeMounts"].as_array().unwrap();
    let written = mounts.iter().filter(|mount| mount["readOnly"] != true);
    let written: Vec<_> = written.map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    let settings: String = settings.split_whitespace().collect();
    for name in [
        "HOST_CNI_BIN_PATH",
        "HOST_CNI_CONFDIR_PATH",
        "AWS_VPC_K8S_CNI_LOG_FILE",
        "AWS_VPC_K8S_CNI_BACKING_STORE",
        "ENI_CNI_RUN_DIR",
    ] {
        let path = between(&settings, &format!("works(\"{name}\",\""), "\"");
        let lies_in = |folder: &&&str| Path::new(&path).starts_with(folder);
        assert!(written.iter().find(lies_in).is_some(), "{name}: {path} in none of {written:?}");
    }
}

/// The reason is told beside it; a limit close to what is used would end daemons at work.
#[test]
fn the_limit_of_memory_is_far_above_what_a_full_node_takes() {
    let daemonset = daemonset();

    let resources = &daemonset["containers"][0]["resources"];

    let mib = |of: &str| {
        let text = resources[of]["memory"].as_str().unwrap();
        text.strip_suffix("Mi").unwrap().parse::<u64>().unwrap()
    };
    assert!(mib("limits") >= 16 * mib("requests"), "{resources}");
    assert_eq!(resources["limits"]["cpu"], Value::Null, "it would slow down pods that start");
}

/// A mount that was not passed on would keep the namespaces of ended pods alive.
#[test]
fn the_daemonset_sees_namespaces_of_pods_come_and_go() {
    let daemonset = daemonset();

    let mounts = daemonset["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["mountPath"] == NAMESPACES).unwrap();
    let volumes = daemonset["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();

    assert_eq!(mount["mountPropagation"], "HostToContainer");
    assert_eq!(mount["readOnly"], true);
    assert_eq!(volume["hostPath"]["path"], NAMESPACES);
}

#[test]
fn every_volume_is_mounted() {
    let daemonset = daemonset();

    let names = |list: &Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().into()).collect()
    };

    assert_eq!(names(&daemonset["volumes"]), names(&daemonset["containers"][0]["volumeMounts"]));
}

#[test]
fn the_daemon_runs_on_the_nodes_network_with_two_capabilities() {
    let daemonset = daemonset();

    let security = &daemonset["containers"][0]["securityContext"];

    assert_eq!(daemonset["hostNetwork"], true);
    assert_eq!(security["privileged"], Value::Null);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    assert_eq!(security["capabilities"]["add"], serde_json::json!(["NET_ADMIN", "NET_RAW"]));
}

#[test]
fn programs_of_iptables_share_the_nodes_lock() {
    let daemonset = daemonset();

    let mounts = daemonset["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["mountPath"] == LOCK).unwrap();
    let volumes = daemonset["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();

    assert_eq!(volume["hostPath"]["path"], LOCK);
    assert_eq!(volume["hostPath"]["type"], "FileOrCreate");
    assert_eq!(mount["readOnly"], Value::Null, "the lock is taken by opening it to write");
}

#[test]
fn the_daemon_only_reads_kubernetes_and_writes_events() {
    let documents = yaml("conf/rbac.yaml");

    let role = documents.iter().find(|it| it["kind"] == "ClusterRole").unwrap();

    for rule in role["rules"].as_array().unwrap() {
        let verbs = match rule["resources"][0].as_str() {
            Some("events") => serde_json::json!(["create", "patch"]),
            Some("nodes") => serde_json::json!(["get", "list", "watch"]),
            _ => serde_json::json!(["list", "watch"]),
        };
        assert_eq!(rule["verbs"], verbs, "{rule}");
    }
}

#[test]
fn the_role_is_bound_to_the_account_that_the_daemon_runs_as() {
    let documents = yaml("conf/rbac.yaml");
    let find = |kind| documents.iter().find(|it| it["kind"] == kind).unwrap();

    let account = &find("ServiceAccount")["metadata"];

    let subject = &find("ClusterRoleBinding")["subjects"][0];
    assert_eq!(daemonset()["serviceAccountName"], account["name"]);
    assert_eq!(
        (&subject["name"], &subject["namespace"]),
        (&account["name"], &account["namespace"])
    );
    for (binding, role) in [("ClusterRoleBinding", "ClusterRole"), ("RoleBinding", "Role")] {
        assert_eq!(find(binding)["subjects"], find("ClusterRoleBinding")["subjects"]);
        assert_eq!(find(binding)["roleRef"]["kind"], role);
        assert_eq!(find(binding)["roleRef"]["name"], find(role)["metadata"]["name"]);
    }
}

#[test]
fn the_role_in_the_daemons_namespace_is_for_one_lease() {
    let source = read("ipamd/src/sweep/lease.rs");
    let documents = yaml("conf/rbac.yaml");

    let role = documents.iter().find(|it| it["kind"] == "Role").unwrap();

    let name = between(&source, "const NAME: &str = \"", "\"");
    let namespace = between(&source, "const NAMESPACE: &str = \"", "\"");
    assert_eq!(role["metadata"]["namespace"], namespace.as_str());
    let rules = role["rules"].as_array().unwrap();
    let (named, others) = (&rules[0], &rules[1..]);
    assert_eq!(named["verbs"], serde_json::json!(["get", "update"]));
    assert_eq!(named["resourceNames"], serde_json::json!([name]));
    assert_eq!(others.len(), 1, "{others:?}");
    assert_eq!(others[0]["verbs"], serde_json::json!(["create"]));
    for rule in rules {
        assert_eq!(rule["resources"], serde_json::json!(["leases"]), "{rule}");
    }
}

#[test]
fn the_custom_resource_is_the_one_that_ipamd_watches() {
    let source = read("ipamd/src/follow/eniconfig.rs");

    let crd = yaml("conf/eniconfig-crd.yaml").remove(0);

    let spec = &crd["spec"];
    let version = &spec["versions"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (group, version_name) = (text(&spec["group"]), text(&version["name"]));
    let plural = text(&spec["names"]["plural"]);
    for wanted in [
        format!("\"/apis/{group}/{version_name}/{plural}\""),
        format!("\"{}\"", text(&crd["metadata"]["name"])),
    ] {
        assert!(source.contains(&wanted), "ipamd/src/follow/eniconfig.rs has no `{wanted}`");
    }
    let schema = &version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(crd["metadata"]["name"], "eniconfigs.crd.k8s.amazonaws.com");
    assert_eq!(spec["scope"], "Cluster");
    assert_eq!(schema["required"], serde_json::json!(["subnet"]));
}

/// The actions of EC2 that a source calls.
fn calls(source: &str) -> BTreeSet<String> {
    let mut calls: BTreeSet<_> = source
        .split('.')
        .filter_map(|after| after.split_once("()"))
        .map(|(name, _)| name)
        .filter(|name| name.split_once('_').is_some_and(|(verb, _)| VERBS.contains(&verb)))
        .map(|name| name.split('_').map(capitalized).collect())
        .collect();
    if source.contains(".tag_specifications(") {
        calls.insert("CreateTags".into());
    }
    calls
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1.min(word.len()));
    first.to_uppercase() + rest
}

/// The actions of EC2 that a policy allows.
fn allowed(policy: &str) -> BTreeSet<String> {
    let policy: Value = serde_json::from_str(policy).unwrap();
    let actions = statements(&policy).flat_map(|it| it["Action"].as_array().unwrap());
    let name = |action: &Value| action.as_str().unwrap().strip_prefix("ec2:").unwrap().to_owned();
    actions.map(name).collect()
}

fn statements(policy: &Value) -> impl Iterator<Item = &Value> {
    policy["Statement"].as_array().unwrap().iter()
}

fn actions(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// Names of the environment variables that the DaemonSet sets.
fn environment(daemonset: &Value) -> Vec<String> {
    let variables = daemonset["containers"][0]["env"].as_array().unwrap();
    variables.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

/// The specification of the DaemonSet's pods.
fn daemonset() -> Value {
    yaml("conf/daemonset.yaml").remove(0)["spec"]["template"]["spec"].take()
}

fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between these two, the first time.
#[track_caller]
fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no `{before}`: {text}"));
    rest.split(after).next().unwrap_or_default().to_owned()
}

/// The text of all files below a folder.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| if path.is_dir() { sources(&path) } else { fs::read_to_string(path).unwrap() })
        .collect()
}
