//! Runs nodes with the real pool in a simulated VPC, many seeds, and judges every step.
//!
//! `SIM_SEEDS` runs so many seeds, `SIM_SECONDS` runs others each time for so long, `SIM_SEED` runs
//! one, all instead of the number that is a constant below.

mod cloud;
mod dice;
mod history;
mod laws;
mod node;
mod shrink;
mod work;
mod world;

use history::{Kind, Setup};
use laws::Broken;
use std::{
    env,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use world::Summary;

/// Seeds of worlds with one node: half a minute on two cores.
const SEEDS_OF_ONE_NODE: u64 = 12_000;

/// Seeds of worlds with many nodes: half a minute, too.
const SEEDS_OF_CLUSTERS: u64 = 4_000;

/// In so many runs, one is repeated to see that it is the same.
const REPEATED: u64 = 50;

#[test]
fn one_node_keeps_the_laws_meets_demand_and_leaks_nothing() {
    check(Kind::OneNode, SEEDS_OF_ONE_NODE);
}

#[test]
fn nodes_that_share_subnets_keep_the_laws_meet_demand_and_leak_nothing() {
    check(Kind::Cluster, SEEDS_OF_CLUSTERS);
}

fn check(kind: Kind, seeds: u64) {
    if let Some(seed) = number("SIM_SEED") {
        if let Err(text) = judge(kind, seed) {
            panic!("{text}");
        }
        return;
    }
    let seconds = number("SIM_SECONDS").map(Duration::from_secs);
    let seeds = number("SIM_SEEDS").unwrap_or(if seconds.is_some() { u64::MAX } else { seeds });
    let begin = Instant::now();
    // Who asks for time wants to see what nobody has seen.
    let epoch = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let first = if seconds.is_some() { epoch() << 24 } else { 0 };
    let (next, stop, failed) =
        (AtomicU64::new(first + 1), AtomicBool::new(false), Mutex::new(vec![]));
    let over = || seconds.is_some_and(|it| begin.elapsed() > it) || stop.load(Ordering::Relaxed);
    let work = || {
        while !over() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return;
            }
            if let Err(text) = judge(kind, seed) {
                stop.store(true, Ordering::Relaxed);
                failed.lock().expect("no thread panics with it").push(text);
            }
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let failed = failed.into_inner().expect("no thread panicked with it");
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// Runs a seed; what is wrong with it, for people.
fn judge(kind: Kind, seed: u64) -> Result<Summary, String> {
    let setup = Setup::draw(seed, kind);
    let steps = history::steps(&setup);
    let summary = shrink::attempt(&setup, &steps).map_err(|broken| {
        let (steps, broken) = shrink::shrink(&setup, &steps, broken);
        shrink::report(&setup, &steps, &broken)
    })?;
    if seed.is_multiple_of(REPEATED) {
        let again = shrink::attempt(&setup, &steps).map_err(|Broken { what, .. }| what)?;
        if again != summary {
            return Err(format!("seed {seed}: {summary:?} once, {again:?} again"));
        }
    }
    Ok(summary)
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: give a number")))
}
