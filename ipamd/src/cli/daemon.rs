//! The daemon as a process: settings, log, runtime, signals.

use super::{capabilities, environment, start, stay_down};
use crate::{
    memory,
    node::Node,
    panics,
    pods::checkpoint,
    settings::{self, Settings},
    tell::log,
};
use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use std::{
    collections::BTreeMap, env, fs, os::unix::process::CommandExt, path::Path, process::Command,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};
use tracing::{info, warn};

/// The settings in an environment.
///
/// # Errors
/// All that are wrong.
pub(super) fn settings(environment: &BTreeMap<String, String>) -> Result<Settings> {
    match Settings::read(environment) {
        Ok(settings) => Ok(settings),
        Err(bad) => bail!("{}", bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

/// The name of this process while it serves. The EKS node monitoring agent looks for one with the name
/// of the peer's daemon, and has nodes replaced that lack it (docs/references.md#node-monitoring).
const NAME: &str = "aws-k8s-agent";

/// Gives this process its name: what `ps` and `/proc/PID/comm` show.
fn name_process() {
    if let Err(error) = fs::write("/proc/self/comm", NAME) {
        warn!(error = %error, "failed to name this process {NAME}: the EKS node monitoring agent does not find it");
    }
}

/// Serves this node until a signal comes.
pub(super) fn run() -> Result<()> {
    memory::share_one_arena();
    panics::end_the_process();
    let environment = environment::variables();
    let read = settings(&environment);
    // Why it does not start is in the log, too.
    log::start(read.as_ref().unwrap_or(&Settings::of_log(&environment)));
    let settings = read?;
    name_process();
    tell_settings(&environment, &settings);
    capabilities::check()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(serve(settings));
    // Ends with the process: tasks that are dropped one by one log errors about each other.
    std::mem::forget(runtime);
    ended
}

/// Says what is set, and warns of each setting that is not acted on.
fn tell_settings(environment: &BTreeMap<String, String>, settings: &Settings) {
    let set: Vec<_> = settings::judge(environment).iter().map(ToString::to_string).collect();
    info!(?set, "settings");
    for it in &settings.not_acted_on {
        warn!(setting = %it, "a setting is not acted on");
    }
}

/// Threads for EC2, Kubernetes and HTTP; pods are wired on threads of their own.
const WORKERS: usize = 2;

/// What drives everything that waits for a network.
pub(super) fn runtime() -> Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(WORKERS).enable_all().build()?)
}

/// The signal that asks a daemon to serve no more, because its node is handed back.
pub(super) const LET_GO: Signal = Signal::SIGUSR1;

async fn serve(settings: Settings) -> Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut let_go = signal(SignalKind::from_raw(LET_GO as i32))?;
    let run_dir = settings.run_dir.clone();
    tokio::select! {
        () = stay_down::wait(&run_dir) => {}
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    }
    // On a thread of its own: parts of it block, and a signal ends it all the same.
    let started = tokio::spawn(start::start(settings));
    let ended = tokio::select! {
        // Started, it serves until a signal comes.
        started = started => match started.context("start")? {
            Ok(serving) => {
                let end = tokio::select! {
                    _ = terminate.recv() => End::Process,
                    _ = interrupt.recv() => End::Process,
                    () = told(&mut let_go, &run_dir) => End::Serving,
                };
                serving.finish().await;
                if let Err(error) = checkpoint::write(&serving.node) {
                    warn!(error = format!("{error:#}"), "failed to write the checkpoint at the end");
                }
                Ok((end, Some(serving.node)))
            }
            Err(error) => Err(error),
        },
        _ = terminate.recv() => Ok((End::Process, None)),
        _ = interrupt.recv() => Ok((End::Process, None)),
        () = told(&mut let_go, &run_dir) => Ok((End::Serving, None)),
    };
    let (end, node) = ended?;
    // If it ends before it serves: so that the plugin knows at once that nobody is there.
    let _ = fs::remove_file(run_dir.join(rpc::SOCKET_NAME));
    match end {
        End::Process => info!("ends on a signal; pods keep their network"),
        End::Serving => return begin_anew(node.as_deref()),
    }
    Ok(())
}

/// What ends with a signal.
enum End {
    /// This process.
    Process,
    /// What it does: it goes on, and serves nothing.
    Serving,
}

/// Returns once this node is handed back: both the signal and the file say so.
async fn told(let_go: &mut tokio::signal::unix::Signal, run_dir: &Path) {
    loop {
        let_go.recv().await;
        if stay_down::is_told(run_dir) {
            return;
        }
        warn!("asked to serve no more, but this node is not handed back: goes on");
    }
}

/// Becomes a process that has started just now: all threads, locks and sockets are gone at once, and
/// whoever watches this process, as a kubelet does, sees no end of it.
fn begin_anew(node: Option<&Node>) -> Result<()> {
    info!("serves no more: this node is handed back; pods keep their network");
    // Nobody is in the middle of a line of the record then.
    let _record = node.map(|node| node.store.state());
    let mut command = Command::new("/proc/self/exe");
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let error = command.args(arguments).exec();
    Err(error).context("start anew")
}
