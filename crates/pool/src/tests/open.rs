//! What was begun and not finished is done again, and nothing else takes its place meanwhile.

use super::*;

#[test]
fn an_interface_that_was_being_made_is_made_again_after_a_pause_and_keeps_its_place() {
    let mut pool = pool(config(&["subnet-a"]), [primary(0)]);
    let first = attach(1, "subnet-a", Amount::Addresses(9));
    assert_eq!(pool.plan(AT).actions, std::slice::from_ref(&first));
    pool.started(&first);

    pool.left_open(&first, refusal(Cause::Unavailable), AT);

    // While it rests nothing is attached at its index, and no other is: the pause is of its kind.
    assert_eq!(pool.plan(AT).actions, []);
    let later = pool.plan(AT).wake_at.unwrap();
    assert_eq!(pool.plan(later).actions, std::slice::from_ref(&first));
    pool.started(&first);
    assert_eq!(pool.plan(later).actions, []);
    pool.succeeded(&first);
    assert_eq!(pool.plan(later).actions, [first], "nothing has come of it, and nothing is open");
}

#[test]
fn what_rests_brings_nothing_soon_and_pods_get_what_they_need_elsewhere() {
    let enis = [primary(0), secondary(1, "subnet-a", 1)];
    let mut pool = with_targets(NOTHING_WARM, config(&["subnet-a"]), enis);
    let open = attach(2, "subnet-a", Amount::Addresses(5));
    pool.left_open(&open, refusal(Cause::Unavailable), AT);
    pool.set_waiting(3);

    let actions = pool.plan(AT).actions;

    assert_eq!(actions, [assign(id(1), Amount::Addresses(2))]);
}

#[test]
fn pods_are_told_the_refusal_for_which_what_was_begun_rests() {
    let mut attaching = pool(config(&["subnet-a"]), [primary(0)]);
    let slots = attaching.limits.allowed_enis();
    for index in 1..u32::try_from(slots).unwrap() {
        let open = attach(index, "subnet-a", Amount::Addresses(9));
        attaching.left_open(&open, refusal(Cause::Unavailable), AT);
    }
    let enis = [primary(0), secondary(1, "subnet-a", 0)];
    let mut assigning = with_targets(NOTHING_WARM, config(&["subnet-a"]), enis);
    assigning.limits.enis = 2;
    let open = assign(id(1), Amount::Addresses(1));
    assigning.left_open(&open, refusal(Cause::Unavailable), AT);
    assigning.set_waiting(1);

    for pool in [&attaching, &assigning] {
        let plan = pool.plan(AT);
        assert_eq!(plan.actions, []);
        assert_eq!(plan.reason.to_string(), refusal(Cause::Unavailable).message);
    }
    let explained = attaching.explain(AT).to_string();
    assert!(explained.contains(&refusal(Cause::Unavailable).message), "{explained}");
}

#[test]
fn what_the_last_daemon_was_giving_back_serves_nobody_and_goes_on_at_once() {
    let enis = [primary(0), secondary(1, "subnet-a", 9), secondary(2, "subnet-a", 9)];
    let mut pool = pool(config(&["subnet-a"]), enis);
    let going = Action::DeleteEni { eni: id(2) };

    pool.reopen(&going);

    assert_eq!(pool.plan(AT).actions, std::slice::from_ref(&going));
    pool.left_open(&going, refusal(Cause::Throttled), AT);
    assert_eq!(pool.plan(AT).actions, []);
    // Nor while it rests.
    for pod in 0..9 {
        assert_eq!(pool.allocate(owner(pod), AT).unwrap().eni, id(1));
    }
    pool.allocate(owner(9), AT).unwrap_err();
}

#[test]
fn without_a_source_what_was_begun_is_finished_all_the_same() {
    let missing = Source::Missing { why: "no ENIConfig".into() };
    let mut pool = pool(missing, [primary(0), secondary(1, "subnet-a", 9)]);
    let going = Action::DeleteEni { eni: id(1) };
    pool.reopen(&going);
    pool.set_unfinished(Unfinished { discarded: [id(7)].into(), unsure: [].into() });

    let actions = pool.plan(AT).actions;

    assert_eq!(actions, [going, Action::Discard { eni: id(7) }]);
}

#[test]
fn an_interface_to_be_deleted_is_tried_again_after_a_pause_unless_it_is_attached_after_all() {
    let mut pool = with_targets(NOTHING_WARM, config(&["subnet-a"]), [primary(0)]);
    let discard = Action::Discard { eni: id(7) };
    pool.set_unfinished(Unfinished { discarded: [id(7)].into(), unsure: [].into() });
    assert_eq!(pool.plan(AT).actions, std::slice::from_ref(&discard));
    pool.started(&discard);
    assert_eq!(pool.plan(AT).actions, []);

    pool.refused(&discard, refusal(Cause::Denied), AT);

    let later = AT + Duration::from_secs(60);
    assert_eq!(pool.plan(AT).actions, []);
    assert_eq!(pool.plan(AT).wake_at, Some(later));
    assert_eq!(pool.plan(later).actions, [discard]);
    pool.observe([primary(0), secondary(7, "subnet-a", 0)].into(), AT);
    let is_discard = |it: &Action| matches!(it, Action::Discard { .. });
    assert!(!pool.plan(later).actions.iter().any(is_discard));
}

#[test]
fn ec2_is_asked_once_what_became_of_a_call_when_its_lists_cannot_be_older() {
    let enis = [primary(0), secondary(1, "subnet-a", 0)];
    let mut pool = with_targets(NOTHING_WARM, config(&["subnet-a"]), enis);
    let unsure = [(id(1), AT), (id(9), AT)].into();
    pool.set_unfinished(Unfinished { discarded: [].into(), unsure });
    let due = AT + CONSISTENCY_WINDOW;

    assert_eq!((pool.plan(AT).actions, pool.plan(AT).wake_at), (vec![], Some(due)));
    // Of one that is not attached there is nothing to know.
    assert_eq!(pool.plan(due).actions, [Action::Settle { eni: id(1) }]);
    assert_eq!(pool.plan(due).wake_at, None, "the time has come");
    pool.started(&assign(id(1), Amount::Addresses(1)));
    assert_eq!(pool.plan(due).actions, [], "what is asked for there asks first");
}
