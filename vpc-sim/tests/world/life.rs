//! How worlds begin and end, also by force.

use crate::program::{Program, succeed, vpc_sim};
use crate::setup::{Name, PATIENCE, add_node, up};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};
use vpc_sim::world::{DaemonRequest, World, WorldFile, process::Process};

#[tokio::test(flavor = "multi_thread")]
async fn two_worlds_live_side_by_side_and_leave_nothing() {
    let (a, b) = (Name::new(), Name::new());
    let (first, second) = (up(&a).await, up(&b).await);
    add_node(&first, "n1", "us-west-2a").await;
    add_node(&second, "n1", "us-west-2a").await;

    first.down().await.unwrap();
    let left = second.status().await.unwrap();
    second.down().await.unwrap();

    assert_eq!(left.nodes.len(), 1);
    assert_eq!((a.traces(), b.traces()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_for_one_world_at_a_time() {
    let name = Name::new();
    let world = up(&name).await;

    let second = World::up(&name.0, WorldFile::default()).await.unwrap_err();
    world.down().await.unwrap();
    let third = World::up(&name.0, WorldFile::default()).await;

    assert!(second.to_string().contains("already runs in process"), "{second:#}");
    third.unwrap().down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_is_refused_and_leaves_nothing() {
    let name = Name::new();
    let world = up(&name).await;
    let request = |node: &str, zone: &str, kind: &str| vpc_sim::world::NodeRequest {
        name: node.into(),
        zone: Some(zone.into()),
        instance_type: Some(kind.into()),
        ..Default::default()
    };

    let zone = world.add_node(request("n1", "us-west-2z", "m5.large")).await.unwrap_err();
    let kind = world.add_node(request("n1", "us-west-2a", "m5.tiny")).await.unwrap_err();
    let node = world.add_node(request("router", "us-west-2a", "m5.large")).await.unwrap_err();

    assert!(format!("{zone:#}").contains("us-west-2a, us-west-2b"), "{zone:#}");
    assert!(format!("{kind:#}").contains("m5.tiny"), "{kind:#}");
    assert!(format!("{node:#}").contains("cannot name a node"), "{node:#}");
    assert_eq!(world.status().await.unwrap().nodes, []);
    assert!(!world.folder().node("n1").log().exists());
    assert!(world.add_node(request("n1", "us-west-2a", "m5.large")).await.is_ok());
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_runs_until_it_is_stopped_or_killed_or_its_node_goes() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    let bin = world.folder().path().join("daemon.sh");
    write_script(&bin, "#!/bin/sh\necho \"as $MY_NODE_NAME with $EXTRA\"\nexec sleep 600\n");
    let request = DaemonRequest {
        node: "n1".into(),
        env: [("EXTRA".to_owned(), "more".to_owned())].into(),
        bin: Some(bin),
        ..DaemonRequest::default()
    };

    let first = start(&world, &request).await;
    let log = world.folder().node("n1").log().join("ipamd.log");
    let log = eventually(|| fs::read_to_string(&log).ok().filter(|text| text.contains('\n')));
    let twice = world.start_daemon(request.clone()).await;
    world.stop_daemon("n1").await.unwrap();
    let second = start(&world, &request).await;
    world.kill_daemon("n1").await.unwrap();
    let third = start(&world, &request).await;
    world.remove_node("n1").await.unwrap();

    assert!(twice.is_err());
    assert_eq!([first, second, third].map(Process::is_alive), [false; 3]);
    assert!(log.starts_with("as n1 with more\n"), "{log}");
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_that_is_dropped_is_removed_too() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;

    drop(world);

    assert_eq!(name.traces(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_request_that_makes_no_sense_is_answered_and_harms_nobody() {
    let name = Name::new();
    let _program = Program::up(&name);
    let socket = format!("/run/vpc-sim/{}/control.sock", name.0);
    let answers = ["", "{", r#"{"command":"explode"}"#].map(|request| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });

    let status = vpc_sim(&name, &["status"]);
    succeed(&name, &["down"]);

    for answer in &answers {
        assert!(answer.contains("the request is not understood"), "{answer}");
    }
    assert!(answers[2].contains("pod-add"), "{}", answers[2]);
    assert!(status.status.success());
}

#[test]
fn a_killed_world_is_removed_with_its_daemons() {
    let name = Name::new();
    let mut program = Program::up(&name);
    let bin = format!("/run/vpc-sim/{}/daemon.sh", name.0);
    write_script(bin.as_ref(), "#!/bin/sh\nexec sleep 600\n");
    succeed(&name, &["node", "add", "n1", "--zone", "us-west-2a"]);
    let started = succeed(&name, &["daemon", "start", "n1", "--bin", &bin]);
    let daemon = Process::of(started.trim().parse().unwrap()).unwrap();

    program.child.kill().unwrap();
    program.child.wait().unwrap();
    let orphan = daemon.is_alive();
    let asked = vpc_sim(&name, &["status"]);
    succeed(&name, &["down"]);

    assert!(orphan);
    assert!(!asked.status.success());
    assert!(String::from_utf8_lossy(&asked.stderr).contains("does not run"), "{asked:?}");
    assert!(!daemon.is_alive());
    assert_eq!(name.traces(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_world_ends_by_command_and_by_signal() {
    for signal in [None, Some(Signal::SIGINT), Some(Signal::SIGTERM)] {
        let name = Name::new();
        let mut program = Program::up(&name);
        succeed(&name, &["node", "add", "n1", "--zone", "us-west-2b"]);

        match signal {
            None => drop(succeed(&name, &["down"])),
            Some(signal) => {
                kill(Pid::from_raw(program.child.id().try_into().unwrap()), signal).unwrap();
            }
        }

        assert!(program.child.wait().unwrap().success(), "{signal:?}");
        assert_eq!(name.traces(), Vec::<std::path::PathBuf>::new(), "{signal:?}");
    }
}

#[test]
fn a_world_ends_with_who_started_it_when_asked_to() {
    let (bound, free) = (Name::new(), Name::new());
    let mut ends = Program::until_eof(&bound);
    let mut stays = Program::up(&free);

    drop((ends.child.stdin.take(), stays.child.stdin.take()));

    assert!(ends.child.wait().unwrap().success());
    assert_eq!(bound.traces(), Vec::<std::path::PathBuf>::new());
    succeed(&free, &["status"]);
    succeed(&free, &["down"]);
}

#[test]
fn the_program_runs_commands_on_nodes() {
    let name = Name::new();
    let mut program = Program::up(&name);
    succeed(&name, &["node", "add", "n1", "--zone", "us-west-2a", "--label", "a=b"]);

    let output = succeed(&name, &["exec", "n1", "--", "sh", "-c", "cat /proc/net/dev; env"]);
    let missing = vpc_sim(&name, &["exec", "n1/p", "--", "true"]);
    let status: Value = serde_json::from_str(&succeed(&name, &["status", "--json"])).unwrap();

    assert!(output.contains("ens5:") && output.contains("MY_NODE_NAME=n1"), "{output}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("no pod default/p on node n1"));
    assert_eq!(status["outside"], program.ready["outside"]);
    assert_eq!(status["nodes"][0]["zone"], "us-west-2a");
    succeed(&name, &["down"]);
    program.child.wait().unwrap();
}

/// What a process that runs beside the test makes true.
fn eventually<T>(look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not true within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

async fn start(world: &World, request: &DaemonRequest) -> Process {
    Process::of(world.start_daemon(request.clone()).await.unwrap()).unwrap()
}

fn write_script(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
