//! Pods that are about to ask, subnets and interfaces that EC2 is asked about first, and how often.

use super::{world::World, *};

#[test]
fn pods_that_are_about_to_start_are_a_reason_to_grow_before_they_ask() {
    let mut pool = with_targets(NOTHING_WARM, config(&["subnet-a"]), [primary(0)]);
    assert_eq!(pool.plan(AT).actions, []);

    pool.set_expected(7);

    // One call for all of them.
    assert_eq!(pool.plan(AT).actions, [attach(1, "subnet-a", Amount::Addresses(7))]);
}

#[test]
fn a_pod_that_is_expected_and_one_that_waits_are_two() {
    let enis = [primary(0), secondary(1, "subnet-a", 1)];
    let mut pool = with_targets(NOTHING_WARM, config(&["subnet-a"]), enis);
    pool.set_waiting(1);
    assert_eq!(pool.plan(AT).actions, []);

    pool.set_expected(1);

    assert_eq!(pool.plan(AT).actions, [assign(id(1), Amount::Addresses(1))]);
}

#[test]
fn what_an_expected_pod_needs_is_not_given_back() {
    let targets = Targets { warm_addresses: Some(1), ..NOTHING_WARM };
    let enis = [primary(0), secondary(1, "subnet-a", 5)];
    let mut pool = with_targets(targets, config(&["subnet-a"]), enis);
    pool.set_expected(4);
    assert_eq!(pool.plan(AT).actions, []);

    pool.set_expected(0);

    let actions = pool.plan(AT).actions;
    let [Action::Unassign { blocks, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(blocks.len(), 4);
}

#[test]
fn of_several_subnets_the_one_with_the_most_free_addresses_is_chosen() {
    let mut pool = pool(config(&["subnet-a", "subnet-b", "subnet-c"]), [primary(0)]);

    let first = pool.plan(AT).actions;

    let subnets = ["subnet-a", "subnet-b", "subnet-c"].map(str::to_owned).into();
    assert_eq!(first, [Action::CountFree { subnets }]);
    pool.started(&first[0]);
    assert_eq!(pool.plan(AT).actions, [], "the question is open");
    assert_eq!(pool.plan(AT).reason, Reason::Short(9));
    pool.note_room([room("subnet-a", 20), room("subnet-b", 200), room("subnet-c", 3)], AT);
    pool.succeeded(&first[0]);
    assert_eq!(pool.plan(AT).actions, [attach(1, "subnet-b", Amount::Addresses(9))]);
}

#[test]
fn who_may_not_count_free_addresses_goes_by_the_order_of_the_eniconfig() {
    let mut pool = pool(config(&["subnet-a", "subnet-b"]), [primary(0)]);
    let [count] = &pool.plan(AT).actions[..] else { panic!() };

    pool.refused(count, refusal(Cause::Denied), AT);

    assert_eq!(pool.plan(AT).actions, [attach(1, "subnet-a", Amount::Addresses(9))]);
}

#[test]
fn one_subnet_is_never_counted_and_several_only_for_a_new_interface() {
    let one = pool(config(&["subnet-a"]), [primary(0)]);
    let enis = [primary(0), secondary(1, "subnet-a", 0)];
    let targets = Targets { warm_addresses: Some(3), ..NOTHING_WARM };
    let with_room = with_targets(targets, config(&["subnet-a", "subnet-b"]), enis);
    let at_rest = with_targets(NOTHING_WARM, config(&["subnet-a", "subnet-b"]), [primary(0)]);

    assert_eq!(one.plan(AT).actions, [attach(1, "subnet-a", Amount::Addresses(9))]);
    assert_eq!(with_room.plan(AT).actions, [assign(id(1), Amount::Addresses(3))]);
    assert_eq!(at_rest.plan(AT).actions, []);
}

#[test]
fn an_interface_that_a_launch_template_made_for_pods_is_used_after_one_question() {
    let made = secondary(1, "subnet-a", 9);
    let mut pool = pool(config(&["subnet-a"]), [primary(0), unknown(made.clone())]);

    // A user's that is not to be touched looks the same.
    assert_eq!(pool.allocate(owner("a"), AT).ok(), None);
    let ask = Action::Inspect { eni: id(1) };
    assert_eq!(pool.plan(AT).actions, std::slice::from_ref(&ask));

    pool.started(&ask);
    let foreign = (made.0, Eni { ownership: Ownership::Foreign, ..made.1 });
    pool.observe([primary(0), foreign].into(), AT);
    pool.succeeded(&ask);
    assert_eq!(pool.plan(AT).reason, Reason::Satisfied);
    assert_eq!(pool.allocate(owner("a"), AT).unwrap().eni, id(1));
}

#[test]
fn an_interface_of_unknown_origin_is_asked_about_first_whatever_it_looks_like() {
    let other_groups =
        |(id, eni): (EniId, Eni)| (id, Eni { groups: ["sg-9".into()].into(), ..eni });
    let right = || secondary(1, "subnet-a", 9);
    for eni in [secondary(1, "subnet-a", 0), other_groups(right()), right()] {
        let mut pool = pool(config(&["subnet-a"]), [primary(0), unknown(eni.clone())]);

        assert_eq!(pool.allocate(owner("a"), AT).ok(), None, "{eni:?}");
        let first = pool.plan(AT).actions;
        assert_eq!(first, [Action::Inspect { eni: id(1) }], "{eni:?}");

        pool.started(&first[0]);
        assert_eq!(pool.plan(AT).actions, [], "the question is open: {eni:?}");
        let unmanaged = Eni { ownership: Ownership::Unmanaged, ..eni.1.clone() };
        pool.observe([primary(0), (id(1), unmanaged)].into(), AT);
        pool.succeeded(&first[0]);
        let want = [attach(2, "subnet-a", Amount::Addresses(9))];
        assert_eq!(pool.plan(AT).actions, want, "{eni:?}");
    }
}

#[test]
fn without_custom_networking_too_no_address_of_an_interface_is_used_that_is_not_to_be_touched() {
    let mut pool = pool(node(), [primary(0), unknown(secondary(1, "subnet-other", 9))]);

    assert_eq!(pool.allocate(owner("a"), AT).ok(), None);
    let actions = pool.plan(AT).actions;
    assert!(actions.contains(&Action::Inspect { eni: id(1) }), "{actions:?}");
}

#[test]
fn an_interface_of_unknown_origin_elsewhere_is_asked_about_before_it_is_given_back() {
    let enis = [primary(0), secondary(1, "subnet-a", 9), unknown(secondary(2, "subnet-old", 9))];
    let mut pool = pool(config(&["subnet-a"]), enis.clone());

    assert_eq!(pool.plan(AT).actions, [Action::Inspect { eni: id(2) }]);

    let [first, second, (id, eni)] = enis;
    pool.observe(
        [first, second, (id.clone(), Eni { ownership: Ownership::Ours, ..eni })].into(),
        AT,
    );
    assert_eq!(pool.plan(AT).actions, [Action::DeleteEni { eni: id }]);
}

#[test]
fn an_interface_of_somebody_else_with_other_groups_than_the_eniconfigs_gets_no_new_pods() {
    let (id, eni) = secondary(1, "subnet-a", 9);
    let foreign = Eni { ownership: Ownership::Foreign, groups: ["sg-9".into()].into(), ..eni };
    let mut pool = pool(config(&["subnet-a"]), [primary(0), (id, foreign)]);

    assert_eq!(pool.allocate(owner("a"), AT).ok(), None);
}

#[test]
fn an_interface_of_ours_ends_with_its_instance_and_pods_do_not_wait_for_that() {
    let (id, eni) = secondary(1, "subnet-a", 4);
    let enis = [primary(0), (id.clone(), Eni { lifetime: Lifetime::Own, ..eni })];
    let targets = Targets { warm_addresses: Some(6), ..NOTHING_WARM };
    let mut pool = with_targets(targets, config(&["subnet-a"]), enis);
    let end = Action::EndWithInstance { eni: id.clone() };

    // Side by side with what pods wait for, and once.
    assert_eq!(pool.plan(AT).actions, [assign(id.clone(), Amount::Addresses(2)), end.clone()]);
    assert_eq!(pool.plan(AT).reason, Reason::Short(2));
    pool.started(&end);
    assert_eq!(pool.plan(AT).actions, [assign(id, Amount::Addresses(2))]);

    pool.refused(&end, refusal(Cause::Throttled), AT);
    assert!(!pool.plan(AT).actions.contains(&end), "its pause lasts");
    assert!(pool.plan(at(60)).actions.contains(&end), "it is not forgotten");
}

#[test]
fn whether_the_primary_interface_ends_with_its_instance_is_not_for_us_to_say() {
    let (id, eni) = primary(3);
    let node =
        Source::Node(Supply { subnets: vec!["subnet-a".into()], groups: eni.groups.clone() });
    let end = Action::EndWithInstance { eni: id.clone() };
    let pool = pool(node, [(id, Eni { lifetime: Lifetime::Own, ..eni })]);

    assert!(!pool.plan(AT).actions.contains(&end), "{:?}", pool.plan(AT).actions);
}

#[test]
fn a_pool_is_satisfied_when_there_is_nothing_to_do_and_not_before() {
    let (id, eni) = secondary(1, "subnet-a", 9);
    let mut pool =
        pool(config(&["subnet-a"]), [primary(0), (id, Eni { lifetime: Lifetime::Own, ..eni })]);

    let Plan { actions, reason, .. } = pool.plan(AT);

    assert_eq!((actions.len(), reason), (1, Reason::Changing));
    pool.started(&actions[0]);
    assert_eq!(pool.plan(AT).reason, Reason::Changing);
    pool.observe([primary(0), secondary(1, "subnet-a", 9)].into(), AT);
    pool.succeeded(&actions[0]);
    assert_eq!(pool.plan(AT).reason, Reason::Satisfied);
}

#[test]
fn demand_that_goes_up_and_down_within_the_hold_never_flaps() {
    for targets in [
        Targets { warm_addresses: Some(2), ..NOTHING_WARM },
        Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS },
        TARGETS,
    ] {
        let mut world = World::new(targets, LIMITS, config(&["subnet-a"]));
        world.run_to_rest();
        // The first wave shows how much is needed.
        wave(&mut world);
        let (calls, held) = (world.calls, world.addresses());
        world.history.clear();

        for _ in 0..20 {
            wave(&mut world);
            world.pass(Duration::from_secs(120));
        }

        assert_eq!(world.calls, calls, "{targets:?}: {:?}", world.history);
        assert_eq!(world.addresses(), held, "{targets:?}");
    }
}

/// Twelve pods start and end.
fn wave(world: &mut World) {
    let pods: Vec<_> = (0..12).map(owner).collect();
    pods.iter().for_each(|pod| world.start_pod(pod.clone()));
    pods.iter().for_each(|pod| world.end_pod(pod));
    world.pass(Duration::from_secs(31));
}

fn unknown((id, eni): (EniId, Eni)) -> (EniId, Eni) {
    (id, Eni { ownership: Ownership::Unknown, ..eni })
}

fn room(subnet: &str, free: u32) -> (String, u32) {
    (subnet.into(), free)
}

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}
