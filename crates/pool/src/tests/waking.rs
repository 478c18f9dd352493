//! When a plan is to be made again although nothing happens.

use super::*;

#[test]
fn a_plan_is_made_again_when_the_first_thing_ends_that_time_ends() {
    let rest = || pool(node(), [primary(9)]);
    check("nothing is going on", &rest(), 0, None);
    let mut cools = rest();
    cools.restore_cooling(address(0, 1), at(5));
    cools.restore_cooling(address(0, 2), at(3));
    check("the first has cooled", &cools, 5, Some(33));
    check("at that time the second", &cools, 33, Some(35));
    check("all have cooled", &cools, 35, None);
    let mut refused = cools.clone();
    refused.refused(&attach(1, "subnet-node", Amount::Addresses(9)), refusal(Cause::Denied), at(5));
    check("cooling ends before a pause", &refused, 5, Some(33));
    check("a pause is left", &refused, 40, Some(65));
    check("the pause is over", &refused, 65, None);
    let grows = assign(id(0), Amount::Addresses(1));
    refused.refused(&grows, refusal(Cause::NoAddresses), at(6));
    check("a subnet's pause ends before cooling", &refused, 6, Some(16));
    check("at its end the next", &refused, 16, Some(33));
    let mut peak = rest();
    peak.allocate(owner("a"), at(0)).unwrap();
    peak.allocate(owner("b"), at(0)).unwrap();
    peak.release(&owner("a"), at(10));
    check("cooling ends before the hold", &peak, 10, Some(40));
    check("the peak is forgotten", &peak, 40, Some(310));
    check("all is forgotten", &peak, 310, None);
}

#[test]
fn without_a_source_too_it_is_known_when_addresses_have_cooled() {
    let mut pool = pool(Source::Missing { why: String::new() }, [primary(9)]);
    pool.restore_cooling(address(0, 1), AT);

    check("no source", &pool, 1, Some(30));
}

fn at(seconds: u64) -> Time {
    Time(Duration::from_secs(seconds))
}

#[track_caller]
fn check(row: &str, pool: &Pool, now: u64, want: Option<u64>) {
    assert_eq!(pool.plan(at(now)).wake_at, want.map(at), "{row}");
}

#[test]
fn a_node_of_a_large_cluster_tries_again_in_its_own_time() {
    let next = |jitter| {
        let mut pool = pool(node(), [primary(0)]);
        pool.set_jitter(jitter);
        pool.refused(&assign(id(0), Amount::Addresses(9)), refusal(Cause::Throttled), AT);
        pool.plan(AT).wake_at.unwrap()
    };

    let alone = next(Jitter::default());
    let (first, second) =
        (next(Jitter { nodes: 5_000, seed: 1 }), next(Jitter { nodes: 5_000, seed: 2 }));

    assert!(alone <= at(1), "{alone:?}");
    assert!(first > at(1) && second > at(1) && first != second, "{first:?} {second:?}");
}
