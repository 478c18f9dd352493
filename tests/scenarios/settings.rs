//! What becomes of settings that cannot be, that are not acted on, and of those of a manifest.

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tests::{
    command::{outcome, run, until},
    repository,
    world::{CUSTOM, World, ZONES},
};

/// A folder of one test, until it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("eni-settings-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_daemon_does_not_start_without_what_safety_depends_on_and_says_all_of_it_in_its_log() {
    let folder = Folder::new("refused");
    let log = folder.0.join("log/ipamd.log");
    let mut daemon = Command::new(tests::binary("ipamd"));
    daemon
        .env("ENI_CNI_RUN_DIR", folder.0.join("run"))
        .env("AWS_VPC_K8S_CNI_LOG_FILE", &log)
        .env("ENABLE_POD_ENI", "true")
        .env("NETWORK_POLICY_ENFORCING_MODE", "strict")
        .env("WARM_IP_TARGET", "many")
        .env("AWS_ENDPOINT_URL_EC2", "");

    let said = outcome(&run(&mut daemon, "")).unwrap_err();

    let logged = fs::read_to_string(log).unwrap();
    for text in [&said, &logged] {
        assert!(text.contains("ENABLE_POD_ENI=`true`: security groups for pods"), "{text}");
        assert!(text.contains("NETWORK_POLICY_ENFORCING_MODE=`strict`: pods would"), "{text}");
        assert!(text.contains("WARM_IP_TARGET=`many`: must be a whole number"), "{text}");
    }
    assert!(!folder.0.join("run").exists(), "it began all the same");
}

#[test]
fn each_setting_that_is_not_acted_on_is_one_warning_and_one_event_of_the_node() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);

    let odd = ["ANNOTATE_POD_IP=true", "ENABLE_POD_ENIS=true", "ENABLE_V6_EGRESS=false"];
    world.daemon_start("n1", &[CUSTOM, &odd].concat());

    let at = "GET /apis/events.k8s.io/v1/namespaces/default/events";
    let notes = || -> Vec<String> {
        let list: Value = serde_json::from_str(&world.kubernetes(at, &Value::Null)).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let ours = items.filter(|it| it["reason"] == "SettingNotActedOn");
        ours.map(|it| it["note"].as_str().unwrap().to_owned()).collect()
    };
    until("two events", || if notes().len() == 2 { Ok(()) } else { Err(format!("{:?}", notes())) });
    let log = world.log("n1");
    let warned: Vec<_> = log.lines().filter(|line| line.contains("is not acted on")).collect();
    assert_eq!(warned.len(), 2, "{warned:?}");
    for said in [
        "ANNOTATE_POD_IP=`true`: not acted on: pods are not annotated",
        "ENABLE_POD_ENIS=`true`: no setting has that name; the nearest is ENABLE_POD_ENI",
    ] {
        assert!(notes().iter().any(|note| note.contains(said)), "{said}: {:?}", notes());
        assert!(warned.iter().any(|line| line.contains(said)), "{said}: {warned:?}");
    }
}

#[test]
fn our_own_daemonset_starts() {
    let said = outcome(&check(&repository().join("conf/daemonset.yaml"))).unwrap();

    // MY_NODE_NAME comes from elsewhere.
    assert!(said.ends_with("the daemon starts: 0 refused, 1 warnings"), "{said}");
}

#[test]
fn a_daemonset_of_the_peers_shape_is_judged_with_its_init_container() {
    let folder = Folder::new("peer");
    let of_peer = folder.put("peer.yaml", &peer("true"));

    let judged = check(&of_peer);

    let said = outcome(&judged).unwrap();
    assert!(said.contains("aws-vpc-cni-init: ok: ENABLE_IPv6=`false`: accepted"), "{said}");
    assert!(said.contains("aws-node: ok: NETWORK_POLICY_ENFORCING_MODE=`standard`: "), "{said}");
    assert!(!said.contains("aws-eks-nodeagent"), "{said}");
    // MY_NODE_NAME and MY_POD_NAME come from elsewhere.
    assert!(said.ends_with("the daemon starts: 0 refused, 2 warnings"), "{said}");
    let other = check(&folder.put("other.yaml", &peer("false")));
    assert_eq!(other.status.code(), Some(1), "ENABLE_IPv4=false");
}

#[test]
fn a_file_that_cannot_be_judged_is_no_success() {
    let folder = Folder::new("odd");

    for (name, text) in [("service.yaml", "kind: Service\n"), ("odd.json", "{\"a\": [")] {
        let said = outcome(&check(&folder.put(name, text))).unwrap_err();
        assert!(said.contains(name), "{said}");
    }
    let plain = check(&folder.put("plain.env", "MAX_ENI=2\nENABLE_IMDS_ONLY_MODE=1\n"));
    let said = String::from_utf8_lossy(&plain.stdout).into_owned();
    assert!(said.contains("plain.env:2: refused: ENABLE_IMDS_ONLY_MODE=`1`: "), "{said}");
}

fn check(file: &Path) -> Output {
    let mut command = Command::new(tests::binary("ipamd"));
    run(command.args(["settings", "--check"]).arg(file), "")
}

/// A DaemonSet with the containers and the variables of the peer's, among other objects.
fn peer(ipv4: &str) -> String {
    let set = BTreeMap::from([
        ("ADDITIONAL_ENI_TAGS", "{}"),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", "true"),
        ("AWS_VPC_ENI_MTU", "9001"),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "false"),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "false"),
        ("AWS_VPC_K8S_CNI_LOGLEVEL", "DEBUG"),
        ("AWS_VPC_K8S_CNI_RANDOMIZESNAT", "prng"),
        ("DISABLE_INTROSPECTION", "false"),
        ("DISABLE_METRICS", "false"),
        ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "false"),
        ("ENABLE_IMDS_ONLY_MODE", "false"),
        ("ENABLE_IPv4", ipv4),
        ("ENABLE_IPv6", "false"),
        ("ENABLE_MULTI_NIC", "false"),
        ("ENABLE_POD_ENI", "false"),
        ("ENABLE_PREFIX_DELEGATION", "false"),
        ("ENABLE_SUBNET_DISCOVERY", "true"),
        ("NETWORK_POLICY_ENFORCING_MODE", "standard"),
        ("VPC_CNI_VERSION", "v1.23.1"),
        ("WARM_ENI_TARGET", "1"),
        ("WARM_PREFIX_TARGET", "1"),
    ]);
    let lines =
        set.iter().map(|(name, value)| format!("        - {{name: {name}, value: {value:?}}}\n"));
    let lines: String = lines.collect();
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: aws-node\n---\n# Source: aws-vpc-cni\n\
         apiVersion: apps/v1\nkind: DaemonSet\nmetadata:\n  name: aws-node\nspec:\n  template:\n    spec:\n      initContainers:\n      \
         - name: aws-vpc-cni-init\n        env:\n        - name: DISABLE_TCP_EARLY_DEMUX\n          value: \"false\"\n        \
         - name: ENABLE_IPv6\n          value: \"false\"\n      containers:\n      - name: aws-node\n        env:\n{lines}        \
         - name: MY_NODE_NAME\n          valueFrom:\n            fieldRef:\n              fieldPath: spec.nodeName\n        \
         - name: MY_POD_NAME\n          valueFrom:\n            fieldRef:\n              fieldPath: metadata.name\n      \
         - name: aws-eks-nodeagent\n        args: [--enable-ipv6=false]\n        env:\n        - {{name: ENABLE_X, value: \"1\"}}\n"
    )
}
