//! The daemon of each node: attaches interfaces, keeps warm addresses, wires pods.

mod capabilities;
mod carry_out;
mod ec2;
mod gone;
mod handle;
mod imds;
mod install;
mod journal;
mod kube;
mod limits;
mod metrics;
mod node;
mod reconcile;
mod repair;
mod report;
mod serve;
mod settings;
mod start;
mod views;
mod vpc_blocks;
mod wanted;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use settings::{LogFile, Settings, Support};
use std::{collections::BTreeMap, env, fs, process::ExitCode, sync::Mutex};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(error = format!("{error:#}"), "ipamd ends");
            report(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "whoever starts the daemon sees why it ends, also before there is a log"
)]
fn report(error: &anyhow::Error) {
    eprintln!("ipamd: {error:#}");
}

/// The daemon of each node: attaches interfaces, keeps warm addresses, wires pods. Everything is
/// set by environment variables; see `ipamd settings`.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints every setting, its default, and whether it works
    Settings,
    /// Prints every metric, its labels, and what it says
    Metrics,
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn print(table: &str) {
    print!("{table}");
}

fn run() -> Result<()> {
    match Arguments::parse().command {
        None => daemon(),
        Some(Command::Settings) => {
            print(&settings::table());
            Ok(())
        }
        Some(Command::Metrics) => {
            print(&metrics::table());
            Ok(())
        }
    }
}

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

fn daemon() -> Result<()> {
    share_one_arena();
    let environment: BTreeMap<String, String> = env::vars_os()
        .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()))
        .collect();
    let settings = match Settings::read(&environment) {
        Ok(settings) => settings,
        Err(bad) => bail!("{}", bad.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    };
    start_log(&settings)?;
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
            Ok(_node) => tokio::select! {
                _ = terminate.recv() => Ok(()),
                _ = interrupt.recv() => Ok(()),
            },
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

fn start_log(settings: &Settings) -> Result<()> {
    let writer = match &settings.log_file {
        LogFile::Stdout => BoxMakeWriter::new(std::io::stdout),
        LogFile::Stderr => BoxMakeWriter::new(std::io::stderr),
        LogFile::Path(path) => {
            let open = || {
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::OpenOptions::new().create(true).append(true).open(path)
            };
            BoxMakeWriter::new(Mutex::new(
                open().with_context(|| format!("open the log {}", path.display()))?,
            ))
        }
    };
    // Libraries speak up only when something is wrong.
    let levels = tracing_subscriber::filter::Targets::new()
        .with_default(tracing::Level::WARN)
        .with_target("ipamd", settings.log_level);
    use tracing_subscriber::prelude::*;
    tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer))
        .with(levels)
        .init();
    Ok(())
}
