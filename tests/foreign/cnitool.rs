//! cnitool, the reference library's own runtime, calls every verb of our plugin, alone and with
//! plugins chained behind it.

use serde_json::{Value, json};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    slice,
};
use tests::{
    Row,
    by_hand::Container,
    command::{outcome, run, until},
    world::World,
};

/// Where Debian and Fedora put the reference plugins.
const REFERENCE_PLUGINS: &str = "/usr/lib/cni:/usr/libexec/cni";

/// The reference library keeps results in `/var/lib/cni`, for all that run it on a machine: here
/// that is a folder of the test.
const WITH_CACHE: &str = "mount -t tmpfs none /var/lib && mkdir /var/lib/cni && \
     mount --bind \"$0\" /var/lib/cni && exec \"$@\"";

/// A pod of Kubernetes, as containerd names it.
const POD: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0";

/// CNI requirements 11, 20, 21, 27, 28, 46, 47.
#[test]
fn cnitool_adds_checks_and_deletes() {
    let Some(tool) = Tool::new(&[]) else { return };
    let container = Container::new(&tool.world);
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let _row = Row(version);
        tool.configure(version, &[]);

        let status = tool.call("status", &container);
        let added = tool.call("add", &container).map(|said| document(&said));
        let check = tool.call("check", &container);
        let del = tool.call("del", &container);
        let again = tool.call("del", &container);

        assert_eq!(status, Ok(String::new()), "{version}");
        let added = added.unwrap();
        assert_eq!(added["cniVersion"], version);
        // It has no name of a pod: a hardware address of each, as podman needs them.
        assert!(added["interfaces"][1]["mac"].as_str().unwrap().starts_with("0e:11:"), "{added}");
        // Configurations before 0.4.0 have no CHECK.
        assert_eq!(check.is_ok(), version != "0.3.1", "{check:?}");
        assert_eq!((del, again), (Ok(String::new()), Ok(String::new())), "{version}");
        tool.until_nothing_is_left(&added);
    }
}

/// CNI requirements 48, 49.
#[test]
fn cnitool_collects_garbage() {
    let Some(tool) = Tool::new(&[]) else { return };
    let (cached, container) = (Container::new(&tool.world), Container::new(&tool.world));
    tool.configure("1.1.0", &[]);
    let added = document(&tool.call("add", &cached).unwrap());

    // It names no attachment at all: its library sends a DEL for every one of which it has a result.
    let gc = tool.call("gc", &container);

    assert_eq!(gc, Ok(String::new()));
    tool.until_nothing_is_left(&added);
}

/// CNI requirements 22, 23, 26, 35, 36, 40, 46.
#[test]
fn plugins_chained_behind_ours_find_what_they_need() {
    let ports = r#"{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}"#;
    let Some(tool) = Tool::new(&[("CAP_ARGS", ports), ("CNI_ARGS", POD)]) else { return };
    let container = Container::new(&tool.world);
    let portmap = json!({"type": "portmap", "capabilities": {"portMappings": true}, "snat": true});
    let bandwidth = json!({"type": "bandwidth", "ingressRate": 8_000_000,
        "ingressBurst": 8_000_000, "egressRate": 8_000_000, "egressBurst": 8_000_000});
    for version in ["0.4.0", "1.0.0"] {
        let _row = Row(version);
        tool.configure(version, &[portmap.clone(), bandwidth.clone()]);
        let added = document(&tool.call("add", &container).unwrap());
        let mapped = tool.on_node(&["iptables", "-t", "nat", "-S"]);
        let host = added["interfaces"][0]["name"].as_str().unwrap();
        let limited = tool.on_node(&["tc", "qdisc", "show", "dev", host]);
        // Not with portmap: where there is an ip6tables, its CHECK (1.1.1) wants IPv6 rules of pods
        // that have no such address, whatever plugin is before it.
        tool.configure(version, slice::from_ref(&bandwidth));
        let check = tool.call("check", &container);
        tool.configure(version, &[portmap.clone(), bandwidth.clone()]);
        let del = tool.call("del", &container);

        let address = added["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32");
        assert!(mapped.contains(&format!("--to-destination {address}:80")), "{mapped}");
        assert!(limited.contains("tbf"), "{limited}");
        // For the peer: the last of ours has the number of the interface.
        assert_eq!(added["interfaces"][2]["name"], "dummy0d7763386da", "{added}");
        assert_eq!(added["interfaces"][2]["sandbox"], "0", "{added}");
        assert_eq!((check, del), (Ok(String::new()), Ok(String::new())), "{version}");
        tool.until_nothing_is_left(&added);
        let mapped = tool.on_node(&["iptables", "-t", "nat", "-S"]);
        assert!(!mapped.contains(address), "{mapped}");
    }
}

/// CNI requirement 31.
#[test]
fn a_failure_reaches_cnitool_in_our_words() {
    let Some(tool) = Tool::new(&[]) else { return };
    let container = Container::new(&tool.world);
    tool.configure("1.1.0", &[]);
    tool.world.daemon_stop("n1");

    for verb in ["add", "status"] {
        let said = tool.call(verb, &container).unwrap_err();

        assert!(said.contains("cannot reach ipamd"), "{verb}: {said}");
    }
    assert_eq!(tool.call("del", &container), Ok(String::new()));
}

/// cnitool on a node with our daemon.
struct Tool {
    program: PathBuf,
    world: World,
    /// Network lists, and the library's results.
    folder: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Tool {
    /// `None`, with the reason on stderr, where it cannot be had.
    fn new(env: &[(&'static str, &str)]) -> Option<Self> {
        let program = find()?;
        let world = World::with_node("n1", &["IP_COOLDOWN_PERIOD=0"]);
        let folder = world.folder().join("cnitool");
        fs::create_dir_all(folder.join("lists")).unwrap();
        fs::create_dir_all(folder.join("results")).unwrap();
        let plugins = world.node_folder("n1").cni_bin();
        let path = format!("{}:{REFERENCE_PLUGINS}", plugins.display());
        let lists = folder.join("lists").display().to_string();
        let mut all = vec![("NETCONFPATH", lists), ("CNI_PATH", path)];
        all.extend(env.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Some(Self { program, world, folder, env: all })
    }

    /// Our conflist in a version, with more plugins behind ours.
    fn configure(&self, version: &str, chained: &[Value]) {
        let ours: Value = serde_json::from_str(&self.world.plugin_conf("n1", version)).unwrap();
        let plugins: Vec<Value> = [&[ours], chained].concat();
        let list = json!({"cniVersion": version, "name": "aws-cni", "plugins": plugins});
        fs::write(self.folder.join("lists/10-aws.conflist"), list.to_string()).unwrap();
    }

    /// What it printed, or what it said went wrong.
    fn call(&self, verb: &str, container: &Container) -> Result<String, String> {
        let results = self.folder.join("results");
        let mut command = Command::new(tests::binary("vpc-sim"));
        command
            .args(["--name", self.world.name(), "exec", "n1", "--"])
            .args(["unshare", "--mount", "sh", "-c", WITH_CACHE])
            .args([&results, &self.program])
            .args([verb, "aws-cni"])
            .arg(&container.namespace)
            .envs(self.env.iter().cloned());
        let output = run(&mut command, "");
        outcome(&output)
    }

    /// Runs a program on the node.
    #[track_caller]
    fn on_node(&self, program: &[&str]) -> String {
        let output = self.world.exec("n1", program, &[], "");
        outcome(&output).unwrap_or_else(|error| panic!("{program:?}: {error}"))
    }

    /// Waits until the node has nothing of a result any more.
    fn until_nothing_is_left(&self, added: &Value) {
        let address = added["ips"][0]["address"].as_str().unwrap().trim_end_matches("/32");
        let host = added["interfaces"][0]["name"].as_str().unwrap();
        until("nothing is left of the container", || {
            let what = ["link", "rule", "route"].map(|what| self.on_node(&["ip", what])).concat();
            if what.contains(host) || what.contains(address) { Err(what) } else { Ok(()) }
        });
    }
}

/// The program, in `PATH` or where `scripts/need` puts it.
#[expect(clippy::print_stderr, reason = "why a judge is left out")]
fn find() -> Option<PathBuf> {
    let in_path = |name: &str| {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut found = env::split_paths(&path).map(|folder| folder.join(name));
        found.find(|file| file.is_file())
    };
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")));
    let kept = cache.map(|cache| cache.join("eni-cni/tools/bin/cnitool"));
    let found = in_path("cnitool").or(kept.filter(|file| file.is_file()));
    if found.is_none() {
        assert!(in_path("go").is_none(), "no cnitool: run `scripts/need cnitool`");
        eprintln!("left out: cnitool cannot be built, as there is no Go toolchain");
    }
    found
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
