//! What waits until it is ready: `up --wait`, `daemon start --wait`.

use crate::program::{succeed, vpc_sim};
use crate::setup::Name;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

/// A daemon of somebody: it installs a list and a plugin, which is not ready until it was asked once.
const DAEMON: &str = r#"#!/bin/sh
plugin="$HOST_CNI_BIN_PATH/mine"
cat > "$plugin" <<'PLUGIN'
#!/bin/sh
grep -q '"cniVersion":"1.1.0"' || exit 1
echo "$CNI_COMMAND" >> "$0.calls"
[ ! -e "$0.ready" ] || exit 0
echo '{"cniVersion":"1.1.0","code":50,"msg":"no interface yet"}'
exit 1
PLUGIN
chmod +x "$plugin"
echo '{"cniVersion":"0.4.0","name":"mine","plugins":[{"type":"mine"}]}' \
    > "$HOST_CNI_CONFDIR_PATH/10-mine.conflist"
until grep -q STATUS "$plugin.calls" 2>/dev/null; do sleep 0.05; done
touch "$plugin.ready"
exec sleep 600
"#;

/// A world in the background, which is ended also when the test fails.
struct Background(Name);

impl Background {
    fn up() -> (Self, Value) {
        let world = Self(Name::new());
        let ready = succeed(&world.0, &["up", "--wait"]);
        (world, serde_json::from_str(&ready).unwrap())
    }

    /// Starts a daemon that is this script.
    fn daemon(&self, script: &str, wait: &str) -> Output {
        let bin = format!("/run/vpc-sim/{}/daemon.sh", self.0.0);
        fs::write(&bin, script).unwrap();
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
        vpc_sim(&self.0, &["daemon", "start", "n1", wait, "--bin", &bin])
    }

    fn node_folder(&self) -> PathBuf {
        Path::new("/run/vpc-sim").join(&self.0.0).join("nodes/n1")
    }

    fn down(&self) {
        succeed(&self.0, &["down"]);
        assert_eq!(self.0.traces(), Vec::<PathBuf>::new());
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = vpc_sim(&self.0, &["down"]);
        }
    }
}

#[test]
fn a_world_in_the_background_answers_when_it_is_ready_and_leaves_nothing() {
    let (world, ready) = Background::up();

    let status: Value = serde_json::from_str(&succeed(&world.0, &["status", "--json"])).unwrap();

    assert_eq!(status["outside"], ready["outside"]);
    assert!(log(&world.0).exists());
    world.down();
}

#[test]
fn a_world_that_cannot_be_says_why_where_it_was_asked_for() {
    let (world, _) = Background::up();
    let other = Name::new();
    let file = format!("/run/vpc-sim/{}/odd.toml", world.0.0);
    fs::write(&file, "colour = \"blue\"\n").unwrap();

    let twice = vpc_sim(&world.0, &["up", "--wait"]);
    let odd = vpc_sim(&other, &["up", "--wait", "--world", &file]);

    refused(&twice, &["already runs in process", &log(&world.0).display().to_string()]);
    refused(&odd, &["colour", &log(&other).display().to_string()]);
    succeed(&world.0, &["status"]);
    succeed(&other, &["down"]);
    assert_eq!(other.traces(), Vec::<PathBuf>::new());
    world.down();
}

#[test]
fn a_world_that_does_not_answer_in_time_is_ended() {
    let name = Name::new();

    let late = vpc_sim(&name, &["up", "--wait=1ms"]);

    refused(&late, &["did not answer within 1ms", &log(&name).display().to_string()]);
    assert_eq!(name.traces(), [log(&name)]);
    succeed(&name, &["down"]);
    assert_eq!(name.traces(), Vec::<PathBuf>::new());
}

#[test]
fn a_daemon_is_ready_when_its_plugins_are() {
    let (world, _) = Background::up();
    succeed(&world.0, &["node", "add", "n1", "--zone", "us-west-2a"]);

    let started = world.daemon(DAEMON, "--wait");
    let ready = world.node_folder().join("cni/bin/mine.ready").exists();

    assert!(started.status.success(), "{started:?}");
    assert!(ready);
    let pid = String::from_utf8_lossy(&started.stdout);
    assert!(pid.trim().parse::<u32>().is_ok(), "{pid}");
    world.down();
}

#[test]
fn a_plugin_that_does_not_know_status_is_taken_to_be_ready() {
    let (world, _) = Background::up();
    succeed(&world.0, &["node", "add", "n1", "--zone", "us-west-2a"]);
    // Never ready by its own words.
    let never = DAEMON.replace("touch", "true");

    // The reference plugins before CNI 1.1.0 miss a container, as which they say 3.
    for code in ["1", "3", "4"] {
        let started =
            world.daemon(&never.replace("\"code\":50", &format!("\"code\":{code}")), "--wait");

        assert!(started.status.success(), "code {code}: {started:?}");
        succeed(&world.0, &["daemon", "kill", "n1"]);
    }
    world.down();
}

#[test]
fn who_waits_for_a_daemon_in_vain_is_told_for_what() {
    let (world, _) = Background::up();
    succeed(&world.0, &["node", "add", "n1", "--zone", "us-west-2a"]);
    let log = world.node_folder().join("log/ipamd.log").display().to_string();
    let never = DAEMON.replace("touch", "true");

    let ended = world.daemon("#!/bin/sh\nsleep 1\n", "--wait");
    let without_list = world.daemon("#!/bin/sh\nexec sleep 600\n", "--wait=300ms");
    let runs = succeed(&world.0, &["status", "--json"]);
    succeed(&world.0, &["daemon", "kill", "n1"]);
    let not_ready = world.daemon(&never, "--wait=2s");

    refused(&ended, &["ended before it was ready", &log]);
    refused(&without_list, &["not ready after 300ms", "no network config found in", &log]);
    assert!(serde_json::from_str::<Value>(&runs).unwrap()["nodes"][0]["daemon"].is_number());
    refused(
        &not_ready,
        &["not ready after 2s", "\"mine\" failed (status): no interface yet", &log],
    );
    world.down();
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

fn log(name: &Name) -> PathBuf {
    PathBuf::from(format!("/run/vpc-sim/{}.log", name.0))
}
