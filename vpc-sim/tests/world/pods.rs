//! Pods, connected by a plugin that is a shell script.

use crate::setup::{Name, add_node, default_world, http, http_briefly, up};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};
use vpc_sim::{
    api::kube::Kind,
    fabric::Place,
    world::{PodRequest, World},
};

/// Connects one pod by a veth and hides it behind its node.
const PLUGIN: &str = r#"#!/bin/sh
set -e
echo "$CNI_COMMAND $CNI_ARGS" >> "$(dirname "$0")/calls"
[ "$CNI_COMMAND" = ADD ] || exit 0
ip link add veth0 type veth peer name eth0 netns "$CNI_NETNS"
ip address add 192.168.7.1/24 dev veth0
ip link set veth0 up
nsenter --net="$CNI_NETNS" sh -ec '
    ip address add 192.168.7.2/24 dev eth0
    ip link set eth0 up
    ip route add default via 192.168.7.1'
nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; };
    add rule ip nat out ip saddr 192.168.7.2 masquerade'
echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],
    "ips":[{"interface":0,"address":"192.168.7.2/24"}]}'
"#;

const BROKEN: &str = r#"#!/bin/sh
echo "$CNI_COMMAND $CNI_ARGS" >> "$(dirname "$0")/calls"
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{"cniVersion":"1.0.0","code":11,"msg":"no free address","details":"try later"}'
exit 1
"#;

const IMDS: &str = "169.254.169.254:80";
const TOKEN: &str = "PUT /latest/api/token\nx-aws-ec2-metadata-token-ttl-seconds: 60";

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_what_the_plugin_gives_it_and_leaves_nothing() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    let node = world.namespace(Place::Node("n1")).await.unwrap();
    install(&world, PLUGIN);

    let added = world.add_pod(pod()).await.unwrap();
    let object = world.kubernetes().get(Kind::Pod, Some("default"), "p").unwrap();
    let (_, answer) = http(&node, "192.168.7.2:80", "GET /").unwrap();
    world.remove_pod("n1", "default", "p").await.unwrap();

    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(added.result["ips"][0]["address"], "192.168.7.2/24");
    assert_eq!(
        (&object["status"]["phase"], &object["status"]["podIP"]),
        (&"Running".into(), &"192.168.7.2".into())
    );
    assert_eq!(
        (&answer["pod"], &answer["node"], &answer["source"]),
        (&"p".into(), &"n1".into(), &"192.168.7.1".into())
    );
    assert!(world.kubernetes().get(Kind::Pod, Some("default"), "p").is_err());
    assert!(!world.namespace(Place::Pod("n1", "p")).await.unwrap().exists());
    assert_eq!(verbs(&world), ["ADD", "DEL", "DEL"]);
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_travels_as_far_as_the_hop_limit() {
    for (hop_limit, reaches_a_pod) in [(1, false), (2, true)] {
        let name = Name::new();
        let mut file = default_world();
        file.vpc.imds.hop_limit = hop_limit;
        let world = World::up(&name.0, file).await.unwrap();
        add_node(&world, "n1", "us-west-2a").await;
        install(&world, PLUGIN);
        world.add_pod(pod()).await.unwrap();
        let node = world.namespace(Place::Node("n1")).await.unwrap();
        let pod = world.namespace(Place::Pod("n1", "p")).await.unwrap();

        let (_, token) = http(&node, IMDS, TOKEN).unwrap();
        let read = format!("GET /latest/meta-data/instance-id\nx-aws-ec2-metadata-token: {token}");
        let read = http(&pod, IMDS, &read).unwrap();
        let of_pod = http_briefly(&pod, IMDS, TOKEN);

        assert_eq!(read.0, 200, "hop limit {hop_limit}");
        assert_eq!(of_pod.is_ok(), reaches_a_pod, "hop limit {hop_limit}: {of_pod:?}");
        world.down().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_fails_is_told_to_who_asked_and_in_an_event() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    install(&world, BROKEN);

    let failed = world.add_pod(pod()).await.unwrap_err();
    install(&world, PLUGIN);
    let again = world.add_pod(pod()).await;

    let said = r#"plugin type="script" failed (add): no free address; try later"#;
    assert_eq!(format!("{failed:#}"), said);
    let events = world.kubernetes().list(Kind::Event, Some("default"));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["reason"], "FailedCreatePodSandBox");
    assert!(events[0]["message"].as_str().unwrap().ends_with(said), "{events:?}");
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(verbs(&world), ["ADD", "DEL", "ADD"]);
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_node_takes_its_pods_with_it_and_asks_nobody() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    install(&world, PLUGIN);
    world.add_pod(pod()).await.unwrap();

    world.remove_node("n1").await.unwrap();

    assert!(world.kubernetes().get(Kind::Pod, Some("default"), "p").is_err());
    assert!(world.kubernetes().get(Kind::Node, None, "n1").is_err());
    assert!(!world.namespace(Place::Pod("n1", "p")).await.unwrap().exists());
    assert_eq!(world.status().await.unwrap().nodes, []);
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_of_a_pod_cannot_be_removed_keeps_nothing_else_from_going() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    install(&world, PLUGIN);
    world.add_pod(pod()).await.unwrap();
    let namespace = world.namespace(Place::Pod("n1", "p")).await.unwrap();
    keep(&namespace);

    let failed = world.remove_pod("n1", "default", "p").await.unwrap_err();
    let object = world.kubernetes().get(Kind::Pod, Some("default"), "p");
    let again = world.remove_pod("n1", "default", "p").await;

    assert!(format!("{failed:#}").contains("remove namespace"), "{failed:#}");
    assert!(object.is_err(), "{object:?}");
    assert_eq!(verbs(&world), ["ADD", "DEL", "DEL"]);
    assert!(again.is_ok(), "{again:?}");
    assert!(!namespace.exists());
    world.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_of_a_node_cannot_be_removed_keeps_nothing_else_from_going() {
    let name = Name::new();
    let world = up(&name).await;
    add_node(&world, "n1", "us-west-2a").await;
    install(&world, PLUGIN);
    world.add_pod(pod()).await.unwrap();
    keep(&world.namespace(Place::Node("n1")).await.unwrap());

    let failed = world.remove_node("n1").await.unwrap_err();

    assert!(format!("{failed:#}").contains("remove namespace"), "{failed:#}");
    assert!(world.kubernetes().get(Kind::Pod, Some("default"), "p").is_err());
    assert!(world.kubernetes().get(Kind::Node, None, "n1").is_err());
    assert!(!world.namespace(Place::Pod("n1", "p")).await.unwrap().exists());
    assert!(!world.folder().node("n1").log().exists());
    assert_eq!(world.status().await.unwrap().nodes, []);
    world.down().await.unwrap();
    assert_eq!(name.traces(), Vec::<std::path::PathBuf>::new());
}

/// Keeps a namespace from being removed once: somebody has mounted it a second time.
fn keep(namespace: &Path) {
    let mounted = Command::new("mount").arg("--bind").args([namespace, namespace]).status();
    assert!(mounted.unwrap().success());
}

fn pod() -> PodRequest {
    PodRequest { node: "n1".into(), name: "p".into(), serve: true, ..PodRequest::default() }
}

fn install(world: &World, plugin: &str) {
    let folder = world.folder().node("n1");
    let path = folder.cni_bin().join("script");
    let list = r#"{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"script"}]}"#;
    fs::write(folder.cni_conf().join("10-test.conflist"), list).unwrap();
    fs::write(&path, plugin).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn verbs(world: &World) -> Vec<String> {
    let calls = world.folder().node("n1").cni_bin().join("calls");
    let calls = fs::read_to_string(calls).unwrap();
    calls.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}
