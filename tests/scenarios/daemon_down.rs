//! What runtimes are told, and what is kept for later, while no daemon runs.

use serde_json::json;
use std::{fs, thread};
use tests::{
    Row,
    by_hand::Container,
    command::until,
    world::{World, address},
};

/// A node with one address for pods, so that a leak of one is noticed.
const ONE_ADDRESS: &[&str] = &["--type", "t3.nano"];

/// One interface, and no cooldown of addresses.
const TIGHT: &[&str] = &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=20"];

#[test]
fn an_add_to_which_no_daemon_comes_fails_and_says_what_to_look_at() {
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    for how in ["stop", "kill"] {
        let _row = Row(how);
        if how == "stop" {
            world.daemon_stop("n1");
        } else {
            world.daemon_kill("n1");
        }

        let add = world.plugin("n1", "ADD", &container, "1.0.0");

        assert!(!add.success, "{add:?}");
        assert_eq!(add.printed["code"], 11, "{add:?}");
        let msg = add.printed["msg"].as_str().unwrap();
        assert!(msg.contains("cannot reach ipamd at "), "{msg}");
        assert!(msg.contains("kubectl -n kube-system get pods -l k8s-app=aws-node"), "{msg}");
        world.daemon_start("n1", &[]);
    }
}

#[test]
fn a_del_that_cannot_be_read_is_counted_and_told_until_its_file_is_removed() {
    let world = World::with_node("n1", &["IP_COOLDOWN_PERIOD=0", "ENI_CNI_GONE_AFTER=1"]);
    let container = Container::new(&world);
    assert!(world.plugin("n1", "ADD", &container, "1.0.0").success);
    world.daemon_stop("n1");
    assert!(world.plugin("n1", "DEL", &container, "1.0.0").success);
    let spool = world.node_folder("n1").run().join("del-spool");
    let file = || fs::read_dir(&spool).unwrap().next().unwrap().unwrap().path();
    fs::write(file(), "{\"env\":").unwrap();

    world.daemon_start("n1", &["IP_COOLDOWN_PERIOD=0", "ENI_CNI_GONE_AFTER=1"]);

    let count = || world.metrics("n1")["eni_cni_unreadable_dels"].clone();
    assert_eq!(count(), "1");
    let aside = file().display().to_string();
    assert!(world.log("n1").contains("failed to read DELs that waited"), "{}", world.log("n1"));
    until("an event of the Node", || {
        let at = "GET /apis/events.k8s.io/v1/namespaces/default/events";
        let events = world.kubernetes(at, &serde_json::Value::Null);
        let told = events.contains("DelUnreadable") && events.contains(&aside);
        if told { Ok(()) } else { Err(events) }
    });
    fs::remove_file(file()).unwrap();
    assert_eq!(count(), "0");
    // It is as if no DEL had come.
    container.end();
    until("its address comes back", || {
        match world.metrics("n1")["awscni_assigned_ip_addresses"].as_str() {
            "0" => Ok(()),
            some => Err(some.to_owned()),
        }
    });
}

#[test]
fn a_pod_without_a_daemon_starts_as_soon_as_the_daemon_does() {
    let world = World::with_node("n1", &[]);
    world.daemon_stop("n1");

    let pod = thread::scope(|scope| {
        let pod = scope.spawn(|| world.pod_add("n1", "p"));
        until("the pod starts", || match world.node("n1").pods.len() {
            0 => Err("none".into()),
            _ => Ok(()),
        });
        world.daemon_start("n1", &[]);
        pod.join().unwrap()
    });

    assert!(world.ask(&world.namespace("n1", None), &pod).is_ok());
}

/// CNI requirement 44.
#[test]
fn a_del_without_a_daemon_succeeds_and_the_next_daemon_carries_it_out() {
    let world = World::up();
    world.node_add("n1", "us-west-2a", ONE_ADDRESS);
    world.daemon_start("n1", TIGHT);
    let (first, second) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &first, "1.0.0");
    assert!(added.success, "{added:?}");

    world.daemon_kill("n1");
    // Its namespace stays, so that only the DEL tells that it has ended.
    let del = world.plugin("n1", "DEL", &first, "1.0.0");
    world.daemon_start("n1", TIGHT);
    let again = world.plugin("n1", "DEL", &first, "1.0.0");
    let next = world.plugin("n1", "ADD", &second, "1.0.0");

    assert!(del.success && del.printed.is_null(), "{del:?}");
    assert!(again.success && again.printed.is_null(), "{again:?}");
    assert!(next.success, "{next:?}");
    assert_eq!(address(&next.printed), address(&added.printed));
}

#[test]
fn the_address_of_a_pod_that_ended_without_a_daemon_and_without_a_del_comes_back() {
    let world = World::up();
    world.node_add("n1", "us-west-2a", ONE_ADDRESS);
    world.daemon_start("n1", TIGHT);
    let (first, second) = (Container::new(&world), Container::new(&world));
    let added = world.plugin("n1", "ADD", &first, "1.0.0");
    assert!(added.success, "{added:?}");

    world.daemon_stop("n1");
    first.end();
    // The kernel takes its time: the link may go before the daemon looks, or after.
    world.daemon_start("n1", &[TIGHT, &["ENI_CNI_GONE_AFTER=1"]].concat());
    let next = world.plugin("n1", "ADD", &second, "1.0.0");

    assert!(next.success, "{next:?}");
    assert_eq!(address(&next.printed), address(&added.printed));
}

#[test]
fn an_address_that_is_in_use_is_not_given_to_another_pod() {
    let world = World::up();
    world.node_add("n1", "us-west-2a", ONE_ADDRESS);
    world.daemon_start("n1", &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=1"]);
    let (first, second) = (Container::new(&world), Container::new(&world));
    assert!(world.plugin("n1", "ADD", &first, "1.0.0").success);

    let refused = world.plugin("n1", "ADD", &second, "1.0.0");

    assert!(!refused.success, "{refused:?}");
    assert_eq!(refused.printed["code"], json!(11));
    let want = "no free address (1 in use, 0 cooling): MAX_ENI=1 allows no further interface: \
                1 attached, 1 full; the instance type allows 2";
    assert_eq!(refused.printed["msg"], want);
}
