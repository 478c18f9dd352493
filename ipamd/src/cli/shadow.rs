//! `ipamd shadow`: what a take-over would find and do, told beside whoever serves the node.
//!
//! It writes nothing: the report goes to standard output, the log to standard error, and no folder,
//! lock or socket of the node is touched. It listens only where it is told to show its metrics.

use super::{daemon, environment};
use crate::{
    clock,
    evidence::shadow::{Report, look},
    http,
    retry::patiently,
    settings::{Door, LogFile, Settings},
    tell::{
        log,
        metrics::{self, Page},
        report::step,
    },
};
use anyhow::{Context, Result};
use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

/// One look takes no longer: the slowest answers of EC2 that were seen take ten seconds.
const LONGEST_LOOK: Duration = Duration::from_secs(120);

/// The exit code of one look that found disagreements.
const DISAGREE: u8 = 1;

/// The exit code when it could not look.
const BLIND: u8 = 2;

/// Looks once, or again and again until a signal comes.
pub(super) fn run() -> ExitCode {
    begin().unwrap_or_else(|error| {
        super::tell(&error);
        ExitCode::from(BLIND)
    })
}

fn begin() -> Result<ExitCode> {
    let mut settings = daemon::settings(&environment::variables())?;
    settings.log_file = LogFile::Stderr;
    // Whoever serves the node has it.
    settings.plugin_log_file = "stderr".into();
    log::start(&settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            outcome = shadow(&settings) => outcome,
            _ = terminate.recv() => Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => Ok(ExitCode::SUCCESS),
        }
    })
}

async fn shadow(settings: &Settings) -> Result<ExitCode> {
    if settings.shadow_interval.is_zero() {
        let found = look_in_time(settings).await?;
        super::print(&found.to_string());
        let agree = found.disagreements.is_empty();
        return Ok(if agree { ExitCode::SUCCESS } else { ExitCode::from(DISAGREE) });
    }
    let shown = Arc::new(Mutex::new(Page::new()));
    if let Some(port) = settings.shadow_port {
        let shown = shown.clone();
        let page = move || shown.lock().unwrap_or_else(PoisonError::into_inner).shadow_text();
        tokio::spawn(async move {
            patiently("serve metrics", || http::metrics::serve(Door::at(port), page.clone())).await;
        });
    }
    loop {
        match look_in_time(settings).await {
            Ok(found) => {
                super::print(&format!("{found}\n"));
                *shown.lock().unwrap_or_else(PoisonError::into_inner) = page(&found);
            }
            // The page keeps what was last seen, and when that was.
            Err(error) => warn!(error = format!("{error:#}"), "failed to look at this node"),
        }
        tokio::time::sleep(settings.shadow_interval).await;
    }
}

async fn look_in_time(settings: &Settings) -> Result<Report> {
    let looked = tokio::time::timeout(LONGEST_LOOK, look(settings)).await;
    looked.with_context(|| format!("look at this node: no end within {LONGEST_LOOK:?}"))?
}

/// What was found, as metrics.
fn page(found: &Report) -> Page {
    let count = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    let mut page = Page::new();
    page.set(&metrics::SHADOW_LOOKED_AT, &[], clock::machine().0.as_secs_f64());
    page.set(&metrics::SHADOW_DISAGREEMENTS, &[], count(found.disagreements.len()));
    for line in &found.disagreements {
        for odd in &line.odd {
            let labels = [&line.address.to_string(), odd.word()];
            page.set(&metrics::SHADOW_DISAGREEMENT, &labels, 1.0);
        }
    }
    page.set(&metrics::SHADOW_PODS, &[], count(found.adoptions.len()));
    page.set(&metrics::SHADOW_HELD, &[], count(found.held.len()));
    for action in &found.pool.plan.actions {
        page.add(&metrics::SHADOW_ACTIONS, &[step(action)], 1.0);
    }
    page
}
