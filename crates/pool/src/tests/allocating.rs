//! Which pod gets which address.

use super::*;
use std::collections::BTreeSet;

#[test]
fn asked_twice_the_pool_gives_the_same_address() {
    let mut pool = pool(node(), [primary(9)]);

    let first = pool.allocate(owner("a"), AT);

    assert_eq!(pool.allocate(owner("a"), AT), first);
    assert_ne!(pool.allocate(owner("b"), AT), first);
}

#[test]
fn an_address_cools_before_it_is_used_again() {
    let mut pool = pool(node(), [primary(1)]);
    let first = pool.allocate(owner("a"), AT).unwrap();
    pool.release(&owner("a"), AT);

    let early = pool.allocate(owner("b"), AT);
    let later = pool.allocate(owner("b"), AT + TARGETS.cooldown);

    assert_eq!(
        early,
        Err(NoAddress {
            cooling: 1,
            next_cooled: Some(AT + Duration::from_secs(30)),
            ..NoAddress::default()
        })
    );
    assert_eq!(later, Ok(first));
}

#[test]
fn rest_goes_on_after_a_restart() {
    let mut pool = pool(node(), [primary(1)]);

    pool.restore_cooling(address(0, 1), AT);

    assert!(pool.allocate(owner("a"), Time(Duration::from_secs(29))).is_err());
    assert!(pool.allocate(owner("a"), Time(Duration::from_secs(30))).is_ok());
}

// Users' pain: the address of a pod that has just ended goes to the next one, with the connections
// of the old one still known elsewhere.
#[test]
fn the_address_that_rested_longest_is_used_first() {
    let mut pool = pool(node(), [primary(2)]);
    let first = pool.allocate(owner("a"), AT).unwrap();
    let second = pool.allocate(owner("b"), AT).unwrap();
    pool.release(&owner("b"), AT);
    pool.release(&owner("a"), AT + TARGETS.cooldown);

    let now = AT + TARGETS.cooldown * 2;

    assert_eq!(pool.allocate(owner("c"), now), Ok(second));
    assert_eq!(pool.allocate(owner("d"), now), Ok(first));
}

#[test]
fn pods_are_packed_on_the_fullest_interface() {
    let enis = [primary(0), secondary(1, "subnet-node", 3), secondary(2, "subnet-node", 3)];
    let mut pool = pool(node(), enis);
    pool.restore(owner("old"), Allocation { address: address(2, 2), eni: id(2) }, AT).unwrap();

    assert_eq!(pool.allocate(owner("new"), AT).map(|it| it.eni), Ok(id(2)));
}

#[test]
fn pods_are_packed_in_the_fullest_prefix() {
    let mut pool = pool(node(), [prefixed(0, "subnet-node", 3)]);
    pool.restore(owner("old"), Allocation { address: address(0, 35), eni: id(0) }, AT).unwrap();

    for pod in 0..15 {
        let allocation = pool.allocate(owner(pod), AT).unwrap();
        assert!((32..48).contains(&allocation.address.octets()[3]), "{allocation:?}");
    }
}

#[test]
fn every_address_of_a_prefix_is_used() {
    let mut pool = pool(node(), [prefixed(0, "subnet-node", 1)]);

    let addresses: std::collections::BTreeSet<_> =
        (0..16).map(|pod| pool.allocate(owner(pod), AT).unwrap().address.octets()[3]).collect();

    assert_eq!(addresses, (16..32).collect());
    assert_eq!(
        pool.allocate(owner("more"), AT),
        Err(NoAddress { in_use: 16, ..NoAddress::default() })
    );
}

#[test]
fn an_assignment_survives_an_observation_that_does_not_mention_it() {
    let mut pool = pool(node(), [primary(1)]);
    let held = pool.allocate(owner("a"), AT).unwrap();

    pool.observe([primary(0)].into(), AT);

    assert_eq!(pool.allocate(owner("a"), AT), Ok(held));
}

#[test]
fn a_record_that_gives_an_address_to_two_pods_is_refused() {
    let mut pool = pool(node(), [primary(1)]);
    let allocation = Allocation { address: address(0, 1), eni: id(0) };
    pool.restore(owner("a"), allocation.clone(), AT).unwrap();

    assert_eq!(pool.restore(owner("a"), allocation.clone(), AT), Ok(()));
    assert_eq!(pool.allocations().collect::<Vec<_>>(), [(&owner("a"), &allocation)]);
    let twice = AddressTaken { address: allocation.address, holder: owner("a") };
    let text = "10.0.0.1 is recorded twice; aws-cni/a/eth0 has it";
    assert_eq!(twice.to_string(), text);
    assert_eq!(pool.restore(owner("b"), allocation, AT), Err(twice));
}

#[test]
fn a_quarantined_address_goes_to_nobody_until_it_is_acquitted_and_has_rested() {
    let mut pool = pool(node(), [primary(1)]);
    pool.quarantine(address(0, 1), [].into());

    assert!(pool.allocate(owner("a"), AT).is_err());
    pool.unquarantine(address(0, 1), AT);
    assert!(pool.allocate(owner("a"), AT).is_err());
    assert!(pool.allocate(owner("a"), AT + TARGETS.cooldown).is_ok());
}

#[test]
fn the_primary_interface_serves_no_new_pod_once_custom_networking_is_on() {
    let mut pool = pool(node(), [primary(9)]);
    let before = pool.allocate(owner("before"), AT).unwrap();

    pool.draw_from(config(&["subnet-pods"]));

    assert_eq!(pool.allocate(owner("before"), AT), Ok(before));
    assert_eq!(
        pool.allocate(owner("after"), AT),
        Err(NoAddress { in_use: 1, elsewhere: 1, ..NoAddress::default() })
    );
    pool.observe([primary(9), secondary(1, "subnet-pods", 9)].into(), AT);
    assert_eq!(pool.allocate(owner("after"), AT).map(|it| it.eni), Ok(id(1)));
}

#[test]
fn what_is_being_given_back_is_not_handed_out() {
    let mut pool = pool(node(), [primary(2)]);
    let blocks = [Block::Address(address(0, 1))].into();
    pool.started(&Action::Unassign { eni: id(0), blocks });

    let allocation = pool.allocate(owner("a"), AT).unwrap();

    assert_eq!(allocation.address, address(0, 2));
    assert!(pool.allocate(owner("b"), AT).is_err());
}

#[test]
fn an_interface_that_is_not_to_be_touched_only_takes_up_a_slot() {
    let (id, eni) = secondary(1, "subnet-node", 9);
    let unmanaged = Eni { ownership: Ownership::Unmanaged, ..eni };
    let mut pool = pool(node(), [primary(9), (id, unmanaged)]);
    for pod in 0..9 {
        pool.allocate(owner(pod), AT).unwrap();
    }

    assert_eq!(
        pool.allocate(owner("more"), AT),
        Err(NoAddress { in_use: 9, ..NoAddress::default() })
    );
    assert_eq!(pool.plan(AT).actions, [attach(2, "subnet-node", Amount::Addresses(9))]);
}

#[test]
fn no_pod_gets_an_address_while_the_eniconfig_is_unknown() {
    let mut pool = pool(config(&["subnet-pods"]), [primary(2), secondary(1, "subnet-pods", 2)]);

    pool.draw_from(Source::Missing { why: "no ENIConfig us-west-2a".into() });

    assert!(pool.allocate(owner("a"), AT).is_err());
}

#[test]
fn a_pod_without_address_is_told_how_many_there_are() {
    let check = |elsewhere, quarantined, want: &str| {
        let none =
            NoAddress { in_use: 7, elsewhere, quarantined, cooling: 2, ..NoAddress::default() };
        assert_eq!(none.to_string(), want);
    };
    check(0, 0, "no free address (7 in use, 2 cooling)");
    check(0, 6, "no free address (7 in use, 6 that somebody may still use, 2 cooling)");
    check(
        3,
        0,
        "no free address (7 in use, 3 of them on interfaces that serve no new pods, 2 cooling)",
    );
}

#[test]
fn a_pod_without_address_is_told_of_those_that_pods_may_have_whom_nobody_knows() {
    let mut pool = pool(node(), [primary(2)]);
    let ours = pool.allocate(owner("a"), AT).unwrap().address;
    let other = pool.available(AT).next().unwrap().2;
    pool.quarantine(other, BTreeSet::new());

    let none = pool.allocate(owner("b"), AT).unwrap_err();

    assert_ne!(ours, other);
    assert_eq!(none, NoAddress { in_use: 1, quarantined: 1, ..NoAddress::default() });
}

#[test]
fn the_next_address_that_has_cooled_is_one_that_a_pod_can_have() {
    let mut pool = pool(node(), [primary(3)]);
    let second = |count| Duration::from_secs(count);
    let had = ["a", "b", "c"].map(|it| pool.allocate(owner(it), AT).unwrap().address);
    for (pod, at) in [("a", 1), ("b", 2), ("c", 3)] {
        pool.release(&owner(pod), AT + second(at)).unwrap();
    }

    // Somebody may have the one that has cooled first.
    pool.quarantine(had[0], BTreeSet::new());
    let none = pool.allocate(owner("d"), AT + second(4)).unwrap_err();

    assert_eq!(
        (none.cooling, none.next_cooled),
        (3, Some(AT + second(2) + Duration::from_secs(30)))
    );
}
