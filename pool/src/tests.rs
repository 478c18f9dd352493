//! What the pool does, one sentence a test.

use super::*;

#[test]
fn custom_networking_starts_with_an_interface_in_the_subnet_of_the_eniconfig() {
    let pool = pool(config("subnet-pods"), [primary(0)]);

    let plan = pool.plan(AT);

    assert_eq!(plan.actions, [attach(1, "subnet-pods", 9)]);
    assert_eq!(plan.reason, Reason::Short(9));
}

#[test]
fn without_custom_networking_the_primary_interface_is_filled_first() {
    let pool = pool(node(), [primary(0)]);

    let plan = pool.plan(AT);

    assert_eq!(plan.actions, [Action::AssignAddresses { eni: id(0), count: 9 }]);
}

#[test]
fn a_target_in_addresses_asks_for_what_is_missing_and_no_more() {
    let mut pool = pool(node(), [primary(5)]);
    pool.targets = Targets { warm_addresses: Some(16), ..TARGETS };

    let plan = pool.plan(AT);

    let rest = Action::AttachEni {
        device_index: 1,
        subnet: "subnet-node".into(),
        groups: vec!["sg-1".into()],
        addresses: 7,
    };
    assert_eq!(plan.actions, [Action::AssignAddresses { eni: id(0), count: 4 }, rest]);
    assert_eq!(plan.reason, Reason::Short(11));
}

#[test]
fn a_minimum_counts_addresses_in_use() {
    let mut pool = pool(node(), [primary(5)]);
    pool.targets = Targets { minimum_addresses: Some(5), ..TARGETS };
    pool.assign(owner("a"), AT).unwrap();

    assert_eq!(pool.plan(AT).reason, Reason::Satisfied);
}

#[test]
fn resting_addresses_do_not_count_as_free() {
    let mut pool = pool(node(), [primary(2)]);
    pool.targets = Targets { warm_addresses: Some(2), ..TARGETS };
    pool.assign(owner("a"), AT).unwrap();

    pool.release(&owner("a"), AT);

    assert_eq!(pool.plan(AT).reason, Reason::Short(1));
    assert_eq!(pool.plan(AT).wake_at, Some(AT + TARGETS.cooldown));
}

#[test]
fn pods_that_wait_are_a_reason_to_grow() {
    let mut pool = pool(node(), [primary(0)]);
    pool.targets = Targets { warm_enis: 0, ..TARGETS };

    pool.set_waiting(1);

    assert_eq!(pool.plan(AT).actions, [Action::AssignAddresses { eni: id(0), count: 9 }]);
}

#[test]
fn the_primary_interface_serves_no_new_pod_once_custom_networking_is_on() {
    let mut pool = pool(node(), [primary(9)]);
    let before = pool.assign(owner("before"), AT).unwrap();

    pool.draw_from(config("subnet-pods"));

    assert_eq!(pool.assign(owner("before"), AT), Ok(before));
    assert_eq!(pool.assign(owner("after"), AT), Err(NoAddress { in_use: 0, resting: 0 }));
    pool.observe([primary(9), secondary(1, "subnet-pods", 9)].into());
    assert_eq!(pool.assign(owner("after"), AT).map(|it| it.eni), Ok(id(1)));
}

#[test]
fn an_interface_of_another_subnet_is_given_back_once_it_is_empty_and_rested() {
    let mut pool = pool(node(), [primary(0), secondary(1, "subnet-node", 2)]);
    pool.assign(owner("a"), AT).unwrap();
    pool.draw_from(config("subnet-pods"));
    let released =
        |pool: &Pool, now| pool.plan(now).actions.contains(&Action::ReleaseEni { eni: id(1) });

    assert!(!released(&pool, AT), "it is in use");
    pool.release(&owner("a"), AT);
    assert!(!released(&pool, AT), "its address rests");
    assert!(released(&pool, AT + TARGETS.cooldown));
}

#[test]
fn an_interface_that_somebody_else_attached_is_never_given_back() {
    let (id, eni) = secondary(1, "subnet-other", 2);
    let mut pool = pool(config("subnet-pods"), [primary(0)]);

    pool.observe([primary(0), (id, Eni { custody: Custody::Foreign, ..eni })].into());

    assert_eq!(pool.plan(AT).actions, [attach(2, "subnet-pods", 9)]);
}

#[test]
fn no_interface_is_given_back_while_the_eniconfig_is_unknown() {
    let mut pool = pool(node(), [primary(0), secondary(1, "subnet-node", 2)]);

    pool.draw_from(Source::Missing { why: "no ENIConfig us-west-2a".into() });

    let plan = pool.plan(AT);
    assert_eq!(plan.actions, []);
    assert_eq!(plan.reason, Reason::NoSource { why: "no ENIConfig us-west-2a".into() });
}

#[test]
fn a_slot_that_is_given_back_can_be_used_at_once() {
    let mut pool =
        pool(node(), [primary(0), secondary(1, "subnet-node", 1), secondary(2, "subnet-node", 1)]);

    pool.draw_from(config("subnet-pods"));

    let plan = pool.plan(AT);
    assert_eq!(plan.actions.len(), 3, "{plan:?}");
    assert!(matches!(plan.actions[2], Action::AttachEni { .. }), "{plan:?}");
}

#[test]
fn an_interface_on_its_way_counts_but_serves_nobody_yet() {
    let (id, eni) = secondary(1, "subnet-pods", 9);
    let mut pool = pool(
        config("subnet-pods"),
        [primary(0), (id.clone(), Eni { readiness: Readiness::Coming, ..eni.clone() })],
    );

    assert_eq!(pool.plan(AT).actions, []);
    assert_eq!(pool.assign(owner("a"), AT), Err(NoAddress { in_use: 0, resting: 0 }));
    pool.observe([primary(0), (id, eni)].into());
    assert!(pool.assign(owner("a"), AT).is_ok());
}

#[test]
fn asked_twice_the_pool_gives_the_same_address() {
    let mut pool = pool(node(), [primary(9)]);

    let first = pool.assign(owner("a"), AT);

    assert_eq!(pool.assign(owner("a"), AT), first);
    assert_ne!(pool.assign(owner("b"), AT), first);
}

#[test]
fn an_address_rests_before_it_is_used_again() {
    let mut pool = pool(node(), [primary(1)]);
    let first = pool.assign(owner("a"), AT).unwrap();
    pool.release(&owner("a"), AT);

    let early = pool.assign(owner("b"), AT);
    let later = pool.assign(owner("b"), AT + TARGETS.cooldown);

    assert_eq!(early, Err(NoAddress { in_use: 0, resting: 1 }));
    assert_eq!(later, Ok(first));
}

#[test]
fn the_address_that_rested_longest_is_used_first() {
    let mut pool = pool(node(), [primary(2)]);
    let first = pool.assign(owner("a"), AT).unwrap();
    let second = pool.assign(owner("b"), AT).unwrap();
    pool.release(&owner("b"), AT);
    pool.release(&owner("a"), AT + TARGETS.cooldown);

    let now = AT + TARGETS.cooldown * 2;

    assert_eq!(pool.assign(owner("c"), now), Ok(second));
    assert_eq!(pool.assign(owner("d"), now), Ok(first));
}

#[test]
fn pods_are_packed_on_the_fullest_interface() {
    let enis = [primary(0), secondary(1, "subnet-node", 3), secondary(2, "subnet-node", 3)];
    let mut pool = pool(node(), enis);
    pool.restore(owner("old"), Assigned { address: address(2, 2), eni: id(2) }).unwrap();

    assert_eq!(pool.assign(owner("new"), AT).map(|it| it.eni), Ok(id(2)));
}

#[test]
fn an_assignment_survives_an_observation_that_does_not_mention_it() {
    let mut pool = pool(node(), [primary(1)]);
    let held = pool.assign(owner("a"), AT).unwrap();

    pool.observe([primary(0)].into());

    assert_eq!(pool.assign(owner("a"), AT), Ok(held));
}

#[test]
fn a_record_that_gives_an_address_to_two_pods_is_refused() {
    let mut pool = pool(node(), [primary(1)]);
    let assigned = Assigned { address: address(0, 1), eni: id(0) };
    pool.restore(owner("a"), assigned.clone()).unwrap();

    assert_eq!(pool.restore(owner("a"), assigned.clone()), Ok(()));
    let twice = Twice { address: assigned.address, holder: owner("a") };
    assert_eq!(pool.restore(owner("b"), assigned), Err(twice));
}

#[test]
fn pauses_grow_from_refusal_to_refusal_up_to_a_limit_and_end_with_a_success() {
    let mut pool = pool(config("subnet-pods"), [primary(0)]);
    let mut pauses = vec![];

    for _ in 0..12 {
        pool.refused("no".into(), AT);
        let Plan { actions, wake_at, .. } = pool.plan(AT);
        assert_eq!(actions, []);
        pauses.push(wake_at.unwrap().0.as_secs());
    }

    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    pool.succeeded();
    assert_eq!(pool.plan(AT).reason, Reason::Short(9));
}

#[test]
fn a_new_eniconfig_ends_the_pause_and_the_same_one_does_not() {
    let mut pool = pool(config("subnet-wrong"), [primary(0)]);
    pool.refused("InvalidSubnetID.NotFound".into(), AT);

    pool.draw_from(config("subnet-wrong"));
    assert!(matches!(pool.plan(AT).reason, Reason::BackingOff { .. }));
    pool.draw_from(config("subnet-pods"));
    assert_eq!(pool.plan(AT).actions, [attach(1, "subnet-pods", 9)]);
}

#[test]
fn when_all_is_full_the_plan_says_so() {
    let enis = [primary(9), secondary(1, "subnet-node", 9), secondary(2, "subnet-node", 9)];
    let mut pool = pool(node(), enis);
    for pod in 0..27 {
        pool.assign(owner(&pod.to_string()), AT).unwrap();
    }

    let plan = pool.plan(AT);

    assert_eq!(plan.actions, []);
    assert_eq!(plan.reason, Reason::Full { enis: 3 });
    assert_eq!(
        pool.assign(owner("more"), AT).unwrap_err().to_string(),
        "no free address (27 in use, 0 resting)"
    );
}

const AT: Time = Time(Duration::ZERO);

/// An m5.large: three interfaces with nine secondary addresses each.
const LIMITS: Limits = Limits { enis: 3, addresses_per_eni: 9 };

const TARGETS: Targets = Targets {
    warm_enis: 1,
    warm_addresses: None,
    minimum_addresses: None,
    cooldown: Duration::from_secs(30),
};

fn pool<const N: usize>(source: Source, enis: [(EniId, Eni); N]) -> Pool {
    let mut pool = Pool::new(TARGETS, LIMITS, source);
    pool.observe(enis.into());
    pool
}

fn node() -> Source {
    Source::Node { subnet: "subnet-node".into(), groups: vec!["sg-1".into()] }
}

fn config(subnet: &str) -> Source {
    let groups = vec!["sg-2".into()];
    Source::EniConfig { name: "us-west-2a".into(), subnet: subnet.into(), groups }
}

fn primary(addresses: u8) -> (EniId, Eni) {
    secondary(0, "subnet-node", addresses)
}

fn secondary(device_index: u8, subnet: &str, addresses: u8) -> (EniId, Eni) {
    let addresses = (1..=addresses).map(|host| address(device_index, host)).collect();
    let eni = Eni {
        device_index: device_index.into(),
        subnet: subnet.into(),
        addresses,
        readiness: Readiness::Ready,
        custody: Custody::Ours,
    };
    (id(device_index), eni)
}

fn attach(device_index: u32, subnet: &str, addresses: usize) -> Action {
    let (subnet, groups) = (subnet.into(), vec!["sg-2".into()]);
    Action::AttachEni { device_index, subnet, groups, addresses }
}

fn id(device_index: u8) -> EniId {
    EniId(format!("eni-{device_index}"))
}

fn address(device_index: u8, host: u8) -> Ipv4Addr {
    [10, 0, device_index, host].into()
}

fn owner(container: &str) -> Owner {
    Owner { network: "aws-cni".into(), container: container.into(), interface: "eth0".into() }
}
