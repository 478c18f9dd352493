//! STATUS: says what a failed ADD would say, before there is one.

use tests::{
    by_hand::Container,
    command::until,
    world::{CUSTOM, World, ZONES, list_from_before},
};

/// CNI requirements 28, 47.
#[test]
fn a_node_with_free_addresses_is_well() {
    let world = World::with_node("n1", &[]);

    let status = world.plugin("n1", "STATUS", &Container::new(&world), "1.1.0");

    assert!(status.success && status.printed.is_null(), "{status:?}");
}

/// CNI requirements 30, 47.
#[test]
fn a_node_without_addresses_says_what_its_pods_are_told() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    world.daemon_start("n1", &["MAX_ENI=1", "ENI_CNI_ADD_WAIT=1"]);
    let (first, second) = (Container::new(&world), Container::new(&world));
    assert!(world.plugin("n1", "ADD", &first, "1.1.0").success);

    let refused = world.plugin("n1", "ADD", &second, "1.1.0");
    let status = world.plugin("n1", "STATUS", &second, "1.1.0");

    assert!(!status.success, "{status:?}");
    assert_eq!(status.printed["code"], 50);
    assert_eq!(status.printed["msg"], refused.printed["msg"]);
}

/// CNI requirement 47.
#[test]
fn a_node_whose_eniconfig_is_missing_says_which() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    list_from_before(&world, "n1");
    world.daemon_start("n1", CUSTOM);

    until("STATUS names the ENIConfig", || {
        let status = world.plugin("n1", "STATUS", &Container::new(&world), "1.1.0");
        let said = status.printed["msg"].as_str().unwrap_or_default().to_owned();
        let right = !status.success && status.printed["code"] == 50 && said.contains(ZONES[0]);
        if right { Ok(()) } else { Err(format!("{status:?}")) }
    });
}

/// CNI requirements 44, 47.
#[test]
fn status_without_a_daemon_is_answered_by_the_plugin() {
    let world = World::with_node("n1", &[]);
    world.daemon_stop("n1");

    let status = world.plugin("n1", "STATUS", &Container::new(&world), "1.1.0");

    assert!(!status.success, "{status:?}");
    assert_eq!(status.printed["code"], 50);
    assert!(status.printed["msg"].as_str().unwrap().contains("kubectl"), "{status:?}");
}
