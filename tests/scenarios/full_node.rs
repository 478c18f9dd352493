//! More pods than a node has addresses for.

use std::{collections::BTreeSet, thread};
use tests::{
    command::until,
    world::{CUSTOM, Pod, World, ZONES},
};

/// Two interfaces beside the primary one of an m5.large, nine addresses on each.
const ROOM: usize = 18;

const DEPLOYED: usize = 30;

#[test]
fn a_full_node_refuses_with_the_cause_and_gives_an_address_that_has_rested_to_the_next_pod() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &["--type", "m5.large"]);
    world.daemon_start("n1", &[CUSTOM, &["IP_COOLDOWN_PERIOD=1", "ENI_CNI_ADD_WAIT=15"]].concat());

    let (running, refused) = deploy(&world);

    assert_eq!(running.len(), ROOM, "{refused:?}");
    let addresses: BTreeSet<_> = running.iter().map(|pod| pod.address).collect();
    assert_eq!(addresses.len(), ROOM, "two pods have one address: {running:?}");
    for error in &refused {
        let want = "no free address (18 in use, 0 cooling): this instance type allows 3 interfaces: \
                    3 attached, 2 full, 1 the primary one, which serves no pods with custom networking";
        assert!(error.contains(want), "{error}");
    }
    world.everybody_reaches_everybody(&running[..3]);

    world.pod_rm(&running[0]);
    let next = world.pod_add("n1", "next");
    assert_eq!(next.address, running[0].address);
}

/// A rollout on a full node: the new pod comes when the old one has just gone.
#[test]
fn a_pod_waits_for_an_address_that_cools_longer_than_it_waits_for_others() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    world.daemon_start("n1", &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=15", "ENI_CNI_ADD_WAIT=10"]);
    let first = world.pod_add("n1", "first");

    world.pod_rm(&first);
    let second = world.pod_add("n1", "second");

    assert_eq!(second.address, first.address);
}

#[test]
fn a_pod_on_a_full_node_is_told_when_the_next_address_has_cooled() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    world.daemon_start("n1", &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=600", "ENI_CNI_ADD_WAIT=1"]);
    let first = world.pod_add("n1", "first");

    world.pod_rm(&first);
    let refused = world.try_pod_add("n1", "second").unwrap_err();

    assert!(refused.contains("no free address (0 in use, 1 cooling): MAX_ENI=1"), "{refused}");
    let told = refused.split_once("; the next address has cooled in ");
    let seconds = told.and_then(|(_, rest)| rest.split_once(" s"));
    let seconds = seconds.and_then(|(seconds, _)| seconds.parse::<u32>().ok());
    assert!(seconds.is_some_and(|it| (400..=600).contains(&it)), "{refused}");
}

#[test]
fn a_pod_that_waits_gets_the_address_of_one_that_ends() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    world.daemon_start("n1", &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=60"]);
    let first = world.pod_add("n1", "first");

    let second = thread::scope(|scope| {
        let second = scope.spawn(|| world.pod_add("n1", "second"));
        // The sandbox of a pod that starts is known before it has an address.
        until("the second pod starts", || {
            let pods = world.node("n1").pods;
            if pods.len() == 2 { Ok(()) } else { Err(format!("{pods:?}")) }
        });
        world.pod_rm(&first);
        second.join().unwrap()
    });

    assert_eq!(second.address, first.address);
}

/// Starts all pods at once: those that run, and the errors of the others.
fn deploy(world: &World) -> (Vec<Pod>, Vec<String>) {
    let (mut running, mut refused) = (vec![], vec![]);
    thread::scope(|scope| {
        let pods: Vec<_> = (0..DEPLOYED)
            .map(|number| scope.spawn(move || world.try_pod_add("n1", &format!("p{number}"))))
            .collect();
        for pod in pods {
            match pod.join().unwrap() {
                Ok(pod) => running.push(pod),
                Err(error) => refused.push(error),
            }
        }
    });
    (running, refused)
}
