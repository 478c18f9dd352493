//! What it costs to start and to stop a pod: ours, the stock plugins, the bare kernel, in one run.
//!
//! `pod-start PLUGIN [short]`: the plugin as it is shipped. Needs root, Debian's
//! containernetworking-plugins, and `ipamd` and `vpc-sim` beside the folder of this program.
#![expect(clippy::unwrap_used, reason = "a measurement that went wrong is none")]

mod contest;
mod cost;
mod empty;
mod floor;
mod node;
mod print;
mod run;
mod starts;
mod who;

use contest::{Case, Contest};
use cost::{Memory, Rest};
use node::BenchNode;
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

/// Until pending work has ended: links that the reaper removes, addresses in cooldown.
const QUIET: Duration = Duration::from_secs(4);

/// A file system in memory, as `/var/run` of a real node is.
const IN_MEMORY: &str = "/dev/shm";

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let plugin: PathBuf = arguments.next().expect("pod-start PLUGIN [short]").into();
    let short = arguments.next().is_some_and(|it| it == "short");
    let turns = |all: usize| if short { all.div_ceil(8) } else { all };

    let folder = Folder::new();
    clean_up_on_panic(folder.0.clone());
    let node = BenchNode::up(&plugin, &folder.0);
    let mut contest = Contest::new(&node, &folder.0);
    let call = node.call("ADD", "process".into(), node.slot(who::Who::Start, 0));
    let (started, plugin) = starts::measure(&call, contest.stock(), &folder.0);

    let mut daemon = vec![];
    for pods in PODS {
        node.crowd(pods);
        thread::sleep(QUIET);
        daemon.push((pods, Memory::of(node.daemon()), Rest::watch(node.daemon(), WATCH)));
        for (at_once, all) in AT_ONCE {
            let case = Case { pods, at_once };
            for _ in 0..turns(all) {
                contest.round(case);
            }
        }
    }
    let last = Memory::of(node.daemon());

    let out = &mut io::stdout().lock();
    print::started(out, &started, &plugin)?;
    print::times(out, &contest.times)?;
    print::daemon(out, &daemon, last)?;
    print::goals(out, &contest.times, cost::size(node.plugin()), &daemon)
}

/// Programs built as they ship end at once when they panic: nothing is dropped.
fn clean_up_on_panic(folder: PathBuf) {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(panic);
        let world = format!("t{}-0", process::id());
        // The panic has reported what is wrong already.
        let _ = Command::new(tests::binary("vpc-sim")).args(["--name", &world, "down"]).status();
        let _ = fs::remove_dir_all(&folder);
        process::abort();
    }));
}

/// A folder in memory that goes with the measurement.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = Path::new(IN_MEMORY).join(format!("pod-start-{}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
