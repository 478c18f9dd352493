//! When more is asked for, where, and what is done when EC2 refuses.

use super::*;

#[test]
fn custom_networking_starts_with_an_interface_in_the_subnet_of_the_eniconfig() {
    let pool = pool(config(&["subnet-pods"]), [primary(0)]);

    let plan = pool.plan(AT);

    assert_eq!(plan.actions, [attach(1, "subnet-pods", Amount::Addresses(9))]);
    assert_eq!(plan.reason, Reason::Short(9));
}

#[test]
fn without_custom_networking_the_primary_interface_is_filled_first() {
    let pool = pool(node(), [primary(0)]);

    assert_eq!(pool.plan(AT).actions, [assign(id(0), Amount::Addresses(9))]);
}

#[test]
fn a_target_in_addresses_asks_for_what_is_missing_and_no_more() {
    let targets = Targets { warm_addresses: Some(16), ..TARGETS };
    let pool = with_targets(targets, node(), [primary(5)]);

    let plan = pool.plan(AT);

    let want =
        [assign(id(0), Amount::Addresses(4)), attach(1, "subnet-node", Amount::Addresses(7))];
    assert_eq!(plan.actions, want);
    assert_eq!(plan.reason, Reason::Short(11));
}

#[test]
fn prefixes_are_asked_for_by_whole_ones() {
    let targets = Targets { mode: Mode::Prefixes, minimum_addresses: Some(20), ..TARGETS };
    let pool = with_targets(targets, node(), [primary(0)]);

    assert_eq!(pool.plan(AT).actions, [assign(id(0), Amount::Prefixes(2))]);
}

// Users' pain: addresses in cooldown counted as available, and a burst starved.
#[test]
fn resting_addresses_do_not_count_as_free() {
    let targets = Targets { warm_addresses: Some(2), ..TARGETS };
    let mut pool = with_targets(targets, node(), [primary(2)]);
    pool.allocate(owner("a"), AT).unwrap();

    pool.release(&owner("a"), AT);

    assert_eq!(pool.plan(AT).reason, Reason::Short(1));
}

// Users' pain: with only a minimum set, pods beyond it starved.
#[test]
fn pods_that_wait_are_a_reason_to_grow_whatever_the_targets() {
    let targets = Targets { warm_enis: 0, minimum_addresses: Some(2), ..TARGETS };
    let mut pool = with_targets(targets, node(), [primary(2)]);
    for pod in 0..2 {
        pool.allocate(owner(pod), AT).unwrap();
    }
    assert_eq!(pool.plan(AT).actions, []);

    pool.set_waiting(3);

    assert_eq!(pool.plan(AT).actions, [assign(id(0), Amount::Addresses(3))]);
}

// Users' pain: custom networking with prefixes and MINIMUM_IP_TARGET=22 never asked for the third
// prefix (amazon-vpc-cni-k8s issue 3685).
#[test]
fn a_pod_that_waits_breaks_a_new_prefix_when_all_are_full() {
    let targets =
        Targets { mode: Mode::Prefixes, warm_enis: 0, minimum_addresses: Some(22), ..TARGETS };
    let mut pool = with_targets(
        targets,
        config(&["subnet-pods"]),
        [primary(0), prefixed(1, "subnet-pods", 2)],
    );
    for pod in 0..32 {
        pool.allocate(owner(pod), AT).unwrap();
    }

    pool.set_waiting(1);

    assert_eq!(pool.plan(AT).actions, [assign(id(1), Amount::Prefixes(1))]);
}

#[test]
fn what_is_on_its_way_is_not_asked_for_again() {
    let mut pool = pool(config(&["subnet-pods"]), [primary(0)]);
    pool.set_waiting(4);
    let action = pool.plan(AT).actions.remove(0);

    pool.started(&action);

    let Plan { actions, reason, .. } = pool.plan(AT);
    assert_eq!(actions, [attach(2, "subnet-pods", Amount::Addresses(9))]);
    assert_eq!(reason, Reason::Short(4));
    pool.started(&actions[0]);
    assert_eq!(pool.plan(AT).actions, []);
    assert_eq!(pool.plan(AT).reason, Reason::Coming { addresses: 18 });
}

#[test]
fn an_interface_on_its_way_counts_but_serves_nobody_yet_and_the_plan_says_so() {
    let (id, eni) = secondary(1, "subnet-pods", 9);
    let coming = Eni { readiness: Readiness::Coming, ..eni.clone() };
    let mut pool = pool(config(&["subnet-pods"]), [primary(0), (id.clone(), coming)]);

    assert_eq!(pool.plan(AT).actions, []);
    assert_eq!(pool.plan(AT).reason, Reason::Coming { addresses: 9 });
    assert_eq!((pool.counts(AT).held, pool.counts(AT).coming), (9, 9));
    let nobody = NoAddress::default();
    assert_eq!(pool.allocate(owner("a"), AT), Err(nobody));
    pool.observe([primary(0), (id, eni)].into(), AT);
    assert_eq!(pool.plan(AT).reason, Reason::Satisfied);
    assert!(pool.allocate(owner("a"), AT).is_ok());
}

#[test]
fn an_interface_that_is_not_set_up_is_a_change_under_way_even_without_a_free_address() {
    let targets = Targets { warm_enis: 0, ..TARGETS };
    let (id, eni) = secondary(1, "subnet-pods", 0);
    let coming = Eni { readiness: Readiness::Coming, ..eni };

    let pool = with_targets(targets, config(&["subnet-pods"]), [primary(0), (id, coming)]);

    assert_eq!(pool.plan(AT).reason, Reason::Changing);
}

#[test]
fn no_interface_is_attached_for_what_one_on_its_way_has_room_for() {
    let targets = Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS };
    let mut pool = with_targets(targets, config(&["subnet-pods"]), [primary(0)]);
    pool.started(&attach(1, "subnet-pods", Amount::Prefixes(1)));

    pool.set_waiting(1);

    assert_eq!(pool.plan(AT).actions, []);
    assert_eq!(pool.plan(AT).reason, Reason::Coming { addresses: 16 });
}

#[test]
fn an_interface_is_attached_at_once_for_what_one_on_its_way_has_no_room_for() {
    let targets = Targets { warm_addresses: Some(0), ..TARGETS };
    let mut pool = with_targets(targets, config(&["subnet-pods"]), [primary(0)]);
    pool.started(&attach(1, "subnet-pods", Amount::Addresses(7)));

    pool.set_waiting(12);

    assert_eq!(pool.plan(AT).actions, [attach(2, "subnet-pods", Amount::Addresses(3))]);
}

#[test]
fn an_interface_whose_device_is_late_can_get_addresses_already() {
    let targets = Targets { warm_addresses: Some(4), ..TARGETS };
    let (id, eni) = secondary(1, "subnet-pods", 2);
    let coming = Eni { readiness: Readiness::Coming, ..eni };

    let pool = with_targets(targets, config(&["subnet-pods"]), [primary(0), (id.clone(), coming)]);

    assert_eq!(pool.plan(AT).actions, [assign(id, Amount::Addresses(2))]);
}

#[test]
fn a_slow_attach_does_not_block_an_assignment_elsewhere() {
    let targets = Targets { warm_addresses: Some(1), ..TARGETS };
    let mut pool = with_targets(targets, node(), [primary(1)]);
    pool.started(&attach(1, "subnet-node", Amount::Addresses(1)));

    pool.set_waiting(4);

    assert_eq!(pool.plan(AT).actions, [assign(id(0), Amount::Addresses(3))]);
}

// Users' pain: ENIs are filled with warm addresses that kubelet never lets pods use.
#[test]
fn no_more_is_warmed_than_kubelet_lets_pods_run() {
    let mut pool = pool(node(), [primary(9)]);
    pool.set_max_pods(Some(11));
    for pod in 0..8 {
        pool.allocate(owner(pod), AT).unwrap();
    }

    assert_eq!(pool.plan(AT).reason, Reason::Short(2));
    pool.set_max_pods(Some(9));
    assert_eq!(pool.plan(AT).reason, Reason::Satisfied);
    pool.set_waiting(2);
    assert_eq!(pool.plan(AT).reason, Reason::Short(1), "a pod that waits is there");
}

// Users' pain: a fragmented subnet blocked every pod, although it had thousands of addresses.
#[test]
fn without_a_free_prefix_single_addresses_are_asked_for_and_prefixes_tried_again_later() {
    let targets = Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS };
    let mut pool = with_targets(targets, config(&["subnet-pods"]), [primary(0)]);
    let prefix = pool.plan(AT).actions.remove(0);
    assert_eq!(prefix, attach(1, "subnet-pods", Amount::Prefixes(1)));

    pool.refused(&prefix, refusal(Cause::NoPrefixes), AT);

    let single = pool.plan(AT).actions.remove(0);
    assert_eq!(single, attach(1, "subnet-pods", Amount::Addresses(9)));
    pool.succeeded(&single);
    let soon = pool.plan(Time(Duration::from_secs(119)));
    assert_eq!(soon.actions[0], single, "an address proves nothing about prefixes");
    assert_eq!(pool.plan(Time(Duration::from_secs(120))).actions[0], prefix);
}

// To create, attach, be refused and delete costs an interface and four calls each time.
#[test]
fn where_the_instance_cannot_have_prefixes_single_addresses_are_asked_for_from_then_on() {
    let targets = Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS };
    let mut pool = with_targets(targets, config(&["subnet-1", "subnet-2"]), [primary(0)]);
    pool.note_room([("subnet-1".into(), 100), ("subnet-2".into(), 50)], AT);
    let prefix = pool.plan(AT).actions.remove(0);
    assert_eq!(prefix, attach(1, "subnet-1", Amount::Prefixes(1)));

    pool.refused(&prefix, refusal(Cause::PrefixesUnsupported), AT);

    for seconds in [0, 120, 1_800, 86_400] {
        let now = Time(Duration::from_secs(seconds));
        pool.note_room([("subnet-1".into(), 100), ("subnet-2".into(), 50)], now);
        let single = attach(1, "subnet-1", Amount::Addresses(9));
        assert_eq!(pool.plan(now).actions, [single], "after {seconds} s");
    }
    pool.draw_from(config(&["subnet-2"]));
    assert_eq!(pool.plan(AT).actions, [attach(1, "subnet-2", Amount::Addresses(9))]);
}

#[test]
fn single_addresses_are_as_warm_as_a_prefix_where_there_is_none() {
    let targets = Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS };
    let enis = [primary(0), secondary(1, "subnet-pods", 9), secondary(2, "subnet-pods", 7)];
    let mut pool = with_targets(targets, config(&["subnet-pods"]), enis);
    let prefix = assign(id(1), Amount::Prefixes(1));

    pool.refused(&prefix, refusal(Cause::NoPrefixes), AT);

    assert_eq!(pool.plan(AT).reason, Reason::Satisfied, "sixteen are free");
    pool.allocate(owner("a"), AT).unwrap();
    assert_eq!(pool.plan(AT).reason, Reason::Short(1));
}

// Users' pain: one subnet for each zone, and a full one cannot be left.
#[test]
fn a_full_subnet_is_left_for_the_next_of_the_eniconfig() {
    let mut pool = pool(config(&["subnet-1", "subnet-2"]), [primary(0)]);
    pool.note_room([("subnet-1".into(), 100), ("subnet-2".into(), 50)], AT);
    let first = pool.plan(AT).actions.remove(0);
    assert_eq!(first, attach(1, "subnet-1", Amount::Addresses(9)));

    pool.refused(&first, refusal(Cause::NoAddresses), AT);

    assert_eq!(pool.plan(AT).actions, [attach(1, "subnet-2", Amount::Addresses(9))]);
}

#[test]
fn when_every_subnet_is_full_the_plan_says_so_and_when_it_tries_again() {
    let mut pool = pool(config(&["subnet-1"]), [primary(0)]);
    let action = pool.plan(AT).actions.remove(0);

    pool.refused(&action, refusal(Cause::NoAddresses), AT);

    let Plan { actions, reason, wake_at } = pool.plan(AT);
    assert_eq!(actions, []);
    let until = Time(Duration::from_secs(10));
    assert_eq!(reason, Reason::BackingOff { refusal: refusal(Cause::NoAddresses), until });
    assert_eq!(wake_at, Some(until));
    let fewer = attach(1, "subnet-1", Amount::Addresses(2));
    assert_eq!(pool.plan(until).actions, [fewer]);
}

// Users' pain: the peer retries calls that cannot succeed every five seconds, for ever.
#[test]
fn calls_that_are_denied_are_minutes_apart() {
    let mut pool = pool(config(&["subnet-1"]), [primary(0)]);
    let mut now = AT;
    let mut pauses = vec![];

    for _ in 0..7 {
        let action = pool.plan(now).actions.remove(0);
        pool.refused(&action, refusal(Cause::Denied), now);
        let next = pool.plan(now).wake_at.unwrap();
        pauses.push((next.0 - now.0).as_secs() / 60);
        now = next;
    }

    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
}

#[test]
fn a_refused_attach_leaves_room_on_other_interfaces_usable() {
    let mut pool = pool(node(), [primary(5)]);
    let attach = attach(1, "subnet-node", Amount::Addresses(9));
    pool.refused(&attach, refusal(Cause::Limit), AT);

    assert_eq!(pool.plan(AT).actions, [assign(id(0), Amount::Addresses(4))]);
}

#[test]
fn a_new_eniconfig_ends_the_pause_and_the_same_one_does_not() {
    let mut pool = pool(config(&["subnet-wrong"]), [primary(0)]);
    let action = pool.plan(AT).actions.remove(0);
    pool.refused(&action, refusal(Cause::Wrong), AT);

    pool.draw_from(config(&["subnet-wrong"]));
    assert!(matches!(pool.plan(AT).reason, Reason::BackingOff { .. }));
    pool.draw_from(config(&["subnet-pods"]));
    assert_eq!(pool.plan(AT).actions, [attach(1, "subnet-pods", Amount::Addresses(9))]);
}

#[test]
fn another_instance_type_counts_at_once_and_ends_pauses() {
    let mut pool = pool(node(), [primary(9)]);
    pool.set_waiting(1);
    let action = attach(1, "subnet-node", Amount::Addresses(9));
    for host in 1..=9 {
        pool.allocate(owner(host), AT).unwrap();
    }
    pool.started(&action);
    pool.refused(&action, refusal(Cause::Limit), AT);
    assert_eq!(pool.plan(AT).actions, []);
    pool.set_max_pods(Some(29));

    pool.set_type(TARGETS, Limits { enis: 4, blocks_per_eni: 14, ..LIMITS });

    let actions = pool.plan(AT).actions;
    assert_eq!(actions[0], assign(id(0), Amount::Addresses(5)), "{actions:?}");
    assert!(matches!(actions[1], Action::AttachEni { device_index: 1, .. }), "{actions:?}");
    assert_eq!(pool.limits().max_pods, Some(29), "kubelet's word stays");
}

#[test]
fn when_all_is_full_the_plan_says_so() {
    let enis = [primary(9), secondary(1, "subnet-node", 9), secondary(2, "subnet-node", 9)];
    let mut pool = pool(node(), enis);
    for pod in 0..27 {
        pool.allocate(owner(pod), AT).unwrap();
    }

    let plan = pool.plan(AT);

    assert_eq!((plan.actions, plan.reason), (vec![], Reason::Full(slots(3, &[]))));
    let none = pool.allocate(owner("more"), AT).unwrap_err();
    assert_eq!(none.to_string(), "no free address (27 in use, 0 cooling)");
}

// Users' pain: edits of an ENIConfig's security groups did not reach running nodes.
#[test]
fn edited_security_groups_reach_live_interfaces() {
    let mut pool = pool(config(&["subnet-pods"]), [primary(0), secondary(1, "subnet-pods", 9)]);
    let groups: std::collections::BTreeSet<String> = ["sg-new".to_owned()].into();
    let supply = Supply { subnets: vec!["subnet-pods".into()], groups: groups.clone() };

    pool.draw_from(Source::EniConfig { name: "us-west-2a".into(), supply });

    assert_eq!(pool.plan(AT).actions, [Action::SetGroups { eni: id(1), groups }]);
}

#[test]
fn single_addresses_stand_in_for_prefixes_that_are_not_to_be_had() {
    let targets = Targets { mode: Mode::Prefixes, warm_enis: 0, warm_prefixes: 1, ..TARGETS };
    let limits = Limits { blocks_per_eni: 20, ..LIMITS };
    let mut pool = Pool::new(targets, limits, node());

    pool.observe([primary(16)].into(), AT);

    assert_eq!(pool.plan(AT).reason, Reason::Satisfied);
    pool.observe([primary(18)].into(), AT);
    let surplus = Block::Address(address(0, 1));
    let both = [surplus, Block::Address(address(0, 2))].into();
    assert_eq!(pool.plan(AT).actions, [Action::Unassign { eni: id(0), blocks: both }]);
}

#[test]
fn an_interface_that_grows_gets_its_groups_afterwards() {
    let source = Source::EniConfig {
        name: "us-west-2a".into(),
        supply: Supply { groups: ["sg-2".to_owned()].into(), ..supply(&["subnet-pods"]) },
    };
    let mut pool = pool(source, [primary(0), secondary(1, "subnet-pods", 2)]);

    let first = pool.plan(AT).actions;

    assert_eq!(first, [assign(id(1), Amount::Addresses(7))]);
    pool.observe([primary(0), secondary(1, "subnet-pods", 9)].into(), AT);
    let groups = ["sg-2".to_owned()].into();
    assert_eq!(pool.plan(AT).actions, [Action::SetGroups { eni: id(1), groups }]);
}

#[test]
fn a_subnet_with_few_addresses_is_asked_for_fewer_until_it_has_none() {
    let mut pool = pool(node(), [primary(0)]);
    let mut asked = vec![];
    let mut now = AT;

    for _ in 0..4 {
        let action = pool.plan(now).actions.remove(0);
        asked.push((now.0.as_secs(), action.amount().unwrap().addresses()));
        pool.refused(&action, refusal(Cause::NoAddresses), now);
        assert_eq!(pool.plan(now).actions, [], "a full subnet is left alone for a while");
        now = pool.plan(now).wake_at.unwrap();
    }

    assert_eq!(asked, [(0, 9), (10, 2), (20, 1), (30, 1)]);
    pool.succeeded(&assign(id(0), Amount::Addresses(1)));
    assert_eq!(pool.plan(now).actions[0], assign(id(0), Amount::Addresses(2)), "step by step");
}

#[test]
fn an_interface_is_attached_for_what_one_that_grows_will_have_no_room_for() {
    let targets = Targets { warm_addresses: Some(0), ..TARGETS };
    let enis = [primary(0), secondary(1, "subnet-pods", 3)];
    let mut pool = with_targets(targets, config(&["subnet-pods"]), enis);
    pool.started(&assign(id(1), Amount::Addresses(2)));

    for (waiting, missing) in [(9, 0), (10, 1), (12, 3)] {
        pool.set_waiting(waiting);

        let want = (missing > 0).then(|| attach(2, "subnet-pods", Amount::Addresses(missing)));
        assert_eq!(pool.plan(AT).actions, Vec::from_iter(want), "{waiting} wait");
    }
}

#[test]
fn room_on_an_interface_that_comes_in_a_subnet_of_before_is_none() {
    let targets = Targets { warm_addresses: Some(0), ..TARGETS };
    let mut pool = with_targets(targets, config(&["subnet-pods"]), [primary(0)]);
    pool.started(&attach(1, "subnet-before", Amount::Addresses(1)));

    pool.set_waiting(5);

    assert_eq!(pool.plan(AT).actions, [attach(2, "subnet-pods", Amount::Addresses(4))]);
}

#[test]
fn a_count_of_free_addresses_is_used_for_a_minute() {
    let mut pool = pool(config(&["subnet-1", "subnet-2"]), [primary(0)]);
    pool.note_room([("subnet-1".into(), 1), ("subnet-2".into(), 50)], AT);
    let first =
        |pool: &Pool, seconds| pool.plan(Time(Duration::from_secs(seconds))).actions.remove(0);
    let to = |subnet| attach(1, subnet, Amount::Addresses(9));

    assert_eq!(first(&pool, 59), to("subnet-2"), "known");
    let count = first(&pool, 60);
    assert!(matches!(count, Action::CountFree { .. }), "forgotten: {count:?}");
    pool.refused(&count, refusal(Cause::Denied), Time(Duration::from_secs(59)));
    assert_eq!(first(&pool, 59), to("subnet-2"), "known, and not to be asked");
    assert_eq!(first(&pool, 60), to("subnet-1"), "forgotten, and not to be asked");
}
