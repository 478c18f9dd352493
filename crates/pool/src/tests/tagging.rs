//! Which interfaces get tags, and what waits for that.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn interfaces_that_lack_the_same_get_it_in_one_call() {
    let mut pool = pool(node(), [primary(5), secondary(1, "subnet-node", 4)]);

    pool.set_untagged([(id(0), tags("c1")), (id(1), tags("c1"))].into());

    assert_eq!(pool.plan(AT).actions, [tag(&[0, 1], "c1")]);
    assert_eq!(pool.plan(AT).reason, Reason::Changing);
}

#[test]
fn an_interface_that_lacks_tags_is_changed_by_nothing_else_before_it_has_them() {
    let mut pool = pool(node(), [primary(0)]);
    pool.set_untagged([(id(0), tags("c1"))].into());

    let first = pool.plan(AT).actions;
    for action in &first {
        pool.started(action);
    }
    let meanwhile = pool.plan(AT).actions;
    pool.set_untagged(BTreeMap::new());
    pool.succeeded(&first[0]);

    assert_eq!(first, [tag(&[0], "c1")]);
    assert_eq!(on(&meanwhile, 0), [] as [&Action; 0]);
    assert_eq!(pool.plan(AT).actions, [assign(id(0), Amount::Addresses(9))]);
}

#[test]
fn what_needs_no_tags_does_not_wait_for_them() {
    let mut pool = pool(config(&["subnet-pods"]), [primary(0)]);
    pool.set_untagged([(id(0), tags("c1"))].into());

    let actions = pool.plan(AT).actions;

    assert_eq!(actions, [tag(&[0], "c1"), attach(1, "subnet-pods", Amount::Addresses(9))]);
}

#[test]
fn an_interface_is_tagged_where_it_is_not_known_where_addresses_come_from() {
    let missing = Source::Missing { why: "no ENIConfig".into() };
    let mut pool = pool(missing, [primary(0)]);

    pool.set_untagged([(id(0), tags("c1"))].into());

    assert_eq!(pool.plan(AT).actions, [tag(&[0], "c1")]);
}

#[test]
fn where_ec2_refuses_tags_nothing_waits_for_the_next_try() {
    let mut pool = pool(node(), [primary(0)]);
    pool.set_untagged([(id(0), tags("c1"))].into());
    let action = tag(&[0], "c1");
    pool.started(&action);

    pool.refused(&action, refusal(Cause::Denied), AT);

    let plan = pool.plan(AT);
    assert_eq!(plan.actions, [assign(id(0), Amount::Addresses(9))]);
    let wake_at = plan.wake_at.unwrap();
    assert_eq!(pool.plan(wake_at).actions, [action]);
}

#[test]
fn tags_that_are_on_their_way_beside_another_action_are_not_asked_for_again() {
    let mut pool = pool(node(), [primary(0)]);
    pool.set_untagged([(id(0), tags("c1"))].into());
    // What was refused once is tried again beside what has begun meanwhile.
    pool.started(&assign(id(0), Amount::Addresses(9)));
    let first = pool.plan(AT).actions;
    first.iter().for_each(|action| pool.started(action));

    assert_eq!(first, [tag(&[0], "c1")]);
    assert_eq!(pool.plan(AT).actions, []);
}

#[test]
fn only_what_is_known_to_be_used_is_tagged() {
    let of = |ownership, (id, eni): (EniId, Eni)| (id, Eni { ownership, ..eni });
    let enis = [
        primary(9),
        of(Ownership::Unmanaged, secondary(1, "subnet-node", 9)),
        of(Ownership::Unknown, secondary(2, "subnet-node", 9)),
        of(Ownership::Foreign, secondary(3, "subnet-node", 9)),
    ];
    let mut pool = pool(node(), enis);

    pool.set_untagged((0..4).map(|index| (id(index), tags("c1"))).collect());

    let actions = pool.plan(AT).actions;
    assert_eq!(actions, [tag(&[0, 3], "c1"), Action::Inspect { eni: id(2) }]);
}

#[test]
fn whose_an_interface_is_that_would_get_tags_is_asked_once() {
    let of = |(id, eni): (EniId, Eni)| (id, Eni { ownership: Ownership::Unknown, ..eni });
    let enis = [primary(0), of(secondary(1, "subnet-a", 9)), of(secondary(2, "subnet-old", 9))];
    let mut pool = with_targets(TARGETS, config(&["subnet-a"]), enis);

    pool.set_untagged([(id(1), tags("c1")), (id(2), tags("c1"))].into());

    // Pods and what is left of another subnet are reasons to ask, too.
    let ask = |index| Action::Inspect { eni: id(index) };
    let actions = pool.plan(AT).actions;
    assert_eq!(actions.iter().collect::<BTreeSet<_>>(), [&ask(1), &ask(2)].into());
    assert_eq!(actions.len(), 2);
}

#[test]
fn an_interface_that_is_given_back_gets_no_tags() {
    let mut pool = pool(node(), [primary(9), secondary(1, "subnet-node", 9)]);
    pool.started(&Action::DeleteEni { eni: id(1) });

    pool.set_untagged([(id(1), tags("c1"))].into());

    assert_eq!(on(&pool.plan(AT).actions, 1), [] as [&Action; 0]);
}

/// Actions that change an interface.
fn on(actions: &[Action], device_index: u8) -> Vec<&Action> {
    let of = |action: &&Action| {
        action.eni() == Some(&id(device_index)) || action.tags(&id(device_index))
    };
    actions.iter().filter(of).collect()
}

fn tag(device_indexes: &[u8], cluster: &str) -> Action {
    let enis: BTreeSet<EniId> = device_indexes.iter().copied().map(id).collect();
    Action::Tag { enis, tags: tags(cluster) }
}

fn tags(cluster: &str) -> BTreeMap<String, String> {
    [("cluster".to_owned(), cluster.to_owned())].into()
}
