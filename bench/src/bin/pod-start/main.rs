//! What it costs to start and to stop a pod: ours, the stock plugins, the bare kernel, in one run.
//!
//! `pod-start PLUGIN [FOLDER]`: the plugin as it is shipped; FOLDER has `aws-cni` and `ipamd` of another
//! build, which take part on a node of their own. `BENCH_SHORT=1` takes an eighth of the turns. Needs root,
//! Debian's containernetworking-plugins, and `ipamd` and `vpc-sim` beside the folder of this program.
#![expect(clippy::unwrap_used, reason = "a measurement that went wrong is none")]

mod contest;
mod cost;
mod empty;
mod floor;
mod many;
mod node;
mod print;
mod run;
mod starts;
mod who;

use contest::{Case, Contest, Verb};
use cost::{Memory, Rest};
use many::{Burst, Churn};
use node::{BenchNode, Programs};
use print::{AtOnce, Daemon};
use std::{
    env, fs, io, panic,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
    time::Duration,
};

/// Pods on the node.
const PODS: [usize; 3] = [0, 250, 1000];

/// Calls side by side, and how often.
const AT_ONCE: [(usize, usize); 3] = [(1, 100), (8, 16), (30, 6)];

/// For how long the daemon is watched while nobody asks it for anything.
const WATCH: Duration = Duration::from_secs(10);

/// Pods on the node while others come and go, and turns of that.
const CHURN: (usize, usize) = (250, 16);

/// Turns of many pods that end together.
const BURSTS: usize = 4;

/// Until pending work has ended: links that the reaper removes, addresses in cooldown.
const QUIET: Duration = Duration::from_secs(4);

/// A file system in memory, as `/var/run` of a real node is.
const IN_MEMORY: &str = "/dev/shm";

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let plugin = arguments.next().expect("pod-start PLUGIN [FOLDER]");
    let base = arguments.next();
    let short = env::var_os("BENCH_SHORT").is_some();
    let turns = |all: usize| if short { all.div_ceil(8) } else { all };

    let [folder, base_folder] = ["", "-base"].map(Folder::new);
    clean_up_on_panic([folder.0.clone(), base_folder.0.clone()]);
    let node = BenchNode::up(&Programs { plugin, daemon: None }, &folder.0);
    let base = base.map(|programs| {
        let daemon = Some(programs.join("ipamd"));
        BenchNode::up(&Programs { plugin: programs.join("aws-cni"), daemon }, &base_folder.0)
    });
    let nodes: Vec<&BenchNode> = [&node].into_iter().chain(&base).collect();
    let mut contest = Contest::new(&node, base.as_ref(), &folder.0);
    let call = node.call("ADD", "process".into(), node.slot(who::Who::Start, 0, 0));
    let (started, plugin) = starts::measure(&call, contest.stock(), &folder.0);

    let mut daemons: Vec<Daemon> = nodes.iter().map(|_| Daemon::default()).collect();
    let mut at_once = vec![];
    for pods in PODS {
        nodes.iter().for_each(|node| node.crowd(pods));
        thread::sleep(QUIET);
        for (node, daemon) in nodes.iter().zip(&mut daemons) {
            let rest = Rest::watch(node.daemon(), WATCH);
            daemon.at_rest.push((pods, Memory::of(node.daemon()), rest));
        }
        for (at_once, all) in AT_ONCE {
            let case = Case { pods, at_once };
            for _ in 0..turns(all) {
                contest.round(case);
            }
        }
        if pods == CHURN.0 {
            at_once = many_at_once(&nodes, turns);
        }
    }
    for (node, daemon) in nodes.iter().zip(&mut daemons) {
        daemon.last = Some(Memory::of(node.daemon()));
        daemon.after_a_look = Some(many::after_a_look(node));
    }

    let out = &mut io::stdout().lock();
    print::started(out, &started, &plugin)?;
    print::times(out, &contest.times)?;
    print::at_once(out, &at_once)?;
    print::daemons(out, &daemons)?;
    print::goals(out, &contest.times, cost::size(node.plugin()), &daemons[0], &at_once[0])
}

/// Of each node in turns: pods that come while others go, and many that end together.
fn many_at_once(nodes: &[&BenchNode], turns: impl Fn(usize) -> usize) -> Vec<AtOnce> {
    let mut churns: Vec<Churn> = nodes.iter().map(|node| Churn::new(node)).collect();
    for _ in 0..turns(CHURN.1) {
        churns.iter_mut().for_each(Churn::turn);
    }
    let times = churns.into_iter().map(|churn| {
        let of = |times: &[(Verb, Duration)], verb| {
            let mut of: Vec<_> =
                times.iter().filter(|(it, _)| *it == verb).map(|(_, took)| *took).collect();
            of.sort();
            of
        };
        let times = churn.end();
        AtOnce { add: of(&times, Verb::Add), del: of(&times, Verb::Del), links_gone: vec![] }
    });
    let mut at_once: Vec<AtOnce> = times.collect();
    let bursts: Vec<Burst> = nodes.iter().map(|node| Burst::new(node)).collect();
    for _ in 0..turns(BURSTS) {
        for (burst, at_once) in bursts.iter().zip(&mut at_once) {
            at_once.links_gone.push(burst.turn());
        }
    }
    at_once.iter_mut().for_each(|at_once| at_once.links_gone.sort());
    at_once
}

/// Programs built as they ship end at once when they panic: nothing is dropped.
fn clean_up_on_panic(folders: [PathBuf; 2]) {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(panic);
        // The panic has reported what is wrong already.
        for (number, folder) in folders.iter().enumerate() {
            let world = format!("t{}-{number}", process::id());
            let _ =
                Command::new(tests::binary("vpc-sim")).args(["--name", &world, "down"]).status();
            let _ = fs::remove_dir_all(folder);
        }
        process::abort();
    }));
}

/// A folder in memory that goes with the measurement.
struct Folder(PathBuf);

impl Folder {
    fn new(of: &str) -> Self {
        let path = Path::new(IN_MEMORY).join(format!("pod-start-{}{of}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
