//! The shortest history that still breaks the same law, for people to read.

use crate::{
    history::{Setup, Step},
    laws::Broken,
    world::{self, Summary},
};
use std::panic::{self, AssertUnwindSafe};

/// Runs that shrinking may take: a minute or so.
const RUNS: usize = 3_000;

/// Runs a history; a panic breaks a law, too.
pub(crate) fn attempt(setup: &Setup, steps: &[Step]) -> Result<Summary, Broken> {
    let run = panic::catch_unwind(AssertUnwindSafe(|| world::run(setup, steps)));
    run.unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Broken::new("no panic", text.unwrap_or_default()))
    })
}

/// Leaves out steps, many at once and then one by one, as long as the same law is broken.
pub(crate) fn shrink(setup: &Setup, steps: &[Step], first: Broken) -> (Vec<Step>, Broken) {
    let (mut steps, mut broken, mut runs) = (steps.to_vec(), first, 0);
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 {
        let before = steps.len();
        let mut at = 0;
        while at < steps.len() && runs < RUNS {
            let end = (at + chunk).min(steps.len());
            let fewer: Vec<Step> = [&steps[..at], &steps[end..]].concat();
            runs += 1;
            match attempt(setup, &fewer) {
                Err(same) if same.law == broken.law => (steps, broken) = (fewer, same),
                Ok(_) | Err(_) => at = end,
            }
        }
        chunk = match chunk {
            // Once more while single steps still go.
            1 if steps.len() < before && runs < RUNS => 1,
            chunk => chunk / 2,
        };
    }
    (steps, broken)
}

/// A history for people.
pub(crate) fn report(setup: &Setup, steps: &[Step], broken: &Broken) -> String {
    let lines = steps.iter().map(|step| {
        format!("  {:9.3} s  node {}  {:?}\n", step.at.0.as_secs_f64(), step.node, step.what)
    });
    format!(
        "seed {}: the law \"{}\" is broken: {}\n{setup:?}\n{}",
        setup.seed,
        broken.law,
        broken.what,
        lines.collect::<String>()
    )
}
