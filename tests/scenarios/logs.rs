//! The logs answer: who had an address, why a request failed, what the metadata service wants; and they
//! stop nobody, whatever happens to their files.

use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tests::{
    Row,
    by_hand::Container,
    command::{outcome, run, until},
    repository,
    world::{World, address, logged},
};

/// A node with one address for pods.
const ONE_ADDRESS: &[&str] = &["--type", "t3.nano"];

/// It comes back at once.
const TIGHT: &[&str] = &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=20"];

/// The smallest files that there can be, all of them kept.
const SMALL_FILES: &[&str] = &["ENI_CNI_LOG_SIZE=4k", "ENI_CNI_LOG_FILES=1000"];

/// How operators ask who had an address (`docs/debugging.md`).
const WHO_HAD: &str = "grep -h 'address=100.64.0.9 ' /var/log/aws-routed-eni/ipamd*.log";

#[test]
fn who_had_an_address_is_one_grep_over_files_and_restarts() {
    let log = Log::new();
    log.start(SMALL_FILES);
    let world = &log.world;
    let (mut want, mut held) = (vec![], None);
    for number in 0..12 {
        let pod = Container::new(world);
        let added = world.plugin("n1", "ADD", &pod, "1.0.0");
        assert!(added.success, "{added:?}");
        held = Some(address(&added.printed));
        if number == 6 {
            world.daemon_kill("n1");
            log.start(SMALL_FILES);
        }
        assert!(world.plugin("n1", "DEL", &pod, "1.0.0").success);
        want.extend([format!("ADD default/{}", pod.id), format!("DEL default/{}", pod.id)]);
    }

    let document = fs::read_to_string(repository().join("docs/debugging.md")).unwrap();
    assert!(document.contains(WHO_HAD), "the document does not say how to ask");
    let ask = WHO_HAD
        .replace("100.64.0.9", &held.unwrap().to_string())
        .replace("/var/log/aws-routed-eni", log.folder.to_str().unwrap());
    until("the log names exactly the pods that had it", || {
        // A daemon that was killed leaves a checkpoint that is behind: the next one says so as well.
        let lines = shell(&format!("{ask} | grep verb="))?;
        let told: Vec<_> = lines.lines().map(told).collect();
        if told == want { Ok(()) } else { Err(lines) }
    });
    assert!(log.names().len() > 2, "one file is no test: {:?}", log.names());
    // Each line has all that is to be known, and the last one since when.
    let last = shell(&format!("{ask} | tail -n 1")).unwrap();
    for field in ["eni=eni-", "device=0", "subnet=subnet-", "link=eni", "container=\"by-hand-"] {
        assert!(last.contains(field), "{field}: {last}");
    }
    for field in ["ifname=\"eth0\"", "network=\"aws-cni\"", "netns=", "since=\"", "cools_until=\""]
    {
        assert!(last.contains(field), "{field}: {last}");
    }
}

#[test]
fn standard_error_has_what_an_operator_looks_for_and_the_file_everything() {
    let log = Log::new();
    log.start(&[]);
    let (first, second) = (Container::new(&log.world), Container::new(&log.world));

    assert!(log.world.plugin("n1", "ADD", &first, "1.0.0").success);
    log.world.daemon_stop("n1");
    log.start(&["ENI_CNI_ADD_WAIT=0"]);
    let refused = log.world.plugin("n1", "ADD", &second, "1.0.0");
    log.world.daemon_stop("n1");

    assert!(!refused.success, "{refused:?}");
    let (stderr, file) = (log.world.log("n1"), log.read());
    for both in [
        "settings set=",
        "this node ",
        "serving ",
        "failed to answer a request",
        "ends on a signal",
    ] {
        assert!(stderr.contains(both) && file.contains(both), "{both}: {stderr}\n{file}");
    }
    let added = format!("done verb=\"ADD\" pod=\"default/{}\"", first.id);
    assert!(file.contains(&added) && !stderr.contains(&added), "{stderr}\n{file}");
}

#[test]
fn a_log_has_a_largest_size_and_so_many_files() {
    let log = Log::new();
    log.start(&["ENI_CNI_LOG_SIZE=4k", "ENI_CNI_LOG_FILES=2"]);
    for _ in 0..25 {
        let pod = Container::new(&log.world);
        assert!(log.world.plugin("n1", "ADD", &pod, "1.0.0").success);
        assert!(log.world.plugin("n1", "DEL", &pod, "1.0.0").success);
    }

    let plugin = log.world.node_folder("n1").log();
    for (folder, stem) in [(&log.folder, "ipamd"), (&plugin, "plugin")] {
        let _row = Row(stem);
        until("two files are kept besides the one that is written to", || {
            let names = names(folder);
            let aside = names.iter().filter(|name| name.starts_with(&format!("{stem}-2"))).count();
            if aside == 2 { Ok(()) } else { Err(format!("{names:?}")) }
        });
        for name in names(folder).iter().filter(|it| it.starts_with(&format!("{stem}-2"))) {
            let size = fs::metadata(folder.join(name)).unwrap().len();
            assert!(size <= 4096, "{name} has {size} bytes");
        }
    }
}

/// As logrotate and people do it, with the programs that they use.
#[test]
fn a_log_that_is_renamed_or_removed_while_it_is_written_to_goes_on_under_its_name() {
    let log = Log::new();
    log.start(&[]);
    let folder = log.folder.display();
    for what in [
        format!("mv {folder}/ipamd.log {folder}/ipamd.log.1"),
        format!("rm {folder}/ipamd.log"),
        format!("rm -r {folder}"),
        format!("mv {folder} {folder}.away"),
    ] {
        let _row = Row(&what);
        shell(&what).unwrap();

        let pod = Container::new(&log.world);
        assert!(log.world.plugin("n1", "ADD", &pod, "1.0.0").success);
        assert!(log.world.plugin("n1", "DEL", &pod, "1.0.0").success);

        until("both are told in the new file", || {
            let told = log.read();
            let lines = told.lines().filter(|line| line.contains(&pod.id)).count();
            if lines == 2 { Ok(()) } else { Err(told) }
        });
    }
    let _ = fs::remove_dir_all(log.folder.with_extension("away"));
}

#[test]
fn a_full_disk_of_the_log_stops_nobody_and_what_is_lost_is_told() {
    let log = Log::new();
    let options = ["-t", "tmpfs", "-o", "size=64k", "none"];
    assert!(Command::new("mount").args(options).arg(&log.folder).status().unwrap().success());
    log.start(&[]);
    let filler = log.folder.join("filler");
    let fill = format!("cat /dev/zero > {} || true", filler.display());
    shell(&fill).unwrap();
    let lost = || {
        let shown = log.world.metrics("n1");
        shown.get(r#"eni_cni_log_lost_lines_total{log="log"}"#).cloned().unwrap_or_default()
    };

    let pods: Vec<_> = (0..40).map(|_| Container::new(&log.world)).collect();
    for pod in &pods {
        assert!(log.world.plugin("n1", "ADD", pod, "1.0.0").success);
        assert!(log.world.plugin("n1", "DEL", pod, "1.0.0").success);
    }
    until("standard error tells", || {
        let told = log.world.log("n1");
        let full = "failed to write a log: its lines are lost until that works log=\"log\"";
        if told.contains(full) && told.contains("No space left") { Ok(()) } else { Err(told) }
    });
    until("the metric counts", || if lost().is_empty() { Err(lost()) } else { Ok(()) });
    fs::remove_file(&filler).unwrap();
    let last = Container::new(&log.world);
    assert!(log.world.plugin("n1", "ADD", &last, "1.0.0").success);

    until("the log goes on, and says that it has a gap", || {
        let told = log.read();
        let gap = told.contains("a log takes lines again: those meanwhile are lost");
        if gap && told.contains(&last.id) { Ok(()) } else { Err(told) }
    });
    let text = log.read();
    let whole = |line: &str| line.starts_with("20") || line.is_empty();
    let torn = text.lines().filter(|line| !whole(line)).count();
    assert_eq!(torn, 0, "{text}");
}

#[test]
fn the_plugins_log_has_each_request_once_whether_a_daemon_answered_or_not() {
    let world = World::up();
    world.node_add("n1", "us-west-2a", ONE_ADDRESS);
    world.daemon_start("n1", TIGHT);
    let (pod, other) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &pod, "1.0.0");
    let keys = json!({"prevResult": added.printed});
    assert!(world.plugin_with("n1", "CHECK", &pod, "1.0.0", &keys).success);
    assert!(world.plugin("n1", "DEL", &pod, "1.0.0").success);
    world.daemon_stop("n1");
    assert!(!world.plugin("n1", "ADD", &other, "1.0.0").success);
    assert!(world.plugin("n1", "DEL", &other, "1.0.0").success);
    let conf = world.plugin_conf("n1", "1.0.0");
    let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a\nERROR b";
    let nowhere = [("CNI_NETNS", "/nowhere"), ("CNI_ARGS", args)];
    let mut refused = world.plugin_command("n1");
    let refused = run(refused.envs(other.env("ADD")).envs(nowhere), &conf);
    assert!(!refused.status.success(), "{refused:?}");

    let log = fs::read_to_string(world.node_folder("n1").log().join("plugin.log")).unwrap();

    let held = address(&added.printed);
    let want = [
        format!(
            "INFO ipamd::requests: done verb=\"ADD\" pod=\"default/{}\" address={held} ",
            pod.id
        ),
        format!("INFO ipamd::requests: done verb=\"CHECK\" pod=\"default/{}\"", pod.id),
        format!(
            "INFO ipamd::requests: done verb=\"DEL\" pod=\"default/{}\" address={held} ",
            pod.id
        ),
        format!(
            "ERROR aws-cni: failed to carry out a request verb=\"ADD\" container=\"{}\"",
            other.id
        ),
        format!(
            "WARN aws-cni: kept a DEL for the next daemon: none answered verb=\"DEL\" container=\"{}\"",
            other.id
        ),
        "ERROR aws-cni: failed to carry out a request verb=\"ADD\"".into(),
    ];
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), want.len(), "{log}");
    for (line, want) in lines.iter().zip(&want) {
        assert!(line.starts_with("20") && line.contains(want), "{want}: {line}");
    }
    assert!(lines[3].contains("cannot reach ipamd"), "{}", lines[3]);
    assert!(lines[5].contains(r"K8S_POD_NAME=a\nERROR b"), "{}", lines[5]);
}

#[test]
fn a_plugin_whose_log_takes_nothing_answers_all_the_same() {
    let world = World::up();
    world.node_add("n1", "us-west-2a", ONE_ADDRESS);
    world.daemon_start(
        "n1",
        &[TIGHT, &["AWS_VPC_K8S_PLUGIN_LOG_FILE=/proc/no/plugin.log"]].concat(),
    );
    let pod = Container::new(&world);

    let added = world.plugin("n1", "ADD", &pod, "1.0.0");
    world.daemon_stop("n1");
    let refused = world.plugin("n1", "ADD", &pod, "1.0.0");

    assert!(added.success, "{added:?}");
    assert_eq!(refused.printed["code"], 11, "{refused:?}");
    let told = world.log("n1");
    assert!(told.contains("failed to find the folder of the plugin's log"), "{told}");
}

#[test]
fn lines_are_json_for_those_who_ask_for_it() {
    let log = Log::new();
    let file = format!("AWS_VPC_K8S_CNI_LOG_FILE={}/ipamd.log", log.folder.display());
    let env = [TIGHT, &[&file, "ENI_CNI_LOG_FORMAT=json"]].concat();
    let env: Vec<&str> = env.iter().flat_map(|pair| ["--env", pair]).collect();
    log.world.sim(&[&["daemon", "start", "n1"], &env[..]].concat());
    logged(&log.world, "n1", "\"message\":\"serving\"", 1);
    let pod = Container::new(&log.world);
    assert!(log.world.plugin("n1", "ADD", &pod, "1.0.0").success);
    log.world.daemon_stop("n1");

    let query = format!(r#"select(.verb == "ADD" and .container == "{}") | .address"#, pod.id);
    let path = log.folder.join("ipamd.log");
    let asked = run(Command::new("jq").arg("-r").arg(query).arg(&path), "");

    let found = outcome(&asked).unwrap();
    assert_eq!(found.lines().count(), 1, "{found}");
    assert!(found.parse::<std::net::Ipv4Addr>().is_ok(), "{found}");
}

#[test]
fn a_metadata_service_that_is_disabled_is_told_with_what_to_do() {
    let file = std::env::temp_dir().join(format!("eni-no-imds-{}.toml", std::process::id()));
    let default = fs::read_to_string(repository().join("conf/world.toml")).unwrap();
    fs::write(&file, default.replace("[vpc.imds]\n", "[vpc.imds]\nenabled = false\n")).unwrap();
    let world = World::described_by(Some(&file));
    world.node_add("n1", "us-west-2a", &[]);

    world.sim(&["daemon", "start", "n1"]);

    until("it is told", || {
        let log = world.log("n1");
        let told = log.contains("answered 403") && log.contains("--http-endpoint enabled");
        if told && log.contains("http://169.254.169.254/latest/") { Ok(()) } else { Err(log) }
    });
    let _ = fs::remove_file(file);
}

#[test]
fn a_metadata_service_that_does_not_answer_is_told_with_what_may_be_in_its_way() {
    let world = World::with_node("n1", &[]);
    world.daemon_stop("n1");
    world.sim(&["fault", "add", "imds-unavailable", "--node", "n1"]);

    world.daemon_start("n1", &[]);

    until("it is told", || {
        let log = world.log("n1");
        let told = log.lines().any(|line| {
            line.contains("http://169.254.169.254/latest/api/token: ")
                && line.contains("a rule of iptables or nftables")
                && line.contains("`hostNetwork: true`")
        });
        if told { Ok(()) } else { Err(log) }
    });
}

/// A node with one address, whose daemon logs to a file in a folder of its own.
struct Log {
    world: World,
    folder: PathBuf,
}

impl Log {
    fn new() -> Self {
        let world = World::up();
        world.node_add("n1", "us-west-2a", ONE_ADDRESS);
        let folder = std::env::temp_dir().join(format!("{}-log", world.name()));
        fs::create_dir_all(&folder).unwrap();
        Self { world, folder }
    }

    fn start(&self, env: &[&str]) {
        let path = self.folder.join("ipamd.log");
        let file = format!("AWS_VPC_K8S_CNI_LOG_FILE={}", path.display());
        self.world.daemon_start("n1", &[TIGHT, &[&file], env].concat());
    }

    fn read(&self) -> String {
        fs::read_to_string(self.folder.join("ipamd.log")).unwrap_or_default()
    }

    fn names(&self) -> Vec<String> {
        names(&self.folder)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.world.sim(&["daemon", "kill", "n1"]);
        // There may be a disk of its own.
        let _ = Command::new("umount").args(["--lazy", "--quiet"]).arg(&self.folder).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
}

/// Verb and pod of a line.
fn told(line: &str) -> String {
    let of = |name: &str| {
        let value = line.split(&format!(" {name}=\"")).nth(1)?;
        value.split('"').next().map(str::to_owned)
    };
    format!("{} {}", of("verb").unwrap_or_default(), of("pod").unwrap_or_default())
}

fn shell(command: &str) -> Result<String, String> {
    outcome(&run(Command::new("sh").args(["-c", command]), ""))
}
