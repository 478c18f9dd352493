//! What was measured, as tables, and what was aimed at beside it.

use crate::{
    AT_ONCE, PODS,
    contest::{Case, Times, Verb},
    cost::{Memory, Rest},
    starts::{Plugin, Started},
    who::Who,
};
use std::io::{self, Write};

/// An ADD takes at most so many times what the kernel and the plugin's start take.
const ADD: f64 = 1.5;
/// A DEL takes at most so many microseconds.
const DEL_US: f64 = 1000.0;
/// So many times faster than the stock plugins, eight side by side.
const FASTER: f64 = 10.0;
/// The plugin on disk, in bytes.
const PLUGIN: u64 = 1 << 20;
/// The daemon with 250 pods, in KiB.
const DAEMON: u64 = 15 << 10;

pub(crate) fn started(out: &mut impl Write, all: &[Started], plugin: &Plugin) -> io::Result<()> {
    writeln!(out, "\nstart and end of a process, one at a time, µs")?;
    writeln!(out, "| what | KiB on disk | least | p50 | p99 |\n|---|---|---|---|---|")?;
    for Started { what, size, took: [least, half, most] } in all {
        let size = *size as f64 / 1024.0;
        writeln!(out, "| {what} | {size:.1} | {least:.0} | {half:.0} | {most:.0} |")?;
    }
    let Plugin { memory: Memory { peak, own, .. }, faults } = plugin;
    writeln!(
        out,
        "\naws-cni before it prints: at most {peak} KiB resident, {own} KiB its own, {faults} page faults"
    )
}

pub(crate) fn times(out: &mut impl Write, times: &Times) -> io::Result<()> {
    for (verb, name) in [(Verb::Add, "ADD"), (Verb::Del, "DEL")] {
        writeln!(out, "\n{name}, µs: p10 / p50 / p99")?;
        writeln!(
            out,
            "| pods | at once | kernel | plugin start | ours | ptp + host-local | ours : kernel + start | ptp : ours |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|")?;
        for case in cases() {
            let cell = |who, verb| {
                let part = |part| times.quantile(case, verb, who, part);
                format!("{:.0} / {:.0} / {:.0}", part(0.1), part(0.5), part(0.99))
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {:.2} | {:.1} |",
                case.pods,
                case.at_once,
                cell(Who::Kernel, verb),
                cell(Who::Start, Verb::Add),
                cell(Who::Ours, verb),
                cell(Who::Stock, verb),
                above_floor(times, case, verb),
                faster(times, case, verb),
            )?;
        }
    }
    Ok(())
}

pub(crate) fn daemon(
    out: &mut impl Write,
    daemon: &[(usize, Memory, Rest)],
    last: Memory,
) -> io::Result<()> {
    writeln!(out, "\nthe daemon at rest")?;
    writeln!(
        out,
        "| pods | KiB resident | KiB its own | KiB at most | ms of processor in 10 s | wake-ups in 10 s |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for (pods, Memory { resident, own, peak }, rest) in daemon {
        let tenth = 10.0 / rest.during.as_secs_f64();
        let (processor, wake_ups) =
            (rest.processor.as_secs_f64() * 1e3 * tenth, rest.wake_ups as f64 * tenth);
        writeln!(out, "| {pods} | {resident} | {own} | {peak} | {processor:.1} | {wake_ups:.0} |")?;
    }
    writeln!(out, "\nafter all of it: {} KiB resident, {} KiB its own", last.resident, last.own)
}

pub(crate) fn goals(
    out: &mut impl Write,
    times: &Times,
    plugin: u64,
    daemon: &[(usize, Memory, Rest)],
) -> io::Result<()> {
    let worst = |of: &dyn Fn(Case) -> f64, at_once| {
        let cases = cases().filter(|case| case.at_once == at_once);
        cases.map(of).fold(f64::NEG_INFINITY, f64::max)
    };
    let add = worst(&|case| above_floor(times, case, Verb::Add), 1);
    let del = worst(&|case| times.quantile(case, Verb::Del, Who::Ours, 0.5), 1);
    let faster = -worst(&|case| -faster(times, case, Verb::Add), 8);
    let resident =
        daemon.iter().find(|(pods, ..)| *pods == 250).map_or(0, |(_, it, _)| it.resident);
    writeln!(out, "\n| goal | measured | |\n|---|---|---|")?;
    let mut line = |goal: String, measured: String, met: bool| {
        let message = if met { "met" } else { "MISSED" };
        writeln!(out, "| {goal} | {measured} | {message} |")
    };
    line(
        format!("ADD at most {ADD} times kernel + plugin start (p50, one at a time)"),
        format!("{add:.2}"),
        add <= ADD,
    )?;
    line(
        format!("DEL at most {DEL_US} µs (p50, one at a time)"),
        format!("{del:.0}"),
        del <= DEL_US,
    )?;
    line(
        format!("ADD, 8 at once, at least {FASTER} times faster than ptp + host-local (p50)"),
        format!("{faster:.1}"),
        faster >= FASTER,
    )?;
    line(format!("plugin at most {PLUGIN} bytes"), plugin.to_string(), plugin <= PLUGIN)?;
    line(
        format!("daemon with 250 pods at most {DAEMON} KiB resident"),
        resident.to_string(),
        resident <= DAEMON,
    )
}

fn cases() -> impl Iterator<Item = Case> {
    PODS.into_iter().flat_map(|pods| AT_ONCE.map(|(at_once, _)| Case { pods, at_once }))
}

/// How many times what the kernel and the plugin's start take.
fn above_floor(times: &Times, case: Case, verb: Verb) -> f64 {
    let half = |verb, who| times.quantile(case, verb, who, 0.5);
    half(verb, Who::Ours) / (half(verb, Who::Kernel) + half(Verb::Add, Who::Start))
}

/// How many times faster than the stock plugins.
fn faster(times: &Times, case: Case, verb: Verb) -> f64 {
    times.quantile(case, verb, Who::Stock, 0.5) / times.quantile(case, verb, Who::Ours, 0.5)
}
