//! Which of the free addresses a pod gets, by looking at all of them.

use super::*;
use std::{cmp::Reverse, collections::BTreeMap};

/// Pods come and go and addresses cool, the same in every run.
#[test]
fn the_address_that_a_pod_gets_is_the_best_of_all_that_are_free() {
    let (_, mut mixed) = prefixed(4, "subnet-node", 2);
    mixed.blocks.extend((1..=6).map(|host| Block::Address(address(4, host))));
    let enis = [
        prefixed(1, "subnet-node", 3),
        prefixed(2, "subnet-node", 3),
        secondary(3, "subnet-node", 9),
        (id(4), mixed),
    ];
    let mut pool = pool(node(), enis);
    let mut running = vec![];
    let (mut given, mut dice) = (0, 1_u64);

    for step in 0..4_000 {
        let now = Time(Duration::from_millis(step * 400));
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let roll = usize::try_from(dice >> 33).unwrap();

        assert_eq!(pool.best_free(now), best_of_all(&pool, now), "step {step}");

        let starts = roll % 97 < if step / 500 % 2 == 0 { 60 } else { 35 };
        if starts && pool.allocate(owner(step), now).is_ok() {
            running.push(owner(step));
            given += 1;
        } else if !running.is_empty() {
            pool.release(&running.swap_remove(roll % running.len()), now);
        }
    }

    assert!(given > 1_000, "only {given} pods were started");
}

/// The same by its definition: the fullest interface, the fullest prefix, the longest cooldown.
fn best_of_all(pool: &Pool, now: Time) -> Option<Allocation> {
    let mut on_eni: BTreeMap<&EniId, usize> = BTreeMap::new();
    for (_, allocation) in pool.ledger.all() {
        *on_eni.entry(&allocation.eni).or_default() += 1;
    }
    let used =
        |block: Block| block.addresses().filter(|address| pool.ledger.is_in_use(*address)).count();
    let best = pool.available(now).min_by_key(|(id, block, address)| {
        let full = on_eni.get(id).copied().unwrap_or(0);
        let prefix = block.is_prefix().then_some(*block);
        let released = pool.ledger.last_released(*address);
        (Reverse(full), *id, Reverse(used(*block)), prefix, released)
    });
    best.map(|(id, _, address)| Allocation { address, eni: id.clone() })
}
