//! Runs nodes with the real pool in a simulated VPC, for many seeds, and judges every step.
//!
//! `SIM_SEED` runs one seed, `SIM_SEEDS` that many, and `SIM_SECONDS` new ones for that long, each
//! instead of the number in a constant below.

mod cloud;
mod dice;
mod history;
mod journal;
mod laws;
mod node;
mod shrink;
mod tagging;
mod views;
mod witnesses;
mod work;
mod world;

use cloud::{Bad, TROUBLES, every_answer};
use history::{Kind, Setup};
use laws::Broken;
use std::{
    collections::BTreeMap,
    env,
    io::Write,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use world::Summary;

/// Seeds of worlds with one node: a minute on one core.
const SEEDS_OF_ONE_NODE: u64 = 20_000;

/// Seeds of worlds with many nodes: a minute, too.
const SEEDS_OF_CLUSTERS: u64 = 8_000;

/// So many seeds meet everything that can go wrong, each often.
const SEEDS_THAT_MEET_ALL: u64 = 2_000;

/// In so many runs, one is repeated to see that it is the same.
const REPEATED: u64 = 50;

#[test]
fn one_node_keeps_the_laws_meets_demand_and_leaks_nothing() {
    check(Kind::OneNode, SEEDS_OF_ONE_NODE);
}

#[test]
fn a_trouble_that_no_seed_meets_is_named() {
    let mut met = Met::default();
    let all = TROUBLES.map(|trouble| (trouble, 1));
    met.add(&Summary {
        met: all[1..].iter().copied().collect(),
        answers: every_answer().skip(1).map(|answer| (answer, 1)).collect(),
        ..Summary::default()
    });

    assert_eq!(met.never(), [TROUBLES[0], "Create: throttled"]);
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
    // With a time limit, each run draws seeds that no run has drawn.
    let epoch = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let first = if seconds.is_some() { epoch() << 24 } else { 0 };
    let (next, stop, failed) =
        (AtomicU64::new(first + 1), AtomicBool::new(false), Mutex::new(vec![]));
    let met = Mutex::new(Met::default());
    let over = || seconds.is_some_and(|it| begin.elapsed() > it) || stop.load(Ordering::Relaxed);
    let work = || {
        while !over() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > seeds {
                return;
            }
            let run = judge(kind, seed);
            if let Ok(summary) = &run {
                met.lock().expect("no thread panics with it").add(summary);
            }
            if let Err(text) = run {
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
    let met = met.into_inner().expect("no thread panicked with it");
    met.tell(kind);
    if met.seeds >= SEEDS_THAT_MEET_ALL {
        assert_eq!(met.never(), [""; 0], "{kind:?}: these were met by no seed");
    }
}

/// How often what can go wrong was met, and by how many seeds.
#[derive(Default)]
struct Met {
    seeds: u64,
    troubles: BTreeMap<&'static str, (u64, usize)>,
    answers: BTreeMap<Bad, usize>,
    steps: usize,
    deaths: usize,
}

impl Met {
    fn add(&mut self, summary: &Summary) {
        self.seeds += 1;
        for (trouble, times) in &summary.met {
            let (seeds, all) = self.troubles.entry(*trouble).or_default();
            (*seeds, *all) = (*seeds + 1, *all + times);
        }
        for (answer, times) in &summary.answers {
            *self.answers.entry(*answer).or_default() += times;
        }
        self.steps += summary.moments;
        self.deaths += summary.deaths;
    }

    fn never(&self) -> Vec<String> {
        let troubles = TROUBLES.into_iter().filter(|it| !self.troubles.contains_key(it));
        let answers = every_answer().filter(|it| !self.answers.contains_key(it));
        let answers = answers.map(|(call, answer)| format!("{call}: {answer}"));
        troubles.map(str::to_owned).chain(answers).collect()
    }

    /// A line for each, whether the test passes or not.
    fn tell(&self, kind: Kind) {
        let line = |trouble: &&str| {
            let (seeds, times) = self.troubles.get(trouble).copied().unwrap_or_default();
            format!("{kind:?}: {trouble}: met {times} times, by {seeds} of {} seeds\n", self.seeds)
        };
        let mut lines: String = TROUBLES.iter().map(line).collect();
        let answers = self.answers.iter();
        let answers = answers.map(|((call, answer), times)| format!("{call} {answer} {times}"));
        let answers: Vec<_> = answers.collect();
        let Self { seeds, steps, deaths, .. } = self;
        lines += &format!(
            "{kind:?}: {seeds} seeds, {steps} steps, {deaths} deaths of daemons; calls that were not \
             answered as they should be: {}\n",
            answers.join(", ")
        );
        // Not by a macro: the harness would keep it from those who look at a run that passed.
        drop(std::io::stderr().write_all(lines.as_bytes()));
    }
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
