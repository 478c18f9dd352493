//! What is missing, by targets, mode, demand and the pods that kubelet lets run.

use super::*;
use crate::stock;
use Setting::{MinimumAddresses, WarmAddresses, WarmEnis, WarmPrefixes};

const NONE: Targets = Targets { warm_enis: 0, ..TARGETS };
const PREFIXES: Targets = Targets { mode: Mode::Prefixes, ..NONE };

#[test]
fn a_target_in_interfaces_is_short_by_whole_ones_and_the_pods_that_use_them_up() {
    check("nothing is wanted", NONE, held(0, 0), 0, None, want(0, 0, 0, WarmEnis));
    check("a pod waits", NONE, held(0, 0), 1, None, want(1, 1, 1, WarmEnis));
    check("it finds one", NONE, held(1, 1), 1, None, want(0, 0, 0, WarmEnis));
    check("one of two finds one", NONE, held(1, 1), 2, None, want(1, 1, 1, WarmEnis));
    check("one warm", TARGETS, held(0, 0), 0, None, want(9, 0, 9, WarmEnis));
    check("in part", TARGETS, held(9, 8), 0, None, want(1, 0, 1, WarmEnis));
    check("it is there", TARGETS, held(9, 9), 0, None, want(0, 0, 0, WarmEnis));
    check("and pods", TARGETS, held(9, 9), 3, None, want(3, 0, 3, WarmEnis));
    check("and many pods", TARGETS, held(9, 9), 12, None, want(12, 3, 12, WarmEnis));
    let two = Targets { warm_enis: 2, ..NONE };
    check("two warm", two, held(9, 9), 0, None, want(9, 0, 9, WarmEnis));
}

#[test]
fn targets_in_addresses_are_short_by_what_is_free_and_a_minimum_by_what_is_held() {
    let warm = Targets { warm_addresses: Some(5), ..TARGETS };
    check("warm", warm, held(3, 3), 0, None, want(2, 0, 2, WarmAddresses));
    check("warm, met", warm, held(5, 5), 0, None, want(0, 0, 0, WarmAddresses));
    check("warm, with pods", warm, held(5, 5), 2, None, want(2, 0, 2, WarmAddresses));
    check("held is not free", warm, held(9, 3), 0, None, want(2, 0, 2, WarmAddresses));
    let zero = Targets { warm_addresses: Some(0), ..TARGETS };
    check("zero is set", zero, held(0, 0), 0, None, want(0, 0, 0, WarmAddresses));
    let minimum = Targets { minimum_addresses: Some(7), ..TARGETS };
    check("minimum", minimum, held(3, 0), 0, None, want(4, 0, 4, MinimumAddresses));
    check("minimum, met", minimum, held(7, 0), 0, None, want(0, 0, 0, MinimumAddresses));
    check("minimum, with pods", minimum, held(7, 1), 3, None, want(2, 2, 2, MinimumAddresses));
    let both = Targets { minimum_addresses: Some(7), ..warm };
    check("warm decides", both, held(6, 1), 0, None, want(4, 0, 4, WarmAddresses));
    check("minimum decides", both, held(2, 2), 0, None, want(5, 0, 5, MinimumAddresses));
    check("alike", both, held(4, 2), 0, None, want(3, 0, 3, WarmAddresses));
    let prefixes = Targets { mode: Mode::Prefixes, ..both };
    check("with prefixes too", prefixes, held(2, 2), 0, None, want(5, 0, 5, MinimumAddresses));
}

#[test]
fn a_target_in_prefixes_is_short_by_prefixes_that_no_pod_will_break() {
    let one = Targets { warm_prefixes: 1, ..PREFIXES };
    let two = Targets { warm_prefixes: 2, ..PREFIXES };
    check("nothing is wanted", PREFIXES, held(0, 0), 0, None, want(0, 0, 0, WarmPrefixes));
    check("one warm", one, held(0, 0), 0, None, want(16, 0, 16, WarmPrefixes));
    check("it is there", one, prefixes(1, 0, 0), 0, None, want(0, 0, 0, WarmPrefixes));
    check("two warm", two, prefixes(1, 0, 0), 0, None, want(16, 0, 16, WarmPrefixes));
    check(
        "begun ones do not count",
        one,
        prefixes(0, 15, 0),
        0,
        None,
        want(16, 0, 16, WarmPrefixes),
    );
    check(
        "pods fit into a begun one",
        one,
        prefixes(1, 3, 0),
        3,
        None,
        want(0, 0, 0, WarmPrefixes),
    );
    check("one does not", one, prefixes(1, 3, 0), 4, None, want(16, 0, 16, WarmPrefixes));
    check("sixteen break one", one, prefixes(1, 0, 0), 16, None, want(16, 0, 16, WarmPrefixes));
    check("seventeen break two", one, prefixes(1, 0, 0), 17, None, want(32, 1, 32, WarmPrefixes));
    check("single ones stand in", one, prefixes(0, 9, 9), 0, None, want(7, 0, 7, WarmPrefixes));
    check("of a full one", one, prefixes(0, 20, 16), 0, None, want(0, 0, 0, WarmPrefixes));
    check("less those of pods", one, prefixes(0, 9, 9), 2, None, want(9, 0, 9, WarmPrefixes));
    check("begun ones first", one, prefixes(0, 11, 9), 2, None, want(7, 0, 7, WarmPrefixes));
}

#[test]
fn no_more_is_worth_holding_than_kubelet_lets_pods_run_and_waiting_pods_are_there() {
    let warm = Targets { warm_addresses: Some(5), ..TARGETS };
    check("far away", warm, held(3, 3), 0, Some(99), want(2, 0, 2, WarmAddresses));
    check("just so", warm, held(3, 3), 0, Some(5), want(2, 0, 2, WarmAddresses));
    check("one less", warm, held(3, 3), 0, Some(4), want(1, 0, 2, WarmAddresses));
    check("none", warm, held(3, 3), 0, Some(3), want(0, 0, 2, WarmAddresses));
    check("fewer than held", warm, held(3, 3), 0, Some(2), want(0, 0, 2, WarmAddresses));
    check("a pod waits", warm, held(3, 0), 2, Some(3), want(2, 2, 7, WarmAddresses));
    let cooling = Stock { cooling: 1, quarantined: 2, ..held(6, 3) };
    check("idle ones do not count", warm, cooling, 0, Some(4), want(1, 0, 2, WarmAddresses));
}

#[test]
fn a_shortage_says_whether_kubelet_caps_it() {
    let warm = Targets { warm_addresses: Some(5), ..TARGETS };
    for (row, max_pods, capped) in
        [("not known", None, false), ("just so", Some(5), false), ("less", Some(4), true)]
    {
        let mut pool = with_targets(warm, node(), []);
        pool.set_max_pods(max_pods);

        assert_eq!(stock::shortage(&pool, &held(3, 3)).is_capped(), capped, "{row}");
    }
}

/// Addresses, and so many of them free.
fn held(held: usize, free: usize) -> Stock {
    Stock { held, free, loose: free, ..Stock::default() }
}

/// Empty prefixes, addresses that are free elsewhere, and single ones among these.
fn prefixes(empty: usize, begun: usize, loose: usize) -> Stock {
    let free = empty * PREFIX_SIZE + begun;
    Stock { held: free, free, empty_prefixes: empty, loose, ..Stock::default() }
}

fn want(addresses: usize, to_demand: usize, to_target: usize, setting: Setting) -> Shortage {
    Shortage { addresses, to_demand, to_target, setting, worth: None }
}

#[track_caller]
fn check(
    row: &str,
    targets: Targets,
    stock: Stock,
    pods: usize,
    max_pods: Option<usize>,
    want: Shortage,
) {
    let mut pool = with_targets(targets, node(), []);
    pool.set_max_pods(max_pods);
    // Half of them wait already.
    pool.set_waiting(pods / 2);
    pool.set_expected(pods - pods / 2);

    let short = stock::shortage(&pool, &stock);

    assert_eq!(Shortage { worth: None, ..short }, want, "{row}");
}
