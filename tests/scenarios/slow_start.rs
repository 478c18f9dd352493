//! A start that does not come to its end: whoever asks the daemon meanwhile is told why and does not wait.

use serde_json::{Value, json};
use std::fs;
use tests::{
    by_hand::Container,
    command::{run, until},
    world::World,
};

/// One address for pods, which comes back at once.
const ENV: &[&str] = &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0"];

#[test]
fn a_record_of_another_instance_is_named_to_all_who_ask_with_what_to_do() {
    let world = World::with_node("n1", ENV);
    world.pod_add("n1", "of-another-machine");
    world.daemon_stop("n1");
    world.node_add("n2", "us-west-2b", &[]);
    world.daemon_start("n2", ENV);
    world.daemon_stop("n2");
    // As an image of n1's machine would bring them.
    let [from, to] = ["n1", "n2"].map(|node| world.node_folder(node).run());
    for file in ["journal", "ipam.json"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }

    world.sim(&[&["daemon", "start", "n2"], &env(ENV)[..]].concat());

    let words = format!(
        "is of the instance {} (primary interface {}), and this is {}: it came with an image",
        world.node("n1").instance_id,
        world.node("n1").interfaces[0].mac,
        world.node("n2").instance_id
    );
    everybody_is_told(&world, "n2", &words);
    the_node_is_told(&world, &words);
    for file in ["journal", "ipam.json"] {
        fs::remove_file(to.join(file)).unwrap();
    }
    world.daemon_kill("n2");
    world.daemon_start("n2", ENV);
    world.pod_add("n2", "starts");
}

#[test]
fn a_primary_link_that_does_not_come_is_told_to_all_who_ask_and_dels_meanwhile_are_carried_out() {
    let world = World::with_node("n1", ENV);
    let [stays, ends] = ["stays", "ends"].map(|name| world.pod_add("n1", name));
    world.daemon_stop("n1");
    let mac = world.node("n1").interfaces[0].mac.clone();
    let set = |mac: &str| {
        world.sim(&["exec", "n1", "--", "ip", "link", "set", "dev", "ens5", "address", mac]);
    };
    set("02:00:00:00:00:01");

    world.sim(&[&["daemon", "start", "n1"], &env(ENV)[..]].concat());

    // Nor does it reach Kubernetes.
    everybody_is_told(&world, "n1", &format!("has the hardware address {mac}: look at `ip link`"));
    world.pod_rm(&ends);
    let spool = || fs::read_dir(world.node_folder("n1").run().join("del-spool")).unwrap().count();
    assert_eq!(spool(), 2, "the DELs of two containers");
    set(&mac);
    until("the daemon serves", || {
        let status = world.plugin("n1", "STATUS", &Container::new(&world), "1.1.0");
        if status.success { Ok(()) } else { Err(format!("{status:?}")) }
    });
    assert_eq!(spool(), 0);
    assert_eq!(world.metrics("n1")["awscni_assigned_ip_addresses"], "1");
    let comes = world.pod_add("n1", "comes");
    world.everybody_reaches_everybody(&[stays, comes]);
}

#[test]
fn a_metadata_service_that_never_answers_keeps_nobody_waiting_for_an_answer() {
    let world = World::with_node("n1", ENV);
    world.daemon_stop("n1");
    fs::remove_file(world.node_folder("n1").run().join("journal")).unwrap();
    world.sim(&["fault", "add", "imds-unavailable", "--node", "n1"]);

    world.sim(&[&["daemon", "start", "n1"], &env(ENV)[..]].concat());

    let words = "a rule of iptables or nftables on this node may drop packets";
    everybody_is_told(&world, "n1", words);
    the_node_is_told(&world, words);
    world.sim(&["fault", "clear"]);
    until("a pod starts", || world.try_pod_add("n1", "starts"));
}

/// Waits until the daemon has words for who asks, and sees what each verb gets.
fn everybody_is_told(world: &World, node: &str, words: &str) {
    let container = Container::new(world);
    let has = |printed: &Value| {
        let text = printed["msg"].as_str().unwrap_or_default();
        text.contains("ipamd does not serve yet: for ") && text.contains(words)
    };
    until("STATUS tells", || {
        let status = world.plugin(node, "STATUS", &container, "1.1.0");
        let told = status.printed["code"] == 50 && has(&status.printed);
        if told { Ok(()) } else { Err(format!("{words}: {status:?}")) }
    });

    let [add, del, gc] = ["ADD", "DEL", "GC"].map(|verb| {
        let keys = json!({ "cni.dev/valid-attachments": [] });
        world.plugin_with(node, verb, &container, "1.1.0", &keys)
    });
    let probe = health(world, node);

    assert!(add.printed["code"] == 11 && has(&add.printed), "{add:?}");
    assert!(gc.printed["code"] == 11 && has(&gc.printed), "{gc:?}");
    assert!(del.success && del.printed.is_null(), "{del:?}");
    assert!(probe.starts_with("alive, not ready: ") && probe.contains(words), "{probe}");
    let log = world.log(node);
    assert!(log.lines().any(|line| line.contains("failed to ") && line.contains(words)), "{log}");
}

/// Waits until the Node says it.
fn the_node_is_told(world: &World, words: &str) {
    let at = "GET /apis/events.k8s.io/v1/namespaces/default/events";
    until("an event of the Node", || {
        let events = world.kubernetes(at, &Value::Null);
        let told = events.contains("PodNetworkNotReady") && events.contains(words);
        if told { Ok(()) } else { Err(events) }
    });
}

/// What the probe of a kubelet hears.
fn health(world: &World, node: &str) -> String {
    let mut command = std::process::Command::new(tests::binary("ipamd"));
    let ended =
        run(command.arg("health").env("ENI_CNI_RUN_DIR", world.node_folder(node).run()), "");
    String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap()
}

fn env<'a>(pairs: &[&'a str]) -> Vec<&'a str> {
    pairs.iter().flat_map(|pair| ["--env", pair]).collect()
}
