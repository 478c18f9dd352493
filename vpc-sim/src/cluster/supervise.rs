//! Programs that are started again when they end, as systemd does on a node.

use anyhow::{Context, Result};
use std::{
    fs::{File, OpenOptions},
    path::Path,
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{process::Command, task::JoinSet, time::sleep};

/// The pause before a program that ended is started again: `RestartSec` of kubelet's unit on EKS is 5,
/// here it is not waited so long.
const PAUSE: Duration = Duration::from_secs(1);

/// Programs of one machine, until they are told to end.
#[derive(Debug, Default)]
pub(super) struct Programs(Mutex<JoinSet<()>>);

impl Programs {
    /// Keeps a program running. What it prints goes to the end of `log`.
    pub(super) fn keep(
        &self,
        log: &Path,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(log);
        let log = log.context("open its log")?;
        // The first start is reported to who asked for it.
        let mut running = start(&command, &log)?;
        let task = async move {
            loop {
                let ended = running.wait().await;
                tracing::info!("a program of a node ended: {ended:?}");
                running = loop {
                    sleep(PAUSE).await;
                    match start(&command, &log) {
                        Ok(running) => break running,
                        Err(error) => tracing::warn!("{error:#}"),
                    }
                };
            }
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(task);
        Ok(())
    }

    /// Starts nothing any more, and ends what runs.
    pub(super) async fn end(&self) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

fn start(command: &impl Fn() -> Command, log: &File) -> Result<tokio::process::Child> {
    let mut command = command();
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    command.kill_on_drop(true);
    let program = format!("{:?}", command.as_std());
    command.spawn().with_context(|| format!("start {program}"))
}
