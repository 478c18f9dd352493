//! Nodes that reboot, stop and start.

use crate::{
    program::{Program, succeed, vpc_sim},
    setup::{Name, add_node, http, up},
};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use vpc_sim::{
    api::kube::Kind,
    fabric::Place,
    world::{InterfaceRequest, process::Process},
};

const IMDS: &str = "169.254.169.254:80";
const TOKEN: &str = "PUT /latest/api/token\nx-aws-ec2-metadata-token-ttl-seconds: 60";

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_starts_with_another_type_and_the_interfaces_that_it_had() {
    let name = Name::new();
    let world = up(&name).await;
    let before = add_node(&world, "n1", "us-west-2a").await;
    let request = InterfaceRequest { secondary: 2, ..InterfaceRequest::default() };
    let eni = world.attach_interface("n1", &request).await.unwrap();

    world.stop_node("n1").await.unwrap();
    let stopped = world.node_status("n1").await.unwrap();
    let refused = world.start_daemon(daemon("/bin/true")).await.unwrap_err().to_string();
    let started = world.start_node("n1", Some("m5.4xlarge".into())).await.unwrap();

    assert_eq!((stopped.state.as_str(), stopped.public_address), ("stopped", None));
    assert!(refused.contains("node start n1"), "{refused}");
    assert_eq!((started.state.as_str(), started.address), ("running", before.address));
    assert!(started.interfaces.contains(&eni), "{started:?}");
    let place = world.namespace(Place::Node("n1")).await.unwrap();
    let (_, token) = http(&place, IMDS, TOKEN).unwrap();
    let read = |path: &str| {
        http(&place, IMDS, &format!("GET {path}\nx-aws-ec2-metadata-token: {token}")).unwrap().1
    };
    assert_eq!(read("/latest/meta-data/instance-type"), "m5.4xlarge");
    let macs = read("/latest/meta-data/network/interfaces/macs/");
    assert!(macs.contains(&eni.mac), "{macs}");
    let node = world.kubernetes().get(Kind::Node, None, "n1").unwrap();
    assert_eq!(node["metadata"]["labels"]["node.kubernetes.io/instance-type"], "m5.4xlarge");
    assert_eq!(node["status"]["capacity"]["pods"], "234");
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_without_what_the_type_that_it_gets_cannot_carry() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    for _ in 0..2 {
        world.attach_interface("n1", &InterfaceRequest::default()).await.unwrap();
    }
    world.stop_node("n1").await.unwrap();

    let refused = world.start_node("n1", Some("t3.nano".into())).await.unwrap_err();
    let started = world.start_node("n1", None).await.unwrap();

    assert!(format!("{refused:#}").contains("AttachmentLimitExceeded"), "{refused:#}");
    assert_eq!((started.instance_type.as_str(), started.interfaces.len()), ("m5.large", 3));
    world.down().await.unwrap();
}

#[test]
fn a_rebooted_node_has_nothing_of_its_kernel_and_its_run_folder_and_runs_its_daemon() {
    let name = Name::new();
    let mut program = Program::up(&name);
    let folder = format!("/run/vpc-sim/{}", name.0);
    let bin = format!("{folder}/daemon.sh");
    fs::write(&bin, "#!/bin/sh\necho \"started with $EXTRA\"\nexec sleep 600\n").unwrap();
    fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
    succeed(&name, &["node", "add", "n1", "--zone", "us-west-2a", "--interface", "secondary=1"]);
    let start = ["daemon", "start", "n1", "--bin", &bin, "--env", "EXTRA=more"];
    let first = process(&succeed(&name, &start));
    succeed(&name, &["exec", "n1", "--", "ip", "rule", "add", "pref", "77", "lookup", "main"]);
    succeed(&name, &["exec", "n1", "--", "ip", "link", "set", "ens6", "up"]);
    let run = format!("{folder}/nodes/n1/run/record");
    let disk = format!("{folder}/nodes/n1/cni/bin/plugin");
    for path in [&run, &disk] {
        fs::write(path, "").unwrap();
    }
    let macs = || succeed(&name, &["exec", "n1", "--", "ip", "-brief", "link"]);
    let before = macs();

    let rebooted: Value = serde_json::from_str(&succeed(&name, &["node", "reboot", "n1"])).unwrap();

    let rules = succeed(&name, &["exec", "n1", "--", "ip", "rule"]);
    let after = macs();
    let log = fs::read_to_string(format!("{folder}/nodes/n1/log/ipamd.log")).unwrap();
    assert!(!rules.contains("77:"), "{rules}");
    assert!(before.lines().any(|it| it.starts_with("ens6") && it.contains("UP")), "{before}");
    assert!(after.lines().any(|it| it.starts_with("ens6") && it.contains("DOWN")), "{after}");
    assert_eq!((Path::new(&run).exists(), Path::new(&disk).exists()), (false, true));
    assert!(!first.is_alive());
    assert!(rebooted["daemon"].is_number(), "{rebooted}");
    assert_eq!(log.matches("started with more").count(), 2, "{log}");
    succeed(&name, &["exec", "n1", "--", "bash", "-c", ": < /dev/tcp/198.18.0.1/80"]);
    let stop = succeed(&name, &["node", "stop", "n1"]);
    let again = vpc_sim(&name, &["node", "reboot", "n1"]);
    assert_eq!(stop, "");
    assert!(String::from_utf8_lossy(&again.stderr).contains("node start n1"), "{again:?}");
    succeed(&name, &["down"]);
    program.child.wait().unwrap();
}

fn process(pid: &str) -> Process {
    Process::of(pid.trim().parse().unwrap()).unwrap()
}

fn daemon(bin: &str) -> vpc_sim::world::DaemonRequest {
    vpc_sim::world::DaemonRequest { node: "n1".into(), bin: Some(bin.into()), ..Default::default() }
}
