//! A daemon that is killed and comes back: pods notice nothing, and EC2 is not asked.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::IpAddr,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
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

/// A rollout leaves a node without a daemon for a second.
#[test]
fn no_pod_fails_to_start_or_to_end_while_the_daemon_is_restarted_again_and_again() {
    const SIDE_BY_SIDE: usize = 4;
    let world = World::with_node("n1", &["IP_COOLDOWN_PERIOD=1"]);
    let over = AtomicBool::new(false);

    let started: Vec<Result<usize, String>> = thread::scope(|scope| {
        let come_and_go = |row: usize| {
            let (world, over) = (&world, &over);
            move || {
                let mut started = 0;
                while !over.load(Ordering::Relaxed) {
                    let pod = world.try_pod_add("n1", &format!("p{row}-{started}"))?;
                    world.ask(&world.namespace("n1", None), &pod)?;
                    world.try_sim(&["pod", "rm", "n1", &pod.name])?;
                    started += 1;
                }
                Ok(started)
            }
        };
        let rows: Vec<_> = (0..SIDE_BY_SIDE).map(|row| scope.spawn(come_and_go(row))).collect();
        let ends = [World::daemon_stop as fn(&World, &str), World::daemon_kill];
        for end in ends.repeat(3) {
            end(&world, "n1");
            thread::sleep(Duration::from_millis(500));
            world.daemon_start("n1", &["IP_COOLDOWN_PERIOD=1"]);
        }
        over.store(true, Ordering::Relaxed);
        rows.into_iter().map(|row| row.join().unwrap()).collect()
    });

    for started in started {
        assert!(started.as_ref().is_ok_and(|pods| *pods > 0), "{started:?}");
    }
}

#[test]
fn what_the_daemon_has_taken_is_answered_before_it_ends() {
    const CLIENT: &str = "import socket, sys\n\
        daemon = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        daemon.connect(sys.argv[1])\n\
        print('connected', flush=True)\n\
        sys.stdin.readline()\n\
        daemon.send(b'{\"env\":{\"CNI_COMMAND\":\"HEALTH\"},\"descriptors\":[]}\\n')\n\
        print(daemon.recv(65536).decode(), flush=True)\n";
    let world = World::with_node("n1", &[]);
    let socket = world.node_folder("n1").run().join(rpc::SOCKET_NAME);
    let mut client = Command::new("python3");
    client.args(["-c", CLIENT]).arg(&socket).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut said = BufReader::new(client.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "connected");

    thread::scope(|scope| {
        scope.spawn(|| world.daemon_stop("n1"));
        until("it takes no more", || if socket.exists() { Err("".into()) } else { Ok(()) });
        // One that does not wait has ended by then.
        thread::sleep(Duration::from_millis(500));
        client.stdin.take().unwrap().write_all(b"\n").unwrap();
    });

    let answer = said.next().unwrap().unwrap();
    assert!(answer.contains("\"exit_code\":"), "{answer}");
    assert!(client.wait().unwrap().success());
    assert!(!world.log("n1").contains("failed to finish requests"), "{}", world.log("n1"));
}

#[test]
fn a_pod_that_waits_for_an_address_while_the_daemon_ends_gets_one_from_the_next() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    world.daemon_start("n1", &["MAX_ENI=1", "ENI_CNI_ADD_WAIT=60"]);
    let first = world.pod_add("n1", "first");

    let second = thread::scope(|scope| {
        let second = scope.spawn(|| world.pod_add("n1", "second"));
        until("a pod waits", || {
            let waiting = world.metrics("n1")["eni_cni_waiting_pods"].clone();
            if waiting == "1" { Ok(()) } else { Err(waiting) }
        });
        world.daemon_stop("n1");
        world.daemon_start("n1", &[]);
        second.join().unwrap()
    });

    assert!(second.address != first.address, "{first:?} {second:?}");
    assert!(!world.log("n1").contains("failed to finish requests"), "{}", world.log("n1"));
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
