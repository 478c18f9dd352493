//! The run folder goes while the daemon runs, and a second daemon comes.

use std::{collections::BTreeSet, fs, path::Path, process::Command};
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
