//! AWS's worked examples of the targets: what a node holds with so many pods (from the peer's
//! documentation, eni-and-ip-target.md and prefix-and-ip-target.md, as numbers).

use super::{world::World, *};

const T3_SMALL: Limits = Limits { enis: 3, max_enis: None, blocks_per_eni: 3, max_pods: None };
const P3DN: Limits = Limits { enis: 15, max_enis: None, blocks_per_eni: 49, max_pods: None };

#[test]
fn warm_eni_target_holds_a_whole_interface_ready() {
    let one = TARGETS;
    check(T3_SMALL, one, 0, &[3]);
    check(T3_SMALL, one, 5, &[3, 3, 3]);
    check(T3_SMALL, one, 9, &[3, 3, 3]);
    check(P3DN, one, 0, &[49]);
    check(P3DN, one, 3, &[49, 49]);
    check(P3DN, one, 95, &[49, 49, 49]);
}

#[test]
fn warm_ip_target_and_minimum_ip_target_hold_that_many_addresses() {
    check(T3_SMALL, ips(1, 1), 0, &[1]);
    check(T3_SMALL, ips(1, 1), 5, &[3, 3]);
    check(T3_SMALL, ips(1, 1), 9, &[3, 3, 3]);
    // AWS's table says 2,3; filled in order it is 3,2, and the sum is what counts.
    check(T3_SMALL, ips(2, 5), 0, &[3, 2]);
    check(T3_SMALL, ips(2, 5), 5, &[3, 3, 1]);
    check(T3_SMALL, ips(2, 5), 9, &[3, 3, 3]);
    check(P3DN, ips(5, 10), 0, &[10]);
    check(P3DN, ips(5, 10), 7, &[12]);
    check(P3DN, ips(5, 10), 15, &[20]);
    check(P3DN, ips(5, 10), 45, &[49, 1]);
}

#[test]
fn warm_prefix_target_holds_that_many_prefixes_without_a_pod() {
    let one = Targets { mode: Mode::Prefixes, warm_prefixes: 1, ..TARGETS };
    check(T3_SMALL, one, 0, &[1]);
    check(T3_SMALL, one, 5, &[2]);
    check(T3_SMALL, one, 16, &[2]);
    check(T3_SMALL, one, 17, &[3]);
    check(T3_SMALL, one, 58, &[3, 2]);
    // AWS's table counts a second and third interface without prefixes here; we attach none that
    // nobody needs.
    check(P3DN, one, 0, &[1]);
    check(P3DN, one, 3, &[2]);
    check(P3DN, one, 95, &[7]);
}

#[test]
fn with_prefixes_targets_in_addresses_are_rounded_up_to_prefixes() {
    check(T3_SMALL, prefixes(1, 1), 0, &[1]);
    check(T3_SMALL, prefixes(1, 1), 5, &[1]);
    check(T3_SMALL, prefixes(1, 1), 17, &[2]);
    check(T3_SMALL, prefixes(1, 1), 58, &[3, 1]);
    // AWS's table says one attached prefix, two on the interface: two, by its own text.
    check(T3_SMALL, prefixes(7, 20), 0, &[2]);
    check(T3_SMALL, prefixes(7, 20), 5, &[2]);
    check(T3_SMALL, prefixes(7, 20), 17, &[2]);
    check(T3_SMALL, prefixes(7, 20), 58, &[3, 2]);
    check(P3DN, prefixes(5, 10), 0, &[1]);
    check(P3DN, prefixes(5, 10), 7, &[1]);
    check(P3DN, prefixes(5, 10), 15, &[2]);
    check(P3DN, prefixes(5, 10), 45, &[4]);
}

fn ips(warm: usize, minimum: usize) -> Targets {
    Targets { warm_addresses: Some(warm), minimum_addresses: Some(minimum), ..TARGETS }
}

fn prefixes(warm: usize, minimum: usize) -> Targets {
    Targets { mode: Mode::Prefixes, ..ips(warm, minimum) }
}

/// Blocks on each interface, in the order of device indexes, with so many pods.
#[track_caller]
fn check(limits: Limits, targets: Targets, pods: usize, want: &[usize]) {
    let mut node = World::new(targets, limits, node());
    node.run_to_rest();

    for pod in 0..pods {
        node.start_pod(owner(pod));
    }
    node.run_to_rest();

    let blocks: Vec<usize> = node.pool.enis().values().map(|eni| eni.blocks.len()).collect();
    assert_eq!(blocks, want, "{limits:?}, {targets:?} with {pods} pods");
}
