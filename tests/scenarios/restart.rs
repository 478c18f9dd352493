//! A daemon that is killed and comes back: pods notice nothing, and EC2 is not asked.

use std::{
    fs,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tests::{
    Row,
    by_hand::Container,
    command::until,
    world::{CUSTOM, Pod, World, ZONES},
};

/// An address in the VPC that nobody has.
const NOBODY: &str = "http://10.0.0.99:80";

#[test]
fn pods_keep_their_network_while_the_daemon_is_dead_and_after_it_came_back() {
    let world = World::up();
    let pods = two_nodes_with_pods(&world, &[]);

    for node in ["n1", "n2"] {
        world.daemon_kill(node);
    }
    world.everybody_reaches_everybody(&pods);
    for node in ["n1", "n2"] {
        world.daemon_start(node, &[]);
    }
    world.everybody_reaches_everybody(&pods);

    let added = world.pod_add("n1", "after");
    assert!(pods.iter().all(|pod| pod.address != added.address), "{added:?} {pods:?}");
    world.everybody_reaches_everybody(&[pods, vec![added]].concat());
}

#[test]
fn no_request_is_lost_while_daemons_are_killed_and_started_again_and_again() {
    let world = World::up();
    let pods = two_nodes_with_pods(&world, &[]);
    let over = AtomicBool::new(false);

    thread::scope(|scope| {
        let clients = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                world.everybody_reaches_everybody(&pods);
                rounds += 1;
            }
            rounds
        });
        for node in ["n1", "n2"].repeat(3) {
            world.daemon_kill(node);
            world.daemon_start(node, &[]);
        }
        over.store(true, Ordering::Relaxed);

        assert!(clients.join().unwrap() > 0, "nobody asked");
    });
}

#[test]
fn a_container_keeps_its_address_over_a_kill_and_a_stop_of_the_daemon() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    let before = world.plugin("n1", "ADD", &container, "1.0.0");

    world.daemon_kill("n1");
    world.daemon_start("n1", &[]);
    let after_kill = world.plugin("n1", "ADD", &container, "1.0.0");
    world.daemon_stop("n1");
    world.daemon_start("n1", &[]);
    let after_stop = world.plugin("n1", "ADD", &container, "1.0.0");

    assert!(before.success, "{before:?}");
    for (what, after) in [("a kill", after_kill), ("a stop", after_stop)] {
        assert!(after.success, "after {what}: {after:?}");
        assert_eq!(after.printed, before.printed, "after {what}");
    }
}

#[test]
fn a_restart_calls_nobody_in_ec2() {
    for env in [&[], CUSTOM] {
        let _row = Row(env);
        let world = World::up();
        world.eniconfig_create(ZONES[0], "pods-a", &[]);
        world.node_add("n1", ZONES[0], &[]);
        world.daemon_start("n1", env);
        let pod = world.pod_add("n1", "p");
        world.settled("n1");
        let before = world.calls("n1");

        world.daemon_kill("n1");
        world.daemon_start("n1", env);
        world.settled("n1");
        let another = world.pod_add("n1", "q");
        world.pod_rm(&another);
        world.settled("n1");

        assert!(!before.is_empty(), "the interfaces came from somewhere");
        assert_eq!(world.calls("n1"), before, "{env:?}");
        let source = world.node("n1").address;
        let asked = world.ask(&world.namespace("n1", None), &pod);
        assert_eq!(asked, Ok((pod.name, IpAddr::V4(source))));
    }
}

// EC2's lists and the metadata may be older than what the last daemon asked for.
#[test]
fn addresses_given_back_before_a_kill_reach_no_pod_though_every_list_still_shows_them() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.node_add("n1", ZONES[0], &[]);
    let env = |warm| [CUSTOM, &["WARM_ENI_TARGET=0", warm]].concat();
    world.daemon_start("n1", &env("WARM_IP_TARGET=8"));
    world.settled("n1");
    for late in ["describe-lag", "imds-lag"] {
        world.sim(&["fault", "add", late, "--by", "1h"]);
    }
    world.daemon_stop("n1");
    world.daemon_start("n1", &env("WARM_IP_TARGET=1"));
    until("addresses are given back", || {
        let calls = world.calls("n1");
        let given = calls.iter().any(|it| it.action == "UnassignPrivateIpAddresses");
        if given { Ok(()) } else { Err(format!("{calls:?}")) }
    });

    world.daemon_kill("n1");
    world.daemon_start("n1", &env("WARM_IP_TARGET=8"));
    let pods: Vec<_> = (0..8).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

    let interfaces = world.more_interfaces("n1");
    let there: Vec<_> = interfaces.iter().flat_map(|it| &it.secondary).collect();
    let gone: Vec<_> = pods.iter().filter(|pod| !there.contains(&&pod.address)).collect();
    assert!(gone.is_empty(), "EC2 has taken back the addresses of {gone:?}");
    world.everybody_reaches_everybody(&pods);
}

#[test]
fn pods_can_be_deleted_by_the_daemon_that_did_not_make_them() {
    let world = World::with_node("n1", &["IP_COOLDOWN_PERIOD=0"]);
    let pods: Vec<Pod> = (0..3).map(|pod| world.pod_add("n1", &format!("p{pod}"))).collect();

    world.daemon_kill("n1");
    world.daemon_start("n1", &["IP_COOLDOWN_PERIOD=0"]);
    for pod in &pods {
        world.pod_rm(pod);
    }

    let all = |what: &[&str]| world.sim(&[&["exec", "n1", "--", "ip"], what].concat());
    let routes = all(&["-4", "route", "show", "table", "all"]);
    for pod in &pods {
        assert!(!routes.contains(&format!("{} dev", pod.address)), "{routes}");
    }
    // Links are removed after their DEL has answered, because that takes the kernel so long.
    until("no link of a pod", || {
        let links = all(&["link", "show", "type", "veth"]);
        if links.contains(" eni") { Err(links) } else { Ok(()) }
    });
}

#[test]
fn a_daemon_serves_from_its_record_while_ec2_and_kubernetes_are_down() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &[]);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", CUSTOM);
    let container = Container::new(&world);
    let before = world.plugin("n1", "ADD", &container, "1.0.0");
    world.settled("n1");
    let kubeconfig = world.folder().join("kubeconfig.of-nobody");
    let inside = world.status().summary.inside;
    let real = fs::read_to_string(world.folder().join("kubeconfig.node")).unwrap();
    fs::write(&kubeconfig, real.replace(&inside.kubernetes, NOBODY)).unwrap();
    let down =
        [format!("KUBECONFIG={}", kubeconfig.display()), format!("AWS_ENDPOINT_URL_EC2={NOBODY}")];

    world.daemon_kill("n1");
    world.daemon_start("n1", &[CUSTOM, &down.each_ref().map(String::as_str)].concat());
    let after = world.plugin("n1", "ADD", &container, "1.0.0");
    let another = world.pod_add("n1", "another");

    assert!(after.success, "{after:?}");
    assert_eq!(after.printed, before.printed);
    assert_eq!(another.address.octets()[..3], [100, 64, 0]);
}

fn two_nodes_with_pods(world: &World, env: &[&str]) -> Vec<Pod> {
    for (node, zone) in ["n1", "n2"].into_iter().zip(ZONES) {
        world.node_add(node, zone, &[]);
        world.daemon_start(node, env);
    }
    let pods = ["n1", "n1", "n2", "n2"].into_iter().enumerate();
    pods.map(|(number, node)| world.pod_add(node, &format!("p{number}"))).collect()
}
