//! The run folder goes while the daemon runs, and a second daemon comes.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tests::{
    Row, binary,
    by_hand::Container,
    command::{run, until},
    world::World,
};

/// No interface comes or goes meanwhile, and addresses come back at once.
const ENV: &[&str] = &["MAX_ENI=1", "WARM_ENI_TARGET=0", "IP_COOLDOWN_PERIOD=0"];

type Loss = (&'static str, fn(&Path));

const LOSSES: &[Loss] = &[
    ("the folder removed", |run| fs::remove_dir_all(run).unwrap()),
    ("the folder moved away and another one made", |run| {
        fs::rename(run, run.with_extension("away")).unwrap();
        fs::create_dir(run).unwrap();
    }),
    ("all files removed", |run| {
        for entry in fs::read_dir(run).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_dir() {
                fs::remove_file(path).unwrap();
            }
        }
    }),
    ("the socket replaced by a file", |run| {
        fs::remove_file(run.join(rpc::SOCKET_NAME)).unwrap();
        fs::write(run.join(rpc::SOCKET_NAME), "").unwrap();
    }),
];

#[test]
fn a_run_folder_that_goes_while_the_daemon_runs_is_there_again_with_every_pod_on_record() {
    let world = World::with_node("n1", ENV);
    let run = world.node_folder("n1").run();
    let mut pods = vec![world.pod_add("n1", "first")];
    for (number, (what, loss)) in LOSSES.iter().enumerate() {
        let _row = Row(what);
        let goes = world.pod_add("n1", &format!("goes-{number}"));
        loss(&run);

        let name = format!("new-{number}");
        pods.push(until("a pod starts", || world.try_pod_add("n1", &name)));
        world.pod_rm(&goes);
        until("record and checkpoint are there", || {
            let there = |name: &str| {
                let text = fs::read_to_string(run.join(name)).map_err(|it| it.to_string())?;
                let whole = pods.iter().all(|pod| text.contains(&pod.address.to_string()));
                if whole { Ok(()) } else { Err(format!("{name}: {text}")) }
            };
            there("journal").and_then(|()| there("ipam.json"))
        });
        world.daemon_kill("n1");
        fs::remove_file(run.join("ipam.json")).unwrap();
        world.daemon_start("n1", ENV);

        world.everybody_reaches_everybody(&pods);
        let addresses: BTreeSet<_> = pods.iter().map(|pod| pod.address).collect();
        assert_eq!(addresses.len(), pods.len());
    }
}

#[test]
fn a_second_daemon_is_kept_out_wherever_its_run_folder_is_and_comes_once_the_first_is_gone() {
    let world = World::with_node("n1", ENV);
    let other = world.folder().join("another-run");
    fs::create_dir(&other).unwrap();
    let second = || {
        let mut command = Command::new(binary("vpc-sim"));
        command.args(["--name", world.name(), "exec", "n1", "--", "env"]);
        command.arg(format!("ENI_CNI_RUN_DIR={}", other.display()));
        command.args(["timeout", "10"]).arg(binary("ipamd"));
        let ended = run(&mut command, "");
        let streams = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8_lossy(&streams).into_owned())
    };

    let (served, told) = second();

    assert!(!served, "{told}");
    assert!(told.contains("another ipamd runs on this node, process "), "{told}");
    assert!(fs::read_dir(&other).unwrap().next().is_none());
    // Another node has a name of its own; and a name goes with its process.
    world.node_add("n2", "us-west-2b", &[]);
    world.daemon_start("n2", ENV);
    world.daemon_kill("n1");
    world.daemon_start("n1", ENV);
    let container = Container::new(&world);
    assert!(world.plugin("n1", "ADD", &container, "1.0.0").success);
}

#[test]
fn where_the_record_cannot_be_written_pods_go_on_and_none_starts_or_ends_until_it_can() {
    let world = World::with_node("n1", ENV);
    let pods = ["a", "b"].map(|name| world.pod_add("n1", name));
    let (ends, comes) = (Container::new(&world), Container::new(&world));
    assert!(world.plugin("n1", "ADD", &ends, "1.0.0").success);
    world.daemon_kill("n1");
    let journal = ReadOnly::new(world.node_folder("n1").run().join("journal"));

    world.daemon_start("n1", ENV);

    assert!(world.log("n1").contains("failed to write the record: "));
    world.everybody_reaches_everybody(&pods);
    let refused = world.plugin("n1", "ADD", &comes, "1.0.0");
    assert!(!refused.success && refused.printed.to_string().contains("journal"), "{refused:?}");
    let refused = world.plugin("n1", "DEL", &ends, "1.0.0");
    assert!(!refused.success && refused.printed.to_string().contains("journal"), "{refused:?}");

    drop(journal);
    assert!(world.plugin("n1", "ADD", &comes, "1.0.0").success);
    assert!(world.plugin("n1", "DEL", &ends, "1.0.0").success);
    world.everybody_reaches_everybody(&pods);
}

#[test]
fn on_a_run_folder_that_takes_nothing_the_daemon_starts_and_serves_once_it_takes_something() {
    let world = World::with_node("n1", ENV);
    let pods = ["a", "b"].map(|name| world.pod_add("n1", name));
    world.daemon_kill("n1");
    let folder = ReadOnly::new(world.node_folder("n1").run());

    world.daemon_start("n1", ENV);

    world.everybody_reaches_everybody(&pods);
    let refused = world.try_pod_add("n1", "c").unwrap_err();
    assert!(refused.contains("cannot reach ipamd"), "{refused}");

    drop(folder);
    let more = until("a pod starts", || world.try_pod_add("n1", "c"));
    let [first, second] = pods;
    world.everybody_reaches_everybody(&[first, second, more]);
}

#[test]
fn a_pod_in_the_nodes_network_that_takes_the_name_keeps_no_daemon_out() {
    const TAKE: &str = "import os, socket, sys, time\n\
        os.setuid(65534)\n\
        held = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        held.bind('\\0' + sys.argv[1])\n\
        held.listen(1)\n\
        print('taken', flush=True)\n\
        time.sleep(600)\n";
    let world = World::up();
    world.node_add("n1", "us-west-2a", &[]);
    let mut squats = Command::new(binary("vpc-sim"));
    squats.args(["--name", world.name(), "exec", "n1", "--"]);
    squats.args(["setpriv", "--pdeathsig", "KILL"]);
    squats.args(["python3", "-c", TAKE, rpc::GUARD_NAME]).stdout(Stdio::piped());
    let mut squats = squats.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(squats.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "taken\n");

    world.daemon_start("n1", ENV);
    world.pod_add("n1", "p");

    let log = world.log("n1");
    assert!(log.contains("user 65534 holds the name"), "{log}");
    squats.kill().unwrap();
    squats.wait().unwrap();
}

/// A path on which nothing can be written, until it is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn new(path: PathBuf) -> Self {
        let mounted = |flags| mount(Some(&path), &path, None::<&str>, flags, None::<&str>).unwrap();
        mounted(MsFlags::MS_BIND);
        mounted(MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        Self(path)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}
