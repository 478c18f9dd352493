//! What is given back, and when.

use super::*;
use std::collections::BTreeSet;

#[test]
fn an_interface_of_another_subnet_is_given_back_once_it_is_empty_and_rested() {
    let mut pool = pool(node(), [primary(0), secondary(1, "subnet-node", 2)]);
    pool.allocate(owner("a"), AT).unwrap();
    pool.draw_from(config(&["subnet-pods"]));
    let released =
        |pool: &Pool, now| pool.plan(now).actions.contains(&Action::DeleteEni { eni: id(1) });

    assert!(!released(&pool, AT), "it is in use");
    pool.release(&owner("a"), AT);
    assert!(!released(&pool, AT), "its address rests");
    assert!(released(&pool, AT + TARGETS.cooldown));
}

#[test]
fn an_interface_that_somebody_else_attached_is_never_given_back() {
    let (id, eni) = secondary(1, "subnet-other", 2);
    let foreign = Eni { ownership: Ownership::Foreign, ..eni };
    let pool = pool(config(&["subnet-pods"]), [primary(0), (id, foreign)]);

    assert_eq!(pool.plan(AT).actions, [attach(2, "subnet-pods", Amount::Addresses(9))]);
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
fn surplus_stays_for_the_hold_and_then_goes() {
    let targets = Targets { warm_addresses: Some(2), ..TARGETS };
    let mut pool = with_targets(targets, node(), [primary(6)]);
    for pod in 0..4 {
        pool.allocate(owner(pod), AT).unwrap();
    }
    for pod in 0..4 {
        pool.release(&owner(pod), Time(Duration::from_secs(60)));
    }

    let before = Time(Duration::from_secs(60) + HOLD - Duration::from_secs(1));
    assert_eq!(pool.plan(before).actions, []);
    let after = pool.plan(before).wake_at.unwrap();
    let Action::Unassign { blocks, .. } = &pool.plan(after).actions[0] else {
        panic!("no unassign")
    };
    assert_eq!(blocks.len(), 4);
    assert_eq!(pool.plan(after).reason, Reason::Surplus);
}

#[test]
fn a_minimum_is_never_undercut() {
    let targets = Targets { warm_addresses: Some(1), minimum_addresses: Some(5), ..TARGETS };
    let pool = with_targets(targets, node(), [primary(9)]);

    let Action::Unassign { blocks, .. } = &pool.plan(AT).actions[0] else { panic!("no unassign") };

    assert_eq!(blocks.len(), 4);
}

#[test]
fn resting_and_quarantined_addresses_are_not_given_back() {
    let targets = Targets { warm_addresses: Some(0), ..TARGETS };
    let mut pool = with_targets(targets, node(), [primary(3)]);

    pool.restore_cooling(address(0, 1), AT);
    pool.quarantine(address(0, 2), [].into());

    let blocks = [Block::Address(address(0, 3))].into();
    assert_eq!(pool.plan(AT).actions, [Action::Unassign { eni: id(0), blocks }]);
}

#[test]
fn a_prefix_with_a_pod_stays_and_empty_ones_beyond_the_target_go() {
    let targets = Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS };
    let mut pool = with_targets(targets, node(), [prefixed(0, "subnet-node", 4)]);
    pool.allocate(owner("a"), AT).unwrap();

    let Action::Unassign { blocks, .. } = pool.plan(AT).actions.remove(0) else {
        panic!("no unassign")
    };

    assert_eq!(blocks.len(), 2);
    let used = pool.allocate(owner("a"), AT).unwrap().address;
    assert!(!blocks.iter().flat_map(|block| block.addresses()).any(|address| address == used));
}

#[test]
fn whole_interfaces_go_in_eni_mode_and_only_when_a_warm_one_is_left() {
    let three = [primary(9), secondary(1, "subnet-node", 9), secondary(2, "subnet-node", 9)];
    let pool = pool(node(), three);

    assert_eq!(pool.plan(AT).actions, [Action::DeleteEni { eni: id(1) }]);
}

#[test]
fn the_last_interface_of_the_pods_subnet_stays() {
    let targets = Targets { warm_enis: 0, ..TARGETS };
    let pool = with_targets(
        targets,
        config(&["subnet-pods"]),
        [primary(0), secondary(1, "subnet-pods", 9)],
    );

    assert_eq!(pool.plan(AT).actions, []);
}

// Users' pain: with WARM_IP_TARGET every pod that came and went cost two calls of EC2.
#[test]
fn pods_that_come_and_go_cost_no_call_in_any_mode() {
    let all = [
        TARGETS,
        Targets { warm_addresses: Some(2), ..TARGETS },
        Targets { warm_addresses: Some(1), minimum_addresses: Some(4), ..TARGETS },
        Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS },
        Targets { mode: Mode::Prefixes, warm_addresses: Some(3), ..TARGETS },
    ];
    for targets in all {
        let mut node = world::World::new(targets, LIMITS, node());
        node.run_to_rest();
        // Once through, so that as much is held as the churn needs.
        churn(&mut node, 1);
        node.calls = 0;

        churn(&mut node, 20);

        assert_eq!(node.calls, 0, "{targets:?}");
    }
}

/// Six pods start and end, every minute.
fn churn(node: &mut world::World, rounds: usize) {
    for _ in 0..rounds {
        for pod in 0..6 {
            node.start_pod(owner(pod));
        }
        node.pass(Duration::from_secs(30));
        for pod in 0..6 {
            node.end_pod(&owner(pod));
        }
        node.pass(Duration::from_secs(30));
    }
}

#[test]
fn what_is_given_back_is_not_asked_for_at_once() {
    let targets = Targets { warm_addresses: Some(3), ..TARGETS };
    let mut node = world::World::new(targets, LIMITS, node());
    for pod in 0..20 {
        node.start_pod(owner(pod));
    }
    node.run_to_rest();
    for pod in 0..20 {
        node.end_pod(&owner(pod));
    }
    let mut held = BTreeSet::new();

    for _ in 0..40 {
        node.pass(Duration::from_secs(30));
        held.insert(node.addresses());
    }

    // Down, never up again.
    let flaps = node.history.windows(2).filter(|pair| pair[0] > pair[1] && pair[1] < 20).count();
    let rises = node
        .history
        .windows(2)
        .skip_while(|pair| pair[0] <= pair[1])
        .filter(|pair| pair[1] > pair[0]);
    assert_eq!(rises.count(), 0, "{:?}", node.history);
    assert!(flaps > 0, "{:?}", node.history);
    assert_eq!(node.addresses(), 3);
}

#[test]
fn an_interface_stays_while_a_pod_has_an_address_of_it_that_is_not_seen() {
    let mut pool = pool(node(), [primary(0), secondary(1, "subnet-node", 2)]);
    pool.allocate(owner("a"), AT).unwrap();
    pool.draw_from(config(&["subnet-pods"]));
    let release = Action::DeleteEni { eni: id(1) };

    pool.observe([primary(0), secondary(1, "subnet-node", 0)].into(), AT);

    assert!(!pool.plan(AT).actions.contains(&release), "a view without it is no proof");
    pool.release(&owner("a"), AT);
    assert!(pool.plan(AT + TARGETS.cooldown).actions.contains(&release));
}
