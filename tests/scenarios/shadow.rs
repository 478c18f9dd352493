//! `ipamd shadow` beside a working peer: it sees what a take-over would find, and leaves no trace.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, os::unix::fs::MetadataExt, path::Path};
use tests::{
    binary,
    peer::{self, Mode, PeerNode},
    world::{Pod, World},
};

/// Pods of the peer.
const PODS: usize = 10;

/// All that the kernel has of the node's network.
const KERNEL: &str = "ip rule; ip -4 route show table all; ip link; ip -4 address; ip -4 neigh show nud permanent; \
     nft --stateless list ruleset";

#[test]
fn a_shadow_tells_what_a_take_over_would_adopt_and_leaves_no_trace() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let peer = PeerNode::new(&world, "n1", mode);
        let pods = peer.pods_add("old", PODS);
        let before = (peer.shell(KERNEL), files(&world));

        let (outcome, said) = once(&world, mode);

        assert_eq!(outcome, 0, "{mode:?}: {said}");
        assert!(said.contains("all agree about every address of a running pod"), "{said}");
        assert!(said.contains(&format!("a take-over would adopt: {PODS}\n")), "{said}");
        for pod in &pods {
            let line = format!("  {} default/{}, the peer's, on eni-", pod.address, pod.name);
            assert!(said.contains(&line), "{line} in {said}");
        }
        assert!(said.contains("give to nobody: 0\n") && said.contains("plan: "), "{said}");
        assert_eq!((peer.shell(KERNEL), files(&world)), before, "{mode:?}");
        let changing: Vec<_> =
            world.calls("n1").into_iter().filter(|it| !it.action.starts_with("Describe")).collect();
        assert_eq!(changing, [], "{mode:?}");
    }
}

#[test]
fn an_address_of_a_running_pod_that_ec2_or_the_checkpoint_lost_is_named() {
    let mode = Mode::Default;
    let world = peer::world(mode);
    let peer = PeerNode::new(&world, "n1", mode);
    let pods = peer.pods_add("old", PODS);

    unassign(&world, &pods[3]);
    let (outcome, said) = once(&world, mode);

    assert_eq!(
        (outcome, odd(&said)),
        (1, [(pods[3].address, "ec2, imds".into())].into()),
        "{said}"
    );

    let text = fs::read_to_string(peer.checkpoint_path()).unwrap();
    let mut checkpoint: serde_json::Value = serde_json::from_str(&text).unwrap();
    let lost = pods[7].address.to_string();
    let allocations = checkpoint["allocations"].as_array_mut().unwrap();
    allocations.retain(|it| it["ipv4"] != lost.as_str());
    assert_eq!(allocations.len(), PODS - 1);
    // Whoever writes the file may write anything.
    let container = allocations[0]["containerID"].as_str().unwrap().to_owned();
    allocations[0]["containerID"] = format!("{container}\n  forged\u{1b}[2J").into();
    fs::write(peer.checkpoint_path(), checkpoint.to_string()).unwrap();
    let (outcome, said) = once(&world, mode);

    let want = [(pods[3].address, "ec2, imds".into()), (pods[7].address, "checkpoint".into())];
    assert_eq!((outcome, odd(&said)), (1, want.into()), "{said}");
    assert!(said.contains(&format!("a take-over would adopt: {}\n", PODS - 2)), "{said}");
    assert!(said.contains(&format!(r"{container}\n  forged\u{{1b}}[2J")), "{said}");
    // Nobody gets them all the same. Without a rule nothing says that the primary interface has it.
    assert!(said.contains(&format!("  {lost}: routed to eni")), "{said}");
    let (address, name) = (pods[3].address, &pods[3].name);
    let held =
        format!("  {address}: pod default/{name} has it, and no interface is known to carry it");
    assert!(said.contains(&held), "{said}");
}

#[test]
fn a_shadow_that_goes_on_shows_its_metrics_where_it_is_told_to_and_listens_nowhere_else() {
    let world = peer::world(Mode::Default);
    let peer = PeerNode::new(&world, "n1", Mode::Default);
    let pods = peer.pods_add("old", 2);
    unassign(&world, &pods[0]);
    let script = format!(
        "{} shadow > /dev/null & until curl -sf localhost:{PORT}/metrics | \
         grep '^eni_cni_shadow_disagreements 1$'; do sleep 0.2; done; \
         curl -s localhost:{PORT}/metrics | grep -v '^#'; ss -Hltn; kill $!; wait $!",
        binary("ipamd").display()
    );

    let env = [
        ("ENI_CNI_SHADOW_INTERVAL", "1".to_owned()),
        ("ENI_CNI_SHADOW_PORT", PORT.to_string()),
        ("AWS_VPC_K8S_CNI_BACKING_STORE", backing_store(&world)),
    ];
    let output = world.exec("n1", &["sh", "-c", &script], &env, "");

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let lost = pods[0].address;
    for line in [
        format!("eni_cni_shadow_disagreement{{address=\"{lost}\",odd=\"ec2\"}} 1\n"),
        "eni_cni_shadow_adopted_pods 1\n".to_owned(),
        "eni_cni_shadow_held_addresses 1\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line} in {said}");
    }
    assert!(!said.contains("awscni_"), "the peer's own metrics are the peer's: {said}");
    let listeners: Vec<_> = said.lines().filter(|line| line.starts_with("LISTEN")).collect();
    assert!(listeners.len() == 1 && listeners[0].contains(&format!(":{PORT}")), "{listeners:?}");
}

/// Where it shows its metrics: not where the peer does.
const PORT: u16 = 61_700;

/// Runs it once on n1: its exit code and what it said.
fn once(world: &World, mode: Mode) -> (i32, String) {
    let program = binary("ipamd").display().to_string();
    let env = mode.env().iter().map(|pair| pair.split_once('=').unwrap());
    let env = env.chain([("ENI_CNI_SHADOW_INTERVAL", "0")]);
    let env = env.map(|(name, value)| (name, value.to_owned()));
    let env: Vec<_> =
        env.chain([("AWS_VPC_K8S_CNI_BACKING_STORE", backing_store(world))]).collect();
    let output = world.exec("n1", &[&program, "shadow"], &env, "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), format!("{said}\n{log}"))
}

fn backing_store(world: &World) -> String {
    world.node_folder("n1").run().join("ipam.json").display().to_string()
}

/// Which addresses it named, and who was odd.
fn odd(said: &str) -> BTreeMap<Ipv4Addr, String> {
    let lines = said.lines().filter_map(|line| {
        let (address, rest) = line.trim().split_once(" (odd: ")?;
        Some((address.parse().ok()?, rest.split_once(')')?.0.to_owned()))
    });
    lines.collect()
}

/// Takes an address of a pod away in EC2, as somebody outside.
fn unassign(world: &World, pod: &Pod) {
    let interfaces = world.node("n1").interfaces;
    let of = interfaces.iter().find(|it| it.secondary.contains(&pod.address)).unwrap();
    world.ec2(&format!(
        "Action=UnassignPrivateIpAddresses&NetworkInterfaceId={}&PrivateIpAddress.1={}",
        of.id, pod.address
    ));
}

/// Every file of the node that a daemon could write: its change and its size.
fn files(world: &World) -> BTreeMap<String, (i64, i64, u64)> {
    let folder = world.node_folder("n1");
    let mut found = BTreeMap::new();
    for root in [folder.run(), folder.log(), folder.cni_bin(), folder.cni_conf()] {
        list(&root, &mut found);
    }
    found
}

fn list(path: &Path, found: &mut BTreeMap<String, (i64, i64, u64)>) {
    let Ok(metadata) = fs::symlink_metadata(path) else { return };
    let of = (metadata.mtime(), metadata.mtime_nsec(), metadata.size());
    found.insert(path.display().to_string(), of);
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            list(&entry.unwrap().path(), found);
        }
    }
}
