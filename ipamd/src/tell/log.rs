//! Where the daemon's log goes, and how much of it.

use crate::settings::{LogFile, Settings};
use anyhow::{Context, Result};
use std::{fs, sync::Mutex};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Starts the log as the settings say.
pub(crate) fn start(settings: &Settings) -> Result<()> {
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
