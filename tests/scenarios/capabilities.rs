//! The daemon with the one capability that it needs, and without it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};
use tests::{
    command::{outcome, run},
    world::{CUSTOM, World, ZONES},
};

/// As a container with `drop: [ALL]`, `add: [NET_ADMIN]` and `allowPrivilegeEscalation: false`: less
/// than the DaemonSet has, which adds what iptables-legacy needs on nodes that use it.
const CONTAINED: &[&str] =
    &["setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs"];

/// `CAP_NET_ADMIN` and nothing else, as `/proc` writes it.
const NET_ADMIN_ALONE: &str = "0000000000001000";

#[test]
fn the_daemon_attaches_starts_stops_and_restarts_with_net_admin_alone() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    let contained = Contained::new(&world);
    contained.start(&world);

    let pods: Vec<_> = (0..3).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();
    world.everybody_reaches_everybody(&pods);
    world.pod_rm(&pods[0]);
    world.daemon_kill("n1");
    contained.start(&world);
    let more = world.pod_add("n1", "after-a-restart");

    assert!(!world.more_interfaces("n1").is_empty(), "no interface was attached");
    world.everybody_reaches_everybody(&[&pods[1..], &[more]].concat());
    world.settled("n1");
    assert_eq!(warnings(&world), Vec::<String>::new());
}

#[test]
fn without_net_admin_the_daemon_ends_and_says_what_it_needs() {
    let folder = std::env::temp_dir().join(format!("eni-no-capability-{}", std::process::id()));
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .arg(tests::binary("ipamd"))
        .env("ENI_CNI_RUN_DIR", &folder)
        .env("AWS_VPC_K8S_CNI_LOG_FILE", "stdout");

    let ended = outcome(&run(&mut command, ""));

    let said = ended.unwrap_err();
    assert!(said.starts_with("ipamd: no capability NET_ADMIN"), "{said}");
    assert!(said.contains("capabilities.add: [NET_ADMIN]"), "{said}");
    assert!(!folder.exists(), "it began all the same");
}

/// A program that is the daemon with one capability.
struct Contained(PathBuf);

impl Contained {
    fn new(world: &World) -> Self {
        let path = std::env::temp_dir().join(format!("{}-contained", world.name()));
        let daemon = tests::binary("ipamd");
        let script = format!("#!/bin/sh\nexec {} {}\n", CONTAINED.join(" "), daemon.display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn start(&self, world: &World) {
        world.daemon_start_with("n1", &["--bin", self.0.to_str().unwrap()], CUSTOM);
        let pid = world.node("n1").daemon.unwrap();
        for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
            assert_eq!(capabilities(pid, set), NET_ADMIN_ALONE, "{set}");
        }
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn capabilities(pid: i32, set: &str) -> String {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let status = status.unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(set));
    line.unwrap_or_default().trim().to_owned()
}

/// What the daemon logged about something that it may not do.
fn warnings(world: &World) -> Vec<String> {
    let log = world.log("n1");
    let denied = |line: &&str| line.contains("EPERM") || line.contains("not permitted");
    log.lines().filter(denied).map(ToOwned::to_owned).collect()
}
