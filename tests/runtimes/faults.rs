//! Calls of the plugin that fail, hang or are killed, and a containerd that is: nothing leaks.

use crate::{
    containerd::Containerd,
    cri::Wanted,
    nodes::{TIGHT, tight},
    shim::{Order, Shim},
};
use std::{fs, thread, time::Duration};
use tests::{
    Row,
    command::until,
    world::{CUSTOM, World},
};

/// Given to what hangs.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn the_event_of_a_pod_without_an_address_says_why() {
    let world = tight();
    let containerd = Containerd::on(&world, "n1");
    let first = containerd.run("first");

    let refused = containerd.cri.run(&named("second")).unwrap_err();

    let message = &refused.message;
    let begin = "failed to setup network for sandbox \"";
    let end = "plugin type=\"aws-cni\" name=\"aws-cni\" failed (add): no free address (1 in use, 0 cooling): \
               this instance type allows 2 interfaces: 2 attached, 1 full, 1 the primary one, which serves no pods with custom networking";
    assert!(message.contains(begin) && message.ends_with(end), "{message}");
    // The attempt that failed took nothing from anybody.
    assert!(world.ask(&world.namespace("n1", None), &first.1).is_ok());
    containerd.end(&first.0);
    assert_eq!(containerd.run("second").1.address, first.1.address);
}

#[test]
fn the_event_of_a_pod_without_a_daemon_says_what_to_look_at() {
    let world = tight();
    let containerd = Containerd::on(&world, "n1");
    world.daemon_kill("n1");

    let refused = containerd.cri.run(&named("p")).unwrap_err().message;

    // The place that Kubernetes knows, not that of the simulated node.
    assert!(
        refused.contains("cannot reach ipamd at /var/run/aws-node/eni-cni.sock: "),
        "{refused}"
    );
    assert!(refused.contains("kubectl -n kube-system get pods -l k8s-app=aws-node"), "{refused}");
    world.daemon_start("n1", &[CUSTOM, TIGHT].concat());
    containerd.run("p");
}

#[test]
fn a_pod_that_was_given_up_while_it_waited_takes_no_address() {
    let world = tight();
    let containerd = Containerd::on(&world, "n1");
    let first = containerd.run("first");

    let given_up = containerd.cri.run_within(&named("second"), SOON);
    containerd.end(&first.0);

    assert!(given_up.is_err(), "{given_up:?}");
    assert_eq!(containerd.run("third").1.address, first.1.address);
}

#[test]
fn a_node_that_boots_again_has_the_addresses_of_the_pods_that_it_had() {
    let world = tight();
    let before = world.traces("n1");
    let containerd = Containerd::on(&world, "n1");
    let (_, pod) = containerd.run("p");

    // Every process, namespace and mount ends, and nobody sends a DEL.
    world.daemon_kill("n1");
    drop(containerd);
    world.daemon_start("n1", &[CUSTOM, TIGHT].concat());

    world.as_before("n1", &before);
    assert_eq!(Containerd::on(&world, "n1").run("q").1.address, pod.address);
}

#[test]
fn an_add_that_fails_hangs_or_is_killed_leaves_nothing() {
    let world = tight();
    let (shim, containerd) = Containerd::behind_shim(&world, "n1");
    let before = world.traces("n1");
    // While the plugin works: it begins, asks, and is answered within milliseconds.
    let within = [0, 1, 2, 3, 5, 8].map(Duration::from_millis).map(Order::KilledWithin);
    let orders = [
        Order::Fail,
        Order::FailAfter,
        Order::GarbageAfter,
        Order::Hang,
        Order::HangAfter,
        Order::Killed,
        Order::KilledAfter,
    ];

    for order in orders.into_iter().chain(within) {
        let _row = Row(order);
        shim.order("ADD", order);
        let failed = containerd.cri.run_within(&named("failing"), SOON);
        shim.obey("ADD");

        let message = failed.expect_err("a pod whose ADD failed").message;
        world.as_before("n1", &before);
        // There is one address.
        let (id, pod) = containerd.run("next");
        let answer = world.ask(&world.namespace("n1", None), &pod);
        assert!(answer.is_ok(), "after {order:?}, {message}: {answer:?}");
        containerd.end(&id);
        world.as_before("n1", &before);
    }
    assert_eq!(containerd.cri.sandboxes().unwrap(), []);
    nothing_is_on_record(&world, &shim);
}

#[test]
fn a_del_that_fails_hangs_or_is_killed_is_sent_again_and_leaves_nothing() {
    let world = tight();
    let (shim, containerd) = Containerd::behind_shim(&world, "n1");
    let before = world.traces("n1");
    let orders = [
        Order::Fail,
        Order::FailAfter,
        Order::Hang,
        Order::HangAfter,
        Order::Killed,
        Order::KilledWithin(Duration::from_millis(1)),
        Order::KilledAfter,
    ];

    for order in orders {
        let _row = Row(order);
        let (id, _) = containerd.run("p");
        shim.order("DEL", order);
        let failed = containerd.cri.stop_within(&id, SOON);
        shim.obey("DEL");
        assert!(failed.is_err(), "{order:?}");

        containerd.end(&id);

        world.as_before("n1", &before);
    }
    nothing_is_on_record(&world, &shim);
    containerd.run("last");
}

#[test]
fn an_add_that_fails_and_whose_del_fails_too_is_freed_by_the_del_that_kubelet_causes() {
    let world = tight();
    let (shim, containerd) = Containerd::behind_shim(&world, "n1");
    let before = world.traces("n1");

    shim.order("ADD", Order::FailAfter);
    shim.order("DEL", Order::Killed);
    let failed = containerd.cri.run(&named("p"));
    let left = containerd.cri.sandboxes().unwrap();
    shim.obey("ADD");
    shim.obey("DEL");

    assert!(failed.is_err(), "{failed:?}");
    let [(id, false)] = &left[..] else { panic!("not one sandbox that is not ready: {left:?}") };
    containerd.end(id);
    world.as_before("n1", &before);
    containerd.run("next");
}

#[test]
fn a_sandbox_whose_containerd_was_killed_within_its_add_is_stopped_by_the_next() {
    let world = tight();
    let (shim, mut containerd) = Containerd::behind_shim(&world, "n1");
    let before = world.traces("n1");

    shim.order("ADD", Order::Hold);
    thread::scope(|scope| {
        let cri = containerd.cri.clone();
        let failed = scope.spawn(move || cri.run(&named("p")));
        until("an ADD is under way", || {
            if shim.calls().is_empty() { Err("no call") } else { Ok(()) }.map_err(str::to_owned)
        });
        containerd.kill();
        assert!(failed.join().unwrap().is_err(), "nobody answers");
    });
    // The plugin does not know that nobody listens any more.
    shim.go_on();
    until("the ADD is done", || {
        if world.traces("n1") == before { Err("no trace of it".to_owned()) } else { Ok(()) }
    });
    containerd.start();
    let left = containerd.cri.sandboxes().unwrap();
    let [(id, ready)] = &left[..] else { panic!("not one sandbox: {left:?}") };
    assert!(!ready);
    containerd.end(id);

    world.as_before("n1", &before);
    let del = shim.calls().into_iter().find(|call| call.verb() == "DEL").unwrap();
    assert!(!del.variable("CNI_NETNS").is_empty() && del.stdin["prevResult"].is_null(), "{del:?}");
    shim.obey("ADD");
    containerd.run("next");
}

/// Asserts that the daemon keeps nothing of any container. At its start it writes anew what it needs.
#[track_caller]
fn nothing_is_on_record(world: &World, shim: &Shim) {
    world.daemon_kill("n1");
    world.daemon_start("n1", &[CUSTOM, TIGHT].concat());
    let record = fs::read_to_string(world.node_folder("n1").run().join("journal")).unwrap();
    let interface = &world.more_interfaces("n1")[0].id;
    assert!(record.contains(interface), "{record}");
    for call in shim.calls() {
        let id = call.variable("CNI_CONTAINERID");
        assert!(!record.contains(id), "{id}: {record}");
    }
}

fn named(name: &str) -> Wanted<'_> {
    Wanted { name, ..Wanted::default() }
}
