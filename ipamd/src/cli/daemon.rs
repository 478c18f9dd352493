//! The daemon as a process: settings, log, runtime, signals.

use super::{capabilities, start};
use crate::{
    pods::checkpoint,
    settings::{self, Settings, Support},
    tell::log,
};
use anyhow::{Result, bail};
use std::{collections::BTreeMap, env, fs};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Lets all threads allocate from one arena. glibc gives threads arenas of their own, and each keeps
/// what its busiest moment took: with 250 pods a fifth of the daemon's own memory.
#[cfg(target_env = "gnu")]
fn share_one_arena() {
    use nix::libc::{M_ARENA_MAX, mallopt};
    #[expect(unsafe_code, reason = "a setting of the C library, which has no other way in")]
    // SAFETY: mallopt takes two numbers, and no other thread runs yet.
    let _ = unsafe { mallopt(M_ARENA_MAX, 1) };
}

#[cfg(not(target_env = "gnu"))]
fn share_one_arena() {}

/// What this process was given.
pub(super) fn environment() -> BTreeMap<String, String> {
    env::vars_os()
        .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()))
        .collect()
}

/// The settings in it.
///
/// # Errors
/// All that are wrong.
pub(super) fn settings(environment: &BTreeMap<String, String>) -> Result<Settings> {
    match Settings::read(environment) {
        Ok(settings) => Ok(settings),
        Err(bad) => bail!("{}", bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

/// Serves this node until a signal comes.
pub(super) fn run() -> Result<()> {
    share_one_arena();
    let environment = environment();
    let settings = settings(&environment)?;
    log::start(&settings);
    info!(
        in_force = ?settings::in_force(&environment, Support::Works),
        without_effect = ?settings::in_force(&environment, Support::NoEffect),
        not_supported_yet = ?settings::in_force(&environment, Support::NotYet),
        "settings"
    );
    capabilities::check()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let ended = runtime.block_on(serve(settings));
    // Ends with the process: tasks that are dropped one by one log errors about each other.
    std::mem::forget(runtime);
    ended
}

/// Threads for EC2, Kubernetes and HTTP; pods are wired on threads of their own.
const WORKERS: usize = 2;

async fn serve(settings: Settings) -> Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let socket = settings.run_dir.join(rpc::SOCKET_NAME);
    let ended = tokio::select! {
        // Started, it serves until a signal comes.
        started = start::start(settings) => match started {
            Ok(node) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if let Err(error) = checkpoint::write(&node) {
                    warn!(error = format!("{error:#}"), "failed to write the checkpoint at the end");
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    if ended.is_ok() {
        // So that the plugin knows at once that nobody is there.
        let _ = fs::remove_file(&socket);
        info!("ends on a signal; pods keep their network");
    }
    ended
}
