//! Chains of small shell scripts in a namespace of their own.

use super::*;
use serde_json::json;
use std::{os::unix::fs::PermissionsExt, process};

/// Keeps what it got in `<plugin>.<verb>.env` and `.stdin`, and its turn in `order`; then goes on
/// with the rest.
const RECORD: &str = r#"#!/bin/sh
me=$(basename "$0"); to=$LOG/$me.$CNI_COMMAND
env | sort > "$to.env"; cat > "$to.stdin"
echo "$me $CNI_COMMAND" >> "$LOG/order"
"#;

const RESULT: &str = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/n"}],
    "ips":[{"interface":0,"address":"10.0.0.5/32"}]}"#;

#[test]
fn add_runs_the_chain_and_keeps_the_last_result() {
    let node = Node::new("chain");
    node.list("10-a.conflist", "net", &["first", "second"]);
    node.prints_on_add("first", RESULT);
    node.prints_on_add("second", &RESULT.replace("10.0.0.5", "10.0.0.6"));

    let result = add(&node.paths, &pod()).unwrap();

    assert_eq!(result["ips"][0]["address"], "10.0.0.6/32");
    assert_eq!(node.order(), ["first ADD", "second ADD"]);
    assert_eq!(node.stdin("first", "ADD").get("prevResult"), None);
    let second = node.stdin("second", "ADD");
    assert_eq!(second["prevResult"]["ips"][0]["address"], "10.0.0.5/32");
    assert_eq!((&second["name"], &second["cniVersion"]), (&json!("net"), &json!("1.0.0")));
    assert_eq!(second["runtimeConfig"], json!({POD_ANNOTATIONS: null}));
    let kept = CachedResult::parse(&fs::read_to_string(node.kept()).unwrap()).unwrap();
    assert_eq!(kept.result().unwrap().to_value(cni::Version::V1_0_0).unwrap(), result);
}

#[test]
fn a_plugin_gets_the_pods_annotations_and_host_ports_in_both_directions() {
    let node = Node::new("given");
    let capabilities = json!({POD_ANNOTATIONS: true, PORT_MAPPINGS: true});
    let list = json!({"cniVersion": "1.0.0", "name": "net",
        "plugins": [{"type": "first", "capabilities": capabilities}]});
    fs::write(node.paths.conf_dir.join("10-a.conflist"), list.to_string()).unwrap();
    node.prints_on_add("first", RESULT);
    let annotations = [("team".to_owned(), "a".to_owned())].into();
    let host_ports = vec!["8080:80".parse().unwrap(), "5353:53/udp".parse().unwrap()];
    let pod = Attachment { annotations, host_ports, ..pod() };

    add(&node.paths, &pod).unwrap();
    delete(&node.paths, &pod).unwrap();

    let mapping = |host: u16, pod: u16, protocol: &str| json!({"hostPort": host, "containerPort": pod, "protocol": protocol, "hostIP": ""});
    let ports = [mapping(8080, 80, "tcp"), mapping(5353, 53, "udp")];
    let want = json!({POD_ANNOTATIONS: {"team": "a"}, PORT_MAPPINGS: ports});
    for verb in ["ADD", "DEL"] {
        assert_eq!(node.stdin("first", verb)["runtimeConfig"], want, "{verb}");
    }
}

#[test]
fn a_host_port_that_cannot_be_is_refused() {
    for odd in ["80", "0:80", "80:70000", "80:80/icmp", ":80"] {
        assert!(odd.parse::<HostPort>().is_err(), "{odd}");
    }
}

#[test]
fn a_plugin_runs_in_the_nodes_namespace_with_a_clean_environment() {
    let node = Node::new("env");
    node.list("10-a.conflist", "net", &["first"]);
    let script = format!("readlink /proc/self/ns/net > $LOG/netns\necho '{RESULT}'");
    node.plugin("first", &script);

    add(&node.paths, &pod()).unwrap();

    let inode = std::os::unix::fs::MetadataExt::ino(&fs::metadata(&node.paths.netns).unwrap());
    assert_eq!(node.log("netns").trim(), format!("net:[{inode}]"));
    let env = node.log("first.ADD.env");
    let names: Vec<_> = env
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        // The shell's own.
        .filter(|name| !["_", "PWD", "OLDPWD", "SHLVL"].contains(name))
        .collect();
    assert_eq!(
        names,
        [
            "CNI_ARGS",
            "CNI_COMMAND",
            "CNI_CONTAINERID",
            "CNI_IFNAME",
            "CNI_NETNS",
            "CNI_PATH",
            "LOG",
            "PATH"
        ]
    );
    assert!(env.contains(
        "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
         K8S_POD_INFRA_CONTAINER_ID=c0ffee;K8S_POD_UID=u-1\n"
    ));
}

#[test]
fn a_failed_add_is_followed_by_del_backwards_and_without_a_result() {
    let node = Node::new("failed");
    node.list("10-a.conflist", "net", &["first", "second"]);
    node.prints_on_add("first", RESULT);
    let fails = r#"[ $CNI_COMMAND = DEL ] || { echo '{"code":11,"msg":"full"}'; exit 1; }"#;
    node.plugin("second", fails);

    let error = add(&node.paths, &pod()).unwrap_err();

    assert_eq!(error.to_string(), r#"plugin type="second" failed (add): full"#);
    let RuntimeError::Plugin(failure) = error else { panic!("{error}") };
    assert_eq!((failure.verb, failure.code), (Command::Add, 11));
    assert_eq!(node.order(), ["first ADD", "second ADD", "second DEL", "first DEL"]);
    assert_eq!(node.stdin("first", "DEL").get("prevResult"), None);
    assert!(!node.kept().exists());
}

#[test]
fn an_add_without_an_address_for_the_interface_fails() {
    let node = Node::new("no-address");
    node.list("10-a.conflist", "net", &["first"]);
    node.prints_on_add("first", &RESULT.replace("eth0", "eth1"));

    let error = add(&node.paths, &pod()).unwrap_err();

    assert!(matches!(error, RuntimeError::NoAddress(_)), "{error}");
    assert_eq!(node.order(), ["first ADD", "first DEL"]);
}

#[test]
fn del_gets_the_kept_result_once() {
    let node = Node::new("del");
    node.list("10-a.conflist", "net", &["first"]);
    node.prints_on_add("first", RESULT);
    add(&node.paths, &pod()).unwrap();

    delete(&node.paths, &pod()).unwrap();
    let first = (node.stdin("first", "DEL"), node.log("first.DEL.env"));
    forget(&node.paths, &pod()).unwrap();
    let second = (node.stdin("first", "DEL"), node.log("first.DEL.env"));

    assert_eq!(first.0["prevResult"]["ips"][0]["address"], "10.0.0.5/32");
    assert!(first.1.contains("CNI_NETNS=/run/netns/pod\n"));
    assert!(!node.kept().exists());
    assert_eq!(second.0.get("prevResult"), None);
    assert!(second.1.contains("CNI_NETNS=\n"));
}

#[test]
fn a_failed_del_keeps_the_result_for_the_next() {
    let node = Node::new("del-fails");
    node.list("10-a.conflist", "net", &["first"]);
    node.prints_on_add("first", RESULT);
    add(&node.paths, &pod()).unwrap();
    node.plugin("first", "echo '{\"code\":11,\"msg\":\"later\"}'; exit 1");

    assert!(delete(&node.paths, &pod()).is_err());
    assert!(node.kept().exists());
    node.plugin("first", "");
    delete(&node.paths, &pod()).unwrap();

    assert_eq!(node.stdin("first", "DEL")["prevResult"]["ips"][0]["address"], "10.0.0.5/32");
}

#[test]
fn a_del_that_says_not_found_counts_as_done() {
    let node = Node::new("not-found");
    node.list("10-a.conflist", "net", &["first"]);

    node.plugin("first", "echo '{\"code\":3,\"msg\":\"link not found\"}'; exit 1");
    assert!(delete(&node.paths, &pod()).is_ok());
    node.plugin("first", "echo '{\"code\":5,\"msg\":\"no such file or directory\"}'; exit 1");

    assert!(delete(&node.paths, &pod()).is_err());
    assert!(forget(&node.paths, &pod()).is_ok());
}

#[test]
fn the_first_valid_list_by_name_is_used() {
    let node = Node::new("lexical");
    node.list("20-b.conflist", "later", &["first"]);
    node.list("10-a.conflist", "chosen", &["first"]);
    fs::write(node.paths.conf_dir.join("05-broken.conflist"), "{").unwrap();
    fs::write(node.paths.conf_dir.join("01-half.conflist.tmp"), "{}").unwrap();
    node.prints_on_add("first", RESULT);

    add(&node.paths, &pod()).unwrap();

    assert_eq!(node.stdin("first", "ADD")["name"], "chosen");
}

#[test]
fn without_a_list_or_a_plugin_the_error_says_so() {
    let node = Node::new("nothing");

    assert!(matches!(add(&node.paths, &pod()), Err(RuntimeError::NoNetwork(_))));
    node.list("10-a.conflist", "net", &["absent"]);
    let error = add(&node.paths, &pod()).unwrap_err();

    assert!(error.to_string().contains("failed to find plugin \"absent\" in path ["), "{error}");
}

fn pod() -> Attachment {
    Attachment {
        container_id: "c0ffee".into(),
        netns: "/run/netns/pod".into(),
        ifname: "eth0".into(),
        namespace: "default".into(),
        pod: "web-0".into(),
        uid: "u-1".into(),
        annotations: BTreeMap::new(),
        host_ports: vec![],
    }
}

/// A node: a folder and a network namespace.
struct Node {
    name: String,
    dir: PathBuf,
    paths: NodePaths,
}

impl Node {
    fn new(name: &str) -> Self {
        let name = format!("rt{}-{name}", process::id());
        let dir = std::env::temp_dir().join(&name);
        for folder in ["net.d", "bin", "log"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        let paths = NodePaths {
            netns: net::netns::create(&name).unwrap(),
            conf_dir: dir.join("net.d"),
            bin_dir: dir.join("bin"),
            results_dir: dir.join("results"),
            env: [("LOG".to_owned(), dir.join("log").display().to_string())].into(),
        };
        Self { name, dir, paths }
    }

    fn list(&self, file: &str, name: &str, kinds: &[&str]) {
        let plugins: Vec<_> = kinds
            .iter()
            .map(|kind| json!({"type": kind, "capabilities": {POD_ANNOTATIONS: true}}))
            .collect();
        let list = json!({"cniVersion": "1.0.0", "name": name, "plugins": plugins});
        fs::write(self.paths.conf_dir.join(file), list.to_string()).unwrap();
    }

    fn plugin(&self, kind: &str, script: &str) {
        let file = self.paths.bin_dir.join(kind);
        fs::write(&file, format!("{RECORD}{script}\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn prints_on_add(&self, kind: &str, result: &str) {
        self.plugin(kind, &format!("[ $CNI_COMMAND = DEL ] || echo '{result}'"));
    }

    fn log(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join("log").join(file)).unwrap()
    }

    fn stdin(&self, kind: &str, verb: &str) -> Value {
        serde_json::from_str(&self.log(&format!("{kind}.{verb}.stdin"))).unwrap()
    }

    fn order(&self) -> Vec<String> {
        self.log("order").lines().map(str::to_owned).collect()
    }

    fn kept(&self) -> PathBuf {
        self.paths.results_dir.join("net-c0ffee-eth0")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = net::netns::remove(&self.name);
        let _ = fs::remove_dir_all(&self.dir);
    }
}
