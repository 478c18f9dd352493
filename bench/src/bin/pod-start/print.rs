//! What was measured, as tables, and what was aimed at beside it.

use crate::{
    AT_ONCE, CHURN, PODS,
    contest::{Case, Times, Verb, quantile},
    cost::{Memory, Rest},
    many::BURST,
    starts::{Plugin, Started},
    who::Who,
};
use std::{
    io::{self, Write},
    time::Duration,
};

/// An ADD takes at most so many times what the kernel and the plugin's start take, one at a time.
const ADD: f64 = 1.25;
/// The same side by side.
const ADD_AT_ONCE: f64 = 1.5;
/// A DEL takes at most so many microseconds.
const DEL_US: f64 = 600.0;
/// Links of [`BURST`] pods are gone after at most so many milliseconds.
const LINKS_GONE_MS: f64 = 300.0;
/// So many times faster than the stock plugins, eight side by side.
const FASTER: f64 = 10.0;
/// The plugin on disk, in bytes.
const PLUGIN: u64 = 1 << 20;
/// The daemon with 250 pods, in KiB.
const DAEMON: u64 = 15 << 10;
/// The daemon's own memory with 1,000 pods, in KiB.
const OWN: u64 = 8 << 10;

/// What was measured of a daemon.
#[derive(Debug, Default)]
pub(crate) struct Daemon {
    /// At rest, with so many pods.
    pub(crate) at_rest: Vec<(usize, Memory, Rest)>,
    /// After all that was measured.
    pub(crate) last: Option<Memory>,
    /// After it had to look at every link.
    pub(crate) after_a_look: Option<Memory>,
}

/// What many pods at once took, in order.
#[derive(Debug)]
pub(crate) struct AtOnce {
    /// ADDs while as many pods end.
    pub(crate) add: Vec<Duration>,
    /// DELs while as many pods start.
    pub(crate) del: Vec<Duration>,
    /// From the last DEL of many until their links are gone.
    pub(crate) links_gone: Vec<Duration>,
}

/// Whose row it is, where a second one is that of another build.
const WHOSE: [&str; 2] = ["ours", "base"];

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
            "| pods | at once | kernel | plugin start | ours | base | ptp + host-local | ours : kernel + start | ours : base | ptp : ours |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
        for case in cases() {
            let cell = |who, verb| {
                let part = |part| times.quantile(case, verb, who, part);
                let parts = part(0.1).zip(part(0.5)).zip(part(0.99));
                parts.map_or("–".into(), |((least, half), most)| {
                    format!("{least:.0} / {half:.0} / {most:.0}")
                })
            };
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {:.2} | {} | {:.1} |",
                case.pods,
                case.at_once,
                cell(Who::Kernel, verb),
                cell(Who::Start, Verb::Add),
                cell(Who::Ours, verb),
                cell(Who::Base, verb),
                cell(Who::Stock, verb),
                above_floor(times, case, verb),
                above_base(times, case, verb),
                faster(times, case, verb),
            )?;
        }
    }
    Ok(())
}

pub(crate) fn at_once(out: &mut impl Write, all: &[AtOnce]) -> io::Result<()> {
    writeln!(
        out,
        "\n8 who start pods beside 8 who stop others, with {} pods, µs: p10 / p50 / p99; and ms from the \
         last DEL of {BURST} until their links are gone: least / p50",
        CHURN.0
    )?;
    writeln!(out, "| | ADD | DEL | links gone |\n|---|---|---|---|")?;
    for (whose, AtOnce { add, del, links_gone }) in WHOSE.iter().zip(all) {
        let three = |times: &[Duration]| {
            let [least, half, most] = [0.1, 0.5, 0.99].map(|part| quantile(times, part));
            format!("{least:.0} / {half:.0} / {most:.0}")
        };
        let [least, half] = [0.0, 0.5].map(|part| quantile(links_gone, part) / 1e3);
        let (add, del) = (three(add), three(del));
        writeln!(out, "| {whose} | {add} | {del} | {least:.0} / {half:.0} |")?;
    }
    Ok(())
}

pub(crate) fn daemons(out: &mut impl Write, all: &[Daemon]) -> io::Result<()> {
    writeln!(out, "\nthe daemon at rest")?;
    writeln!(
        out,
        "| | pods | KiB resident | KiB its own | KiB at most | ms of processor in 10 s | wake-ups in 10 s |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for (whose, daemon) in WHOSE.iter().zip(all) {
        for (pods, Memory { resident, own, peak }, rest) in &daemon.at_rest {
            let tenth = 10.0 / rest.during.as_secs_f64();
            let processor = rest.processor.as_secs_f64() * 1e3 * tenth;
            let wake_ups = rest.wake_ups as f64 * tenth;
            writeln!(
                out,
                "| {whose} | {pods} | {resident} | {own} | {peak} | {processor:.1} | {wake_ups:.0} |"
            )?;
        }
    }
    writeln!(out)?;
    for (whose, daemon) in WHOSE.iter().zip(all) {
        for (when, memory) in
            [("all of it", daemon.last), ("a look at every link", daemon.after_a_look)]
        {
            let Some(Memory { resident, own, .. }) = memory else { continue };
            writeln!(out, "{whose}, after {when}: {resident} KiB resident, {own} KiB its own")?;
        }
    }
    Ok(())
}

pub(crate) fn goals(
    out: &mut impl Write,
    times: &Times,
    plugin: u64,
    daemon: &Daemon,
    at_once: &AtOnce,
) -> io::Result<()> {
    let worst = |of: &dyn Fn(Case) -> f64, at_once| {
        let cases = cases().filter(|case| case.at_once == at_once);
        cases.map(of).fold(f64::NEG_INFINITY, f64::max)
    };
    let add = worst(&|case| above_floor(times, case, Verb::Add), 1);
    let side_by_side =
        [8, 30].map(|at_once| worst(&|case| above_floor(times, case, Verb::Add), at_once));
    let side_by_side = side_by_side.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let del = worst(&|case| half(times, case, Verb::Del, Who::Ours), 1);
    let links_gone = quantile(&at_once.links_gone, 0.5) / 1e3;
    let own = daemon.after_a_look.map_or(0, |memory| memory.own);
    let faster = -worst(&|case| -faster(times, case, Verb::Add), 8);
    let resident =
        daemon.at_rest.iter().find(|(pods, ..)| *pods == 250).map_or(0, |(_, it, _)| it.resident);
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
        format!("ADD, 8 and 30 at once, at most {ADD_AT_ONCE} times the same (p50)"),
        format!("{side_by_side:.2}"),
        side_by_side <= ADD_AT_ONCE,
    )?;
    line(
        format!("links of {BURST} pods gone within {LINKS_GONE_MS} ms after the last DEL"),
        format!("{links_gone:.0}"),
        links_gone <= LINKS_GONE_MS,
    )?;
    line(
        format!("daemon with 1,000 pods at most {OWN} KiB its own, after a look at every link"),
        own.to_string(),
        own <= OWN,
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
    let half = |verb, who| half(times, case, verb, who);
    half(verb, Who::Ours) / (half(verb, Who::Kernel) + half(Verb::Add, Who::Start))
}

/// How many times what the other build takes.
fn above_base(times: &Times, case: Case, verb: Verb) -> String {
    let base = times.quantile(case, verb, Who::Base, 0.5);
    base.map_or("–".into(), |base| format!("{:.2}", half(times, case, verb, Who::Ours) / base))
}

fn half(times: &Times, case: Case, verb: Verb, who: Who) -> f64 {
    times.quantile(case, verb, who, 0.5).expect("it takes part in every case")
}

/// How many times faster than the stock plugins.
fn faster(times: &Times, case: Case, verb: Verb) -> f64 {
    half(times, case, verb, Who::Stock) / half(times, case, verb, Who::Ours)
}
