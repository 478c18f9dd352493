//! What there is, in the numbers that plans are made of and in those that metrics show.

use super::*;
use crate::stock;

#[test]
fn every_address_is_counted_once_by_what_it_is_good_for() {
    check("nothing", pool(node(), []), Stock::default());
    let free = Stock { held: 3, free: 3, loose: 3, ..Stock::default() };
    check("free", pool(node(), [primary(3)]), free);
    let mut used = pool(node(), [primary(4)]);
    used.allocate(owner("a"), AT).unwrap();
    check("one in use", used, Stock { held: 4, ..free });
    let mut cooling = pool(node(), [primary(5)]);
    cooling.restore_cooling(address(0, 1), AT);
    cooling.restore_cooling(address(0, 2), AT);
    check("two cool", cooling, Stock { held: 5, cooling: 2, ..free });
    let mut quarantined = pool(node(), [primary(4)]);
    quarantined.quarantine(address(0, 1), [].into());
    quarantined.restore_cooling(address(0, 1), AT);
    check("one quarantined, and cooling", quarantined, Stock { held: 4, quarantined: 1, ..free });
}

#[test]
fn a_prefix_is_empty_until_one_of_its_addresses_is_taken() {
    let two = Stock { held: 32, free: 32, empty_prefixes: 2, ..Stock::default() };
    check("two", pool(node(), [prefixed(0, "subnet-node", 2)]), two);
    let mut begun = pool(node(), [prefixed(0, "subnet-node", 2)]);
    begun.allocate(owner("a"), AT).unwrap();
    check("one begun", begun, Stock { free: 31, empty_prefixes: 1, ..two });
    let mut cooling = pool(node(), [prefixed(0, "subnet-node", 2)]);
    cooling.restore_cooling(address(0, 17), AT);
    check("one cools", cooling, Stock { free: 31, empty_prefixes: 1, cooling: 1, ..two });
    let (id, mut eni) = prefixed(0, "subnet-node", 2);
    eni.blocks.insert(Block::Address(address(0, 1)));
    check("mixed", pool(node(), [(id, eni)]), Stock { held: 33, free: 33, loose: 1, ..two });
}

#[test]
fn what_comes_counts_as_free_and_what_goes_as_gone() {
    let there = Stock { held: 3, free: 3, loose: 3, ..Stock::default() };
    let with = |action: Action| {
        let mut pool = pool(node(), [primary(3)]);
        pool.started(&action);
        pool
    };
    check(
        "addresses are asked for",
        with(assign(id(0), Amount::Addresses(2))),
        Stock { held: 5, free: 5, loose: 5, asked_for: 2, ..there },
    );
    check(
        "prefixes are asked for",
        with(attach(1, "subnet-node", Amount::Prefixes(2))),
        Stock { held: 35, free: 35, empty_prefixes: 2, asked_for: 32, ..there },
    );
    check(
        "one goes",
        with(Action::Unassign { eni: id(0), blocks: [Block::Address(address(0, 1))].into() }),
        Stock { held: 2, free: 2, loose: 2, ..there },
    );
    check("the interface goes", with(Action::DeleteEni { eni: id(0) }), Stock::default());
    let (id, eni) = secondary(1, "subnet-node", 2);
    let coming = Eni { readiness: Readiness::Coming, ..eni };
    check(
        "an interface is being set up",
        pool(node(), [primary(3), (id, coming)]),
        Stock { held: 5, free: 5, loose: 5, setting_up: 2, ..there },
    );
}

#[test]
fn only_interfaces_that_serve_new_pods_are_counted() {
    let enis = || [primary(3), secondary(1, "subnet-a", 2), secondary(2, "subnet-b", 4)];
    let two = Stock { held: 2, free: 2, loose: 2, ..Stock::default() };
    check("those of the subnet", pool(config(&["subnet-a"]), enis()), two);
    let none = Source::Missing { why: String::new() };
    check("none", pool(none, enis()), Stock::default());
}

#[test]
fn what_is_idle_and_what_comes_are_sums() {
    let stock =
        Stock { asked_for: 1, setting_up: 2, cooling: 4, quarantined: 8, ..Stock::default() };

    assert_eq!((stock.coming(), stock.idle()), (3, 12));
}

#[test]
fn counts_say_what_there_is_and_what_there_may_be() {
    let unmanaged = |(id, eni): (EniId, Eni)| (id, Eni { ownership: Ownership::Unmanaged, ..eni });
    let (coming, eni) = secondary(2, "subnet-node", 4);
    let coming = (coming, Eni { readiness: Readiness::Coming, ..eni });
    let enis = [primary(3), unmanaged(secondary(1, "subnet-node", 2)), coming];
    let limits = Limits { enis: 6, max_enis: Some(5), ..LIMITS };
    let mut pool = Pool::new(TARGETS, limits, node());
    pool.observe(enis.into(), AT);
    pool.allocate(owner("a"), AT).unwrap();
    pool.allocate(owner("b"), AT).unwrap();
    pool.release(&owner("b"), AT);
    pool.restore(owner("gone"), Allocation { address: address(9, 9), eni: id(9) }, AT).unwrap();
    pool.set_waiting(5);
    pool.set_expected(2);
    pool.started(&assign(id(2), Amount::Addresses(1)));
    pool.started(&attach(3, "subnet-node", Amount::Addresses(5)));
    pool.started(&Action::SetGroups { eni: id(0), groups: groups() });

    let want = Counts {
        enis: 2,
        enis_max: 4,
        addresses_max: 36,
        held: 7,
        prefixes: 0,
        in_use: 2,
        in_use_by_eni: [(id(0), 1), (id(1), 0), (id(2), 0), (id(9), 1)].into(),
        in_use_by_prefix: [].into(),
        free: 1,
        idle: 1,
        coming: 10,
        short: 5,
        waiting: 5,
        expected: 2,
        growing: 2,
        shrinking: 0,
    };
    assert_eq!(pool.counts(AT), want);
}

#[test]
fn counts_of_prefixes_say_how_many_addresses_of_each_pods_have() {
    let targets = Targets { mode: Mode::Prefixes, ..TARGETS };
    let enis = [prefixed(0, "subnet-node", 3), secondary(1, "subnet-node", 2)];
    let mut pool = with_targets(targets, node(), enis);
    for pod in 0..3 {
        pool.allocate(owner(pod), AT).unwrap();
    }
    pool.started(&Action::Unassign { eni: id(0), blocks: [Block::Prefix(address(0, 48))].into() });
    pool.started(&Action::DeleteEni { eni: id(1) });

    let counts = pool.counts(AT);

    assert_eq!(counts.addresses_max, 3 * 9 * 16);
    assert_eq!((counts.prefixes, counts.held, counts.free), (2, 32, 29));
    assert_eq!(counts.in_use_by_prefix, [(address(0, 16), 3), (address(0, 32), 0)].into());
    assert_eq!((counts.growing, counts.shrinking), (0, 2));
}

#[track_caller]
fn check(row: &str, pool: Pool, want: Stock) {
    assert_eq!(stock::stock(&pool, AT), want, "{row}");
}
