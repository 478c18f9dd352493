//! Which interfaces serve new pods, which are grown and which are given back.

use super::*;
use NotServing::{OriginUnknown, OtherGroups, OtherSubnet, Primary, Unmanaged};
use Ownership::{Foreign, NotForPods, Ours, Unknown};

#[test]
fn without_custom_networking_every_interface_serves_that_is_not_to_be_left_alone() {
    let check = |row, eni, want| check_serving(row, &node(), &eni, want);
    check("the primary", of(Ours, primary(2)), None);
    check("ours", of(Ours, secondary(1, "subnet-node", 2)), None);
    check("ours elsewhere", of(Ours, secondary(1, "subnet-b", 2)), None);
    check("ours, other groups", regrouped(of(Ours, secondary(1, "subnet-node", 2))), None);
    check("somebody's", of(Foreign, secondary(1, "subnet-b", 2)), None);
    let grouped = regrouped(of(Foreign, secondary(1, "subnet-b", 2)));
    check("somebody's, other groups", grouped, Some(OtherGroups));
    check("tagged", of(Ownership::Unmanaged, secondary(1, "subnet-node", 2)), Some(Unmanaged));
    check("no IPv4", of(NotForPods, secondary(1, "", 0)), Some(NotServing::NotForPods));
    check("as if for pods", of(Unknown, secondary(1, "subnet-node", 2)), Some(OriginUnknown));
    check("another subnet", of(Unknown, secondary(1, "subnet-b", 2)), Some(OriginUnknown));
    let grouped = regrouped(of(Unknown, secondary(1, "subnet-node", 2)));
    check("other groups", grouped, Some(OriginUnknown));
}

#[test]
fn with_custom_networking_those_serve_that_are_in_a_subnet_of_the_eniconfig() {
    let check = |row, eni, want| check_serving(row, &config(&["subnet-a", "subnet-b"]), &eni, want);
    check("the primary", of(Ours, primary(2)), Some(Primary));
    check("the primary, in place", of(Ours, secondary(0, "subnet-a", 2)), Some(Primary));
    check("the first subnet", of(Ours, secondary(1, "subnet-a", 2)), None);
    check("the second subnet", of(Ours, secondary(1, "subnet-b", 2)), None);
    check("elsewhere", of(Ours, secondary(1, "subnet-node", 2)), Some(OtherSubnet));
    check("ours, other groups", regrouped(of(Ours, secondary(1, "subnet-a", 2))), None);
    check("somebody's", of(Foreign, secondary(1, "subnet-a", 2)), None);
    let grouped = regrouped(of(Foreign, secondary(1, "subnet-a", 2)));
    check("somebody's, other groups", grouped, Some(OtherGroups));
    check("somebody's, elsewhere", of(Foreign, secondary(1, "subnet-c", 2)), Some(OtherSubnet));
    check("tagged", of(Ownership::Unmanaged, secondary(1, "subnet-c", 2)), Some(Unmanaged));
    check("no IPv4", of(NotForPods, secondary(1, "", 0)), Some(NotServing::NotForPods));
    check("as if for pods", of(Unknown, secondary(1, "subnet-b", 2)), Some(OriginUnknown));
    let grouped = regrouped(of(Unknown, secondary(1, "subnet-a", 2)));
    check("other groups", grouped, Some(OriginUnknown));
    check("unknown, elsewhere", of(Unknown, secondary(1, "subnet-c", 2)), Some(OtherSubnet));
}

#[test]
fn nothing_serves_while_the_source_is_missing() {
    let missing = Source::Missing { why: String::new() };
    let check = |row, eni, want| check_serving(row, &missing, &eni, Some(want));
    check("the primary", of(Ours, primary(2)), NotServing::NoSource);
    check("ours", of(Ours, secondary(1, "subnet-a", 2)), NotServing::NoSource);
    check("somebody's", of(Foreign, secondary(1, "subnet-a", 2)), NotServing::NoSource);
    check("unknown", of(Unknown, secondary(1, "subnet-a", 2)), NotServing::NoSource);
    check("tagged", of(Ownership::Unmanaged, secondary(1, "subnet-a", 2)), Unmanaged);
}

#[test]
fn an_interface_that_is_not_grown_has_a_reason() {
    let warm = Targets { warm_addresses: Some(3), ..TARGETS };
    let grown = |row, pool: Pool, want| assert_eq!(report(&pool, 1).not_grown, want, "{row}");
    let pool = |eni| with_targets(warm, config(&["subnet-a"]), [primary(0), eni]);
    let ours = |addresses| secondary(1, "subnet-a", addresses);
    grown("it is grown", pool(ours(2)), None);
    grown("enough", pool(ours(3)), Some(NotGrown::Enough));
    grown("elsewhere", pool(secondary(1, "subnet-b", 2)), Some(NotGrown::NotServing(OtherSubnet)));
    let mut full = pool(ours(9));
    full.set_waiting(8);
    grown("full", full, Some(NotGrown::Full { blocks: 9 }));
    let mut busy = pool(ours(2));
    busy.started(&Action::SetGroups { eni: id(1), groups: groups() });
    grown("busy", busy, Some(NotGrown::UnderWay(ActionKind::SetGroups)));
    let mut leaving = pool(ours(2));
    leaving.started(&Action::DeleteEni { eni: id(1) });
    grown("leaving", leaving, Some(NotGrown::NotServing(NotServing::Leaving)));
    let mut refused = pool(ours(2));
    refused.refused(&assign(id(1), Amount::Addresses(1)), refusal(Cause::Denied), AT);
    let pause = |paused, cause, seconds| Pause {
        paused,
        refusal: refusal(cause),
        until: AT + Duration::from_secs(seconds),
    };
    let denied = pause(Paused::Action(ActionKind::Assign), Cause::Denied, 60);
    grown("refused", refused, Some(NotGrown::Paused(denied)));
    let mut exhausted = pool(ours(2));
    exhausted.refused(&assign(id(1), Amount::Addresses(1)), refusal(Cause::NoAddresses), AT);
    let full = pause(Paused::Subnet("subnet-a".into()), Cause::NoAddresses, 10);
    grown("the subnet is full", exhausted, Some(NotGrown::Paused(full)));
    let fuller = [primary(0), ours(1), secondary(2, "subnet-a", 1)];
    let mut two = with_targets(warm, config(&["subnet-a"]), fuller);
    two.restore(owner("a"), Allocation { address: address(1, 1), eni: id(1) }, AT).unwrap();
    grown("the first of two alike", two.clone(), None);
    assert_eq!(report(&two, 2).not_grown, Some(NotGrown::OthersFirst));
}

#[test]
fn an_interface_that_stays_has_a_reason() {
    let kept = |row, pool: &Pool, want| assert_eq!(report(pool, 1).kept, want, "{row}");
    let three = |eni| pool(config(&["subnet-a"]), [primary(9), eni, secondary(2, "subnet-a", 9)]);
    let ours = || secondary(1, "subnet-a", 4);
    let (id_1, eni) = ours();
    kept("it goes", &pool_of_three(9), None);
    kept("somebody's", &three((id_1.clone(), of(Foreign, ours()))), Some(Kept::NotOurs(Foreign)));
    kept("unknown", &three((id_1.clone(), of(Unknown, ours()))), Some(Kept::OriginUnknown));
    let coming = Eni { readiness: Readiness::Coming, ..eni };
    kept("not set up", &three((id_1, coming)), Some(Kept::NotReady));
    let held = Allocation { address: address(1, 1), eni: id(1) };
    let used = with(&|pool| pool.restore(owner("a"), held.clone(), AT).unwrap());
    kept("in use", &used, Some(Kept::InUse { pods: 1 }));
    let mistaken = Allocation { address: address(1, 1), eni: id(7) };
    let elsewhere = with(&|pool| pool.restore(owner("a"), mistaken.clone(), AT).unwrap());
    kept("in use by a record of another", &elsewhere, Some(Kept::InUse { pods: 1 }));
    let cools = with(&|pool| {
        pool.restore_cooling(address(1, 1), AT);
        pool.restore_cooling(address(1, 2), AT + Duration::from_secs(2));
    });
    let until = AT + Duration::from_secs(32);
    kept("cooling", &cools, Some(Kept::Cooling { addresses: 2, until }));
    let busy = with(&|pool| pool.started(&Action::SetGroups { eni: id(1), groups: groups() }));
    kept("busy", &busy, Some(Kept::UnderWay(ActionKind::SetGroups)));
    let waiting = with(&|pool| pool.set_waiting(1));
    kept("a pod waits", &waiting, Some(Kept::PodsWait { pods: 1 }));
    let missing = with(&|pool| pool.set_expected(20));
    kept("short", &missing, Some(Kept::Short));
    let comes = with(&|pool| pool.started(&attach(3, "subnet-a", Amount::Addresses(9))));
    kept("growing", &comes, Some(Kept::Coming));
    kept("just spare", &three(ours()), None);
    let needed = pool(config(&["subnet-a"]), [primary(0), ours(), secondary(2, "subnet-a", 8)]);
    kept("needed", &needed, Some(Kept::Needed { spare: 3 }));
    let last = Targets { warm_enis: 0, ..TARGETS };
    let last = with_targets(last, config(&["subnet-a"]), [primary(9), ours()]);
    kept("the last", &last, Some(Kept::Last));
    let peak = with(&|pool| {
        pool.restore(owner("a"), Allocation { address: address(2, 1), eni: id(2) }, AT).unwrap();
        pool.release(&owner("a"), AT + Duration::from_secs(2));
        pool.targets.cooldown = Duration::ZERO;
    });
    let report_later = |pool: &Pool| {
        let at = AT + Duration::from_secs(2);
        pool.explain(at).interfaces.into_iter().nth(1).unwrap().kept
    };
    let until = Some(AT + Duration::from_secs(2) + HOLD);
    assert_eq!(report_later(&peak), Some(Kept::RecentPeak { in_use: 1, until }), "used lately");
    let refused =
        with(&|pool| pool.refused(&Action::DeleteEni { eni: id(1) }, refusal(Cause::Denied), AT));
    let pause = Pause {
        paused: Paused::Action(ActionKind::DeleteEni),
        refusal: refusal(Cause::Denied),
        until: AT + Duration::from_secs(60),
    };
    kept("refused", &refused, Some(Kept::Paused(pause)));
    let missing = with(&|pool| pool.draw_from(Source::Missing { why: String::new() }));
    kept("no source", &missing, Some(Kept::NoSource));
    let second = pool_of_three(9);
    assert_eq!(report(&second, 2).kept, Some(Kept::OthersFirst), "the second of two alike");
    assert_eq!(report(&second, 0).kept, Some(Kept::Primary), "the primary");
}

#[test]
fn an_interface_stays_that_may_carry_a_quarantined_address() {
    let kept = |row, pool: &Pool, want| assert_eq!(report(pool, 1).kept, want, "{row}");
    let quarantined = with(&|pool| pool.quarantine(address(1, 1), [].into()));
    kept("quarantined", &quarantined, Some(Kept::Quarantined { addresses: 1 }));
    let unseen = |may_carry| with(&|pool| pool.quarantine(address(7, 7), [id(may_carry)].into()));
    kept("may carry one", &unseen(1), Some(Kept::Quarantined { addresses: 1 }));
    kept("another may carry one", &unseen(2), None);
    let late = with(&|pool| {
        pool.quarantine(address(1, 1), [].into());
        let seen = [primary(9), secondary(1, "subnet-a", 0), secondary(2, "subnet-a", 9)];
        pool.observe(seen.into(), AT);
    });
    kept("quarantined, and not seen any more", &late, Some(Kept::Quarantined { addresses: 1 }));
    let gone = with(&|pool| {
        pool.quarantine(address(7, 7), [id(1)].into());
        pool.unquarantine(address(7, 7), AT);
    });
    kept("quarantined no more", &gone, None);
}

#[test]
fn an_interface_carries_what_pods_have_of_it_by_record_or_view_and_what_may_be_somebodys() {
    let check = |row, change: &dyn Fn(&mut Pool), want| {
        let mut pool = pool(config(&["subnet-a"]), [primary(2), secondary(1, "subnet-a", 2)]);
        change(&mut pool);
        assert_eq!(pool.carries(&id(1)), want, "{row}");
    };
    let held = |eni, host| Allocation { address: address(1, host), eni: id(eni) };
    let restore = |pool: &mut Pool, allocation| pool.restore(owner("a"), allocation, AT).unwrap();
    check("nothing", &|_| {}, false);
    check("a pod's address", &|it| restore(it, held(1, 1)), true);
    check("one that is not seen", &|it| restore(it, held(1, 9)), true);
    check("one that is recorded with another", &|it| restore(it, held(0, 2)), true);
    check("another's", &|it| restore(it, Allocation { address: address(0, 1), eni: id(0) }), false);
    check("it may carry one", &|it| it.quarantine(address(7, 7), [id(1)].into()), true);
    check("another may", &|it| it.quarantine(address(7, 7), [id(0)].into()), false);
    check("it cools", &|it| it.restore_cooling(address(1, 1), AT), false);
}

/// Three interfaces of which one goes, but for what was done to the pool.
fn with(change: &dyn Fn(&mut Pool)) -> Pool {
    let mut pool = pool_of_three(9);
    change(&mut pool);
    pool
}

#[test]
fn what_may_carry_a_quarantined_address_is_what_shows_it_and_else_what_may() {
    let carries = |pool: &Pool| {
        pool.quarantined().next().map(|(_, may)| may.iter().cloned().collect::<Vec<_>>())
    };
    let mut pool = pool(config(&["subnet-a"]), [primary(9), secondary(1, "subnet-a", 0)]);

    pool.quarantine(address(1, 1), [id(1), id(2)].into());
    assert_eq!(carries(&pool), Some(vec![id(1), id(2)]), "none shows it");
    pool.observe([primary(9), prefixed(1, "subnet-a", 1)].into(), AT);
    assert_eq!(carries(&pool), Some(vec![id(1), id(2)]), "none shows it still");
    pool.observe([primary(9), secondary(1, "subnet-a", 1)].into(), AT);
    assert_eq!(carries(&pool), Some(vec![id(1)]), "one shows it");
    pool.observe([primary(9)].into(), AT);
    assert_eq!(carries(&pool), Some(vec![id(1)]), "it is not seen any more");
    pool.quarantine(address(1, 1), [].into());
    assert_eq!(carries(&pool), Some(vec![id(1)]), "quarantined again");
    pool.unquarantine(address(1, 1), AT);
    assert_eq!(carries(&pool), None, "nobody has it");
}

#[test]
fn blocks_that_stay_have_a_reason() {
    let kept = |row, pool: &Pool, want| assert_eq!(report(pool, 1).blocks_kept, want, "{row}");
    let warm = Targets { warm_addresses: Some(2), ..TARGETS };
    let pool = |targets, eni| with_targets(targets, config(&["subnet-a"]), [primary(0), eni]);
    let ours = |addresses| secondary(1, "subnet-a", addresses);
    let with = |ownership| (id(1), of(ownership, ours(3)));
    kept("some go", &pool(warm, ours(3)), None);
    kept("needed", &pool(warm, ours(2)), Some(Kept::Needed { spare: 0 }));
    kept("whole ones only", &pool(TARGETS, ours(9)), Some(Kept::WholeOnly));
    kept("elsewhere", &pool(warm, secondary(1, "subnet-b", 9)), Some(Kept::WholeOnly));
    kept("somebody's", &pool(warm, with(Foreign)), Some(Kept::NotOurs(Foreign)));
    kept("unknown", &pool(warm, with(Unknown)), Some(Kept::WholeOnly));
    let mut busy = pool(warm, ours(3));
    busy.started(&Action::SetGroups { eni: id(1), groups: groups() });
    kept("busy", &busy, Some(Kept::UnderWay(ActionKind::SetGroups)));
    let zero = Targets { warm_addresses: Some(0), ..TARGETS };
    let mut used = pool(zero, ours(1));
    used.allocate(owner("a"), AT).unwrap();
    kept("none is free", &used, Some(Kept::NoFreeBlock));
    let prefixes = Targets { mode: Mode::Prefixes, ..warm };
    let whole = pool(prefixes, prefixed(1, "subnet-a", 1));
    kept("a prefix does not fit", &whole, Some(Kept::Needed { spare: 14 }));
    let mut refused = pool(warm, ours(3));
    let blocks = [Block::Address(address(1, 1))].into();
    let unassign = Action::Unassign { eni: id(1), blocks };
    refused.refused(&unassign, refusal(Cause::Denied), AT);
    let Some(Kept::Paused(pause)) = report(&refused, 1).blocks_kept else { panic!() };
    assert_eq!(pause.paused, Paused::Action(ActionKind::Unassign));
    let fuller = [primary(0), ours(3), secondary(2, "subnet-a", 3)];
    let mut two = with_targets(warm, config(&["subnet-a"]), fuller);
    two.restore(owner("a"), Allocation { address: address(1, 1), eni: id(1) }, AT).unwrap();
    two.restore(owner("b"), Allocation { address: address(2, 1), eni: id(2) }, AT).unwrap();
    two.restore(owner("c"), Allocation { address: address(1, 2), eni: id(1) }, AT).unwrap();
    kept("the fuller one", &two, Some(Kept::OthersFirst));
    assert_eq!(report(&two, 2).blocks_kept, None, "the emptier one");
}

#[test]
fn a_slot_that_is_not_used_has_a_reason() {
    let none = |row, pool: &Pool, want| assert_eq!(pool.explain(AT).not_attached, want, "{row}");
    let one = || pool(config(&["subnet-a"]), [primary(0)]);
    none("it is used", &one(), None);
    let at_rest = pool(config(&["subnet-a"]), [primary(0), secondary(1, "subnet-a", 9)]);
    none("enough", &at_rest, Some(NotAttached::Enough));
    let room = pool(config(&["subnet-a"]), [primary(0), secondary(1, "subnet-a", 8)]);
    none("room elsewhere", &room, Some(NotAttached::OthersFirst));
    let enis = [primary(9), secondary(1, "subnet-node", 9), secondary(2, "subnet-node", 9)];
    let mut full = pool(node(), enis);
    full.set_waiting(28);
    let no_slot = || Some(NotAttached::NoSlot(slots(3, &[])));
    none("no slot", &full, no_slot());
    let another = attach(3, "subnet-node", Amount::Addresses(9));
    full.refused(&another, refusal(Cause::Limit), AT);
    none("no slot, and another was refused", &full, no_slot());
    full.reopen(&Action::Settle { eni: id(2) });
    none("no slot, and something else is open", &full, no_slot());
    full.left_open(&another, refusal(Cause::Limit), AT);
    let Some(NotAttached::Paused(pause)) = full.explain(AT).not_attached else { panic!() };
    assert_eq!(pause.paused, Paused::Action(ActionKind::Attach), "it has a slot, and rests");
    let somebodys = (id(2), of(Foreign, secondary(2, "subnet-node", 9)));
    let mut shared = pool(node(), [primary(9), secondary(1, "subnet-node", 9), somebodys]);
    shared.set_waiting(28);
    let of_others = Slots { of_others: 1, ..slots(3, &[]) };
    none("somebody has a slot", &shared, Some(NotAttached::NoSlot(of_others)));
    let missing = pool(Source::Missing { why: String::new() }, [primary(0)]);
    none("no source", &missing, Some(NotAttached::NoSource));
    none("no subnet", &pool(config(&[]), [primary(0)]), Some(NotAttached::NoSource));
    let unknown = (id(1), of(Unknown, secondary(1, "subnet-a", 0)));
    let unknown = pool(config(&["subnet-a"]), [primary(0), unknown]);
    none("asking whose", &unknown, Some(NotAttached::Inspecting));
    let several = pool(config(&["subnet-a", "subnet-b"]), [primary(0)]);
    none("counting", &several, Some(NotAttached::Counting));
    let paused = |subnet: Option<&str>, cause| {
        let mut pool = one();
        let refused = attach(1, "subnet-a", Amount::Addresses(9));
        pool.refused(&refused, refusal(cause), AT);
        let Some(NotAttached::Paused(pause)) = pool.explain(AT).not_attached else { panic!() };
        let kind = Paused::Action(ActionKind::Attach);
        assert_eq!(pause.paused, subnet.map_or(kind, |it| Paused::Subnet(it.into())));
    };
    paused(None, Cause::Limit);
    paused(Some("subnet-a"), Cause::NoAddresses);
}

#[test]
fn a_node_that_cannot_grow_says_what_that_waits_for() {
    let stuck = |row, pool: &Pool, want| assert_eq!(pool.plan(AT).reason, want, "{row}");
    let enis = || [primary(9), secondary(1, "subnet-node", 9), secondary(2, "subnet-node", 8)];
    let with = |action: &Action, waiting| {
        let mut pool = pool(node(), enis());
        pool.set_waiting(waiting);
        pool.started(action);
        pool
    };
    let regroups = |nth| Action::SetGroups { eni: id(nth), groups: groups() };
    stuck("room on a busy one", &with(&regroups(2), 27), Reason::Changing);
    stuck("one that leaves", &with(&Action::DeleteEni { eni: id(1) }, 20), Reason::Short(12));
    let full = Reason::Full(slots(3, &[]));
    let mut busy =
        pool(node(), [primary(9), secondary(1, "subnet-node", 9), secondary(2, "subnet-node", 9)]);
    busy.set_waiting(30);
    stuck("full", &busy, full.clone());
    busy.started(&regroups(2));
    stuck("full, and busy", &busy, full);
    busy.started(&Action::DeleteEni { eni: id(1) });
    stuck("full, but one leaves", &busy, Reason::Changing);
    let no_subnet = "no subnet for new interfaces is known".into();
    stuck("no subnet", &pool(config(&[]), [primary(0)]), Reason::NoSource { why: no_subnet });
}

#[test]
fn security_groups_are_set_where_they_differ_on_free_interfaces_of_ours() {
    let sets = |row, eni: Eni, change: &dyn Fn(&mut Pool), want| {
        let mut pool = pool(node(), [primary(9), (id(1), eni), secondary(2, "subnet-node", 9)]);
        // Nothing is to be given back meanwhile.
        pool.set_expected(18);
        change(&mut pool);
        let set = Action::SetGroups { eni: id(1), groups: groups() };
        assert_eq!(pool.plan(AT).actions.contains(&set), want, "{row}");
    };
    let (right, other) = (secondary(1, "subnet-node", 9), regrouped);
    let ours = || other(of(Ours, right.clone()));
    let same = |_: &mut Pool| {};
    sets("they differ", ours(), &same, true);
    sets("they are right", of(Ours, right.clone()), &same, false);
    sets("somebody's", other(of(Foreign, right.clone())), &same, false);
    sets("the primary", Eni { device_index: 0, ..ours() }, &same, false);
    let set = Action::SetGroups { eni: id(1), groups: groups() };
    sets("busy", ours(), &|it| it.started(&set), false);
    let end = Action::EndWithInstance { eni: id(1) };
    sets("busy with what is in the way of nothing", ours(), &|it| it.started(&end), true);
    sets("refused", ours(), &|it| it.refused(&set, refusal(Cause::Denied), AT), false);
    let none = Supply { subnets: vec!["subnet-node".into()], groups: [].into() };
    let pool = pool(Source::Node(none), [secondary(1, "subnet-node", 9)]);
    assert_eq!(pool.plan(AT).actions, [], "no groups are known");
}

#[test]
fn interfaces_of_ours_end_with_the_instance_unless_they_leave_before() {
    let ends = |row, eni: Eni, change: &dyn Fn(&mut Pool), want| {
        let mut pool = pool(node(), [primary(9), (id(1), eni)]);
        change(&mut pool);
        let end = Action::EndWithInstance { eni: id(1) };
        assert_eq!(pool.plan(AT).actions.contains(&end), want, "{row}");
    };
    let leaks = |eni| Eni { lifetime: Lifetime::Own, ..eni };
    let ours = || leaks(of(Ours, secondary(1, "subnet-node", 9)));
    let same = |_: &mut Pool| {};
    ends("it would stay", ours(), &same, true);
    ends("it ends", of(Ours, secondary(1, "subnet-node", 9)), &same, false);
    ends("somebody's", leaks(of(Foreign, secondary(1, "subnet-node", 9))), &same, false);
    let leave = |it: &mut Pool| it.started(&Action::DeleteEni { eni: id(1) });
    ends("it leaves", ours(), &leave, false);
    let busy = |it: &mut Pool| it.started(&assign(id(1), Amount::Addresses(1)));
    ends("it grows", ours(), &busy, true);
    let asked = |it: &mut Pool| it.started(&Action::EndWithInstance { eni: id(1) });
    ends("it is asked for", ours(), &asked, false);
}

fn pool_of_three(addresses: u8) -> Pool {
    let enis =
        [primary(0), secondary(1, "subnet-a", addresses), secondary(2, "subnet-a", addresses)];
    pool(config(&["subnet-a"]), enis)
}

fn of(ownership: Ownership, (_, eni): (EniId, Eni)) -> Eni {
    Eni { ownership, ..eni }
}

fn regrouped(eni: Eni) -> Eni {
    Eni { groups: ["sg-9".to_owned()].into(), ..eni }
}

fn report(pool: &Pool, device_index: u32) -> InterfaceReport {
    let mut reports = pool.explain(AT).interfaces.into_iter();
    reports.find(|report| report.device_index == device_index).unwrap()
}

#[track_caller]
fn check_serving(row: &str, source: &Source, eni: &Eni, want: Option<NotServing>) {
    assert_eq!(source.not_serving(eni), want, "{row}");
    assert_eq!(source.serves(eni), want.is_none(), "{row}");
}
