//! What an explanation says, and that it says the same as the plan.

use super::*;

#[test]
fn a_node_with_something_of_everything_is_explained() {
    let targets = Targets { warm_addresses: Some(4), ..TARGETS };
    let with = |(id, eni): (EniId, Eni), ownership| (id, Eni { ownership, ..eni });
    let (coming, eni) = secondary(6, "subnet-b", 1);
    let enis = [
        primary(2),
        secondary(1, "subnet-a", 9),
        secondary(2, "subnet-old", 3),
        with(secondary(3, "subnet-a", 0), Ownership::Unmanaged),
        with(secondary(4, "subnet-a", 2), Ownership::Foreign),
        with(secondary(5, "subnet-old", 2), Ownership::Unknown),
        (coming, Eni { readiness: Readiness::Coming, ..eni }),
    ];
    let limits = Limits { enis: 8, max_enis: Some(7), ..LIMITS };
    let mut pool = Pool::new(targets, limits, node());
    pool.observe(enis.into(), AT);
    let old = Allocation { address: address(0, 1), eni: id(0) };
    pool.restore(owner("old"), old, AT).unwrap();
    pool.draw_from(config(&["subnet-a", "subnet-b"]));
    for pod in 0..9 {
        pool.allocate(owner(pod), AT).unwrap();
    }
    pool.release(&owner(0), AT);
    pool.restore_cooling(address(2, 1), AT + Duration::from_secs(3));
    pool.quarantine(address(5, 1), [].into());
    pool.set_waiting(2);
    let growth = assign(id(4), Amount::Addresses(3));
    pool.refused(&growth, refusal(Cause::NoAddresses), AT);
    pool.set_expected(1);

    check(&pool, AT + Duration::from_secs(4), include_str!("explained/everything.txt"));
}

#[test]
fn a_node_at_rest_is_explained() {
    let targets = Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS };
    let mut pool = with_targets(targets, node(), [prefixed(0, "subnet-node", 2)]);
    for pod in 0..3 {
        pool.allocate(owner(pod), AT).unwrap();
    }

    check(&pool, AT, include_str!("explained/at_rest.txt"));
}

#[test]
fn a_node_without_a_source_is_explained() {
    let mut pool = pool(node(), [primary(0), secondary(1, "subnet-node", 2)]);
    pool.draw_from(Source::Missing { why: "no ENIConfig us-west-2a".into() });

    check(&pool, AT, include_str!("explained/no_source.txt"));
}

/// Pods come and go and calls are refused, in the same way in every run.
#[test]
fn each_interface_has_a_reason_for_what_is_not_planned_and_none_for_what_is() {
    for (row, targets) in [
        ("interfaces", TARGETS),
        ("addresses", Targets { warm_addresses: Some(2), ..TARGETS }),
        ("prefixes", Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS }),
    ] {
        let mut world = world::World::new(targets, LIMITS, config(&["subnet-a"]));
        let mut dice = 1_u64;
        let mut planned = 0;
        for step in 0..300 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pods = usize::try_from(dice >> 33).unwrap() % 20;
            world.pool.set_waiting(pods % 3);
            world.pool.set_expected(pods);
            let explained = world.pool.explain(world.now);
            assert_eq!(explained.plan, world.pool.plan(world.now), "{row}, step {step}");
            for report in &explained.interfaces {
                let plans = |kind| report.planned.iter().any(|action| action.kind() == kind);
                assert_eq!(
                    report.not_grown.is_none(),
                    plans(ActionKind::Assign),
                    "{row}, {step}: {report:?}"
                );
                assert_eq!(
                    report.kept.is_none(),
                    plans(ActionKind::DeleteEni),
                    "{row}, {step}: {report:?}"
                );
                assert_eq!(
                    report.blocks_kept.is_none(),
                    plans(ActionKind::Unassign),
                    "{row}, {step}: {report:?}"
                );
                planned += report.planned.len();
            }
            world.run_to_rest();
            world.pass(Duration::from_secs(5));
        }
        assert!(planned > 10, "{row}: only {planned} actions");
    }
}

#[track_caller]
fn check(pool: &Pool, now: Time, want: &str) {
    let text = pool.explain(now).to_string();

    assert_eq!(text, want, "\n{text}");
}
