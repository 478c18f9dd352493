//! Where the daemon's log goes, and how much of it.

use crate::settings::{LogFile, Settings};
use std::{fs, sync::Mutex};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Starts the log as the settings say.
pub(crate) fn start(settings: &Settings) {
    let mut failed = None;
    let writer = match &settings.log_file {
        LogFile::Stdout => BoxMakeWriter::new(std::io::stdout),
        LogFile::Stderr => BoxMakeWriter::new(std::io::stderr),
        LogFile::Path(path) => {
            let open = || {
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
                fs::OpenOptions::new().create(true).append(true).open(path)
            };
            match open() {
                Ok(file) => BoxMakeWriter::new(Mutex::new(file)),
                // A disk that takes no log does not keep the node from being served.
                Err(error) => {
                    failed = Some((path, error));
                    BoxMakeWriter::new(std::io::stderr)
                }
            }
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
    if let Some((path, error)) = failed {
        tracing::warn!(error = %error, path = %path.display(), "failed to open the log: it goes to stderr");
    }
}
