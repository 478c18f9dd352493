//! Many pods at once, also while the daemon is killed and restarted.

use crate::{
    containerd::Containerd,
    cri::Wanted,
    nodes::{TIGHT, tight},
    stock::install_stock,
};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tests::{
    command::until,
    world::{CUSTOM, Pod, World, ZONES},
};

/// Pods of a node that boots: more than two interfaces have addresses for.
const PODS: usize = 60;

/// How many kubelet starts side by side was seen to be up to 10; a client may do more.
const AT_ONCE: usize = 16;

/// More than the node has room for beside those of the first time.
const AGAIN: usize = 30;

/// Three interfaces beside the primary one, 29 addresses each: 87.
const ROOM: &[&str] = &["MAX_ENI=4", "IP_COOLDOWN_PERIOD=0"];

/// As kubelet, which waits ten seconds and more before it tries again.
const BEFORE_AGAIN: Duration = Duration::from_millis(500);

/// How often a pod is tried.
const ATTEMPTS: usize = 60;

#[test]
fn sixty_pods_side_by_side_have_single_addresses_of_their_own_and_give_them_back() {
    let world = world(ROOM);
    let containerd = Containerd::on(&world, "n1");

    let pods = measured("start", || start(&containerd, PODS));
    all_are_distinct_and_reached(&world, &pods);
    measured("end", || end(&containerd, &pods));
    nothing_is_left_of(&world, &pods);

    // While their daemon is killed and started again and again.
    let pods = thread::scope(|scope| {
        let started = scope.spawn(|| start(&containerd, AGAIN));
        while !started.is_finished() {
            world.daemon_kill("n1");
            world.daemon_start("n1", &[CUSTOM, ROOM].concat());
        }
        started.join().unwrap()
    });
    all_are_distinct_and_reached(&world, &pods);
    end(&containerd, &pods);
    nothing_is_left_of(&world, &pods);
}

#[test]
fn sixty_pods_side_by_side_have_addresses_of_prefixes_and_give_them_back() {
    let world = world(&["ENABLE_PREFIX_DELEGATION=true", "IP_COOLDOWN_PERIOD=0"]);
    let containerd = Containerd::on(&world, "n1");

    let pods = measured("start", || start(&containerd, PODS));
    assert!(world.more_interfaces("n1").iter().all(|eni| eni.secondary.is_empty()));
    all_are_distinct_and_reached(&world, &pods);
    measured("end", || end(&containerd, &pods));

    nothing_is_left_of(&world, &pods);
}

#[test]
fn a_pod_that_ends_without_a_daemon_is_freed_by_the_next_one() {
    let world = tight();
    let containerd = Containerd::on(&world, "n1");
    let before = world.traces("n1");
    let (id, pod) = containerd.run("p");

    world.daemon_kill("n1");
    containerd.end(&id);
    world.daemon_start("n1", &[CUSTOM, TIGHT].concat());

    world.as_before("n1", &before);
    assert_eq!(containerd.run("q").1.address, pod.address);
}

/// A node with room, with this daemon.
fn world(env: &[&str]) -> World {
    let description = tests::repository().join("tests/scale/world.toml");
    let world = World::described_by(Some(&description));
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &["--type", "m5.4xlarge"]);
    install_stock(&world.node_folder("n1").cni_bin());
    world.daemon_start("n1", &[CUSTOM, env].concat());
    world
}

/// Starts pods, as many side by side as allowed, each as often as it takes.
fn start(containerd: &Containerd<'_>, count: usize) -> Vec<(String, Pod)> {
    let started = Mutex::new(vec![]);
    side_by_side(count, |number| {
        let name = format!("p{number}");
        let wanted = Wanted { name: &name, ..Wanted::default() };
        let pod = (1..=ATTEMPTS).find_map(|attempt| match containerd.try_pod(&wanted) {
            Ok(pod) => Some(pod),
            Err(error) if attempt == ATTEMPTS => panic!("{name}: {error}"),
            Err(_) => {
                thread::sleep(BEFORE_AGAIN);
                None
            }
        });
        started.lock().unwrap().extend(pod);
    });
    started.into_inner().unwrap()
}

fn end(containerd: &Containerd<'_>, pods: &[(String, Pod)]) {
    side_by_side(pods.len(), |number| containerd.end(&pods[number].0));
}

/// Does something for each number below `count`.
fn side_by_side(count: usize, act: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    act(number);
                }
            });
        }
    });
}

#[track_caller]
fn all_are_distinct_and_reached(world: &World, pods: &[(String, Pod)]) {
    let addresses: BTreeSet<_> = pods.iter().map(|(_, pod)| pod.address).collect();
    assert_eq!(addresses.len(), pods.len(), "two pods have one address: {pods:?}");
    let node = (world.namespace("n1", None), world.node("n1").address);
    for ((_, to), (_, from)) in pods.iter().zip(pods.iter().cycle().skip(1)) {
        for (from, address) in [(&node.0, node.1), (&from.namespace, from.address)] {
            let answer = world.ask(from, to);
            assert_eq!(
                answer,
                Ok((to.name.clone(), IpAddr::V4(address))),
                "{address} asked {to:?}"
            );
        }
    }
}

#[track_caller]
fn nothing_is_left_of(world: &World, pods: &[(String, Pod)]) {
    until("nothing is left of the pods", || {
        let left = world.traces("n1").of_pods(pods.iter().map(|(_, pod)| pod.address));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

/// Tells how long something took with all pods.
#[expect(clippy::print_stderr, reason = "who runs it wants to know how long it took")]
fn measured<T>(what: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = act();
    let took = began.elapsed().as_secs_f64();
    eprintln!("{PODS} pods of containerd, {AT_ONCE} side by side: {what} {took:.1} s");
    done
}
