//! `up` and `down`: the life of a world.

use super::print;
use crate::cluster::ProxyMode;
use crate::world::{
    Folder, World, WorldFile,
    control::{self, Request},
    process::Process,
};
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;
use std::{ffi::OsString, io, path::PathBuf, sync::Arc, thread, time::Duration};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

/// How long a world may take to end; daemons are killed, so it takes a second.
const DOWN_LIMIT: Duration = Duration::from_secs(30);

/// How long work may go on that was begun before the end.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// What ends a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A command or a signal.
    WhenTold,
    /// The end of standard input as well.
    WithStdin,
}

/// How long a world may take until it answers, if nothing else is said: a second, and with a real control
/// plane half a minute where the machine is loaded.
pub(super) const READY_LIMIT: &str = "3m";

/// Which world.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// Description of the world; without one, the default world
    #[arg(long)]
    pub(super) world: Option<PathBuf>,
    /// Run a real Kubernetes of the programs in this folder: etcd, kube-apiserver,
    /// kube-controller-manager, kube-scheduler, kubelet, kube-proxy, kubectl; archives of images in
    /// its folder `images` are on every node
    #[arg(long, value_name = "FOLDER")]
    pub(super) kubernetes: Option<PathBuf>,
    /// How kube-proxy of a real Kubernetes works
    #[arg(long, value_name = "MODE")]
    pub(super) kube_proxy: Option<ProxyMode>,
}

impl UpArgs {
    fn read(&self) -> Result<WorldFile> {
        let mut file = WorldFile::read(self.world.as_deref())?;
        if let Some(folder) = &self.kubernetes {
            file.kubernetes.programs = Some(folder.clone());
        }
        if let Some(proxy) = self.kube_proxy {
            file.kubernetes.proxy = proxy;
        }
        Ok(file)
    }

    /// The arguments as another process in another folder is given them.
    pub(super) fn absolute(&self) -> Result<Vec<OsString>> {
        let mut arguments = Vec::new();
        for (option, path) in [("--world", &self.world), ("--kubernetes", &self.kubernetes)] {
            if let Some(path) = path {
                let path = std::path::absolute(path);
                arguments.push(option.into());
                arguments.push(path.with_context(|| format!("find what {option} names"))?.into());
            }
        }
        if let Some(proxy) = self.kube_proxy.as_ref().and_then(ValueEnum::to_possible_value) {
            arguments.extend(["--kube-proxy".into(), proxy.get_name().into()]);
        }
        Ok(arguments)
    }
}

/// Runs a world until its end.
pub(super) fn up(name: &str, args: &UpArgs, end: End) -> Result<()> {
    let level = tracing::Level::INFO;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).init();
    let file = args.read()?;
    let runtime = Runtime::new().context("start a runtime")?;
    let ended = runtime.block_on(run(name, file, end));
    // A plugin that hangs holds a thread for minutes.
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    ended
}

async fn run(name: &str, file: WorldFile, end: End) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let world = World::up(name, file).await?;
    let ended = Arc::new(Notify::new());
    if end == End::WithStdin {
        let ended = Arc::clone(&ended);
        thread::spawn(move || {
            // An input that cannot be read has ended, too.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            ended.notify_one();
        });
    }
    let ready = control::serve(&world, Arc::clone(&ended))
        .and_then(|()| print::line(&serde_json::to_value(world.summary())?));
    if ready.is_ok() {
        tokio::select! {
            () = ended.notified() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    world.down().await.and(ready)
}

/// Ends a world, whatever state it is in. One that is gone has ended.
pub(super) fn down(folder: &Folder) -> Result<()> {
    let process = folder.process();
    if let Err(error) = control::ask(folder, &Request::Down) {
        tracing::debug!("{error:#}");
        if let Some(process) = process {
            process.signal(Signal::SIGTERM);
        }
    }
    if let Some(process) = process {
        ends(folder.world(), process)?;
    }
    folder.remove()
}

/// Ends the process of a world, which removes what it made.
pub(super) fn end(world: &str, process: Process) -> Result<()> {
    process.signal(Signal::SIGTERM);
    ends(world, process)
}

/// Waits for the end of a process that was asked to end, and kills it if it must.
fn ends(world: &str, process: Process) -> Result<()> {
    if !process.ends_within(DOWN_LIMIT) {
        process.signal(Signal::SIGKILL);
        if !process.ends_within(DOWN_LIMIT) {
            bail!("end world {world}: process {} cannot be killed", process.pid);
        }
    }
    Ok(())
}
