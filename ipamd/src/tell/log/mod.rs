//! Where lines of the log go, and how much of them.
//!
//! All go to the log's file. Warnings, errors and what happens once in a daemon's life go to standard
//! error as well, where `kubectl logs` shows them. What requests of the runtime came to goes to the
//! plugin's log as well: the daemon knows what the plugin does not. A line is formatted once.

mod field;
mod json;
mod rotating;
mod sink;

use crate::settings::{LogFile, LogFormat, LogLimits, Settings};
use rotating::Rotating;
use sink::Sink;
use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    path::PathBuf,
    sync::OnceLock,
    time::{Duration, Instant},
};
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, field::MakeExt, fmt, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Marks the lines that say what a request of the runtime came to.
pub(crate) const REQUESTS: &str = "ipamd::requests";

/// Lines of these parts happen once in a daemon's life: settings, who this node is, what was taken
/// over, that it serves, and its end.
const ONCE: [&str; 2] = ["ipamd::cli", "ipamd::evidence::adopt"];

/// How long an end waits for lines to be written: a disk that takes nothing does not delay it longer.
const END: Duration = Duration::from_secs(1);

/// Where lines go.
static OUTPUT: OnceLock<Output> = OnceLock::new();

/// Starts the log as the settings say.
pub(crate) fn start(settings: &Settings) {
    let output = OUTPUT.get_or_init(|| Output::open(settings));
    // Libraries speak up only when something is wrong.
    let levels = tracing_subscriber::filter::Targets::new()
        .with_default(Level::WARN)
        // This one logs every error that it returns; it is logged where it is handled, with what to do.
        .with_target("kube_client", LevelFilter::OFF)
        .with_target("ipamd", settings.log_level)
        .with_target(REQUESTS, output.requests());
    let layer = fmt::layer().with_ansi(false).with_writer(output);
    let layer = match settings.log_format {
        LogFormat::Text => {
            layer.fmt_fields(fmt::format::debug_fn(field::write).delimited(" ")).boxed()
        }
        LogFormat::Json => layer.event_format(json::Lines).boxed(),
    };
    // A second start in one process leaves the first log as it is.
    if tracing_subscriber::registry().with(layer.with_filter(levels)).try_init().is_err() {
        return;
    }
    if settings.plugin_log_file != "stderr" && settings.plugin_log_here().is_none() {
        tracing::warn!(
            path = settings.plugin_log_file,
            "failed to find the folder of the plugin's log, here and below /host: mount it; until then only the plugin writes there, of requests that reach no daemon"
        );
    }
}

/// Waits until all lines are written, or for a second.
pub(crate) fn flush() {
    let deadline = Instant::now() + END;
    for sink in OUTPUT.get().into_iter().flat_map(Output::sinks) {
        sink.flush(deadline);
    }
}

/// The places that lines go to.
#[derive(Debug)]
struct Output {
    /// Everything.
    log: To,
    /// What `kubectl logs` shows besides, when the log is a file.
    stderr: Option<Sink>,
    /// What requests came to.
    plugin: Option<To>,
}

/// A place, and the most detailed level that it gets.
#[derive(Debug)]
struct To {
    level: LevelFilter,
    sink: Sink,
}

impl Output {
    fn open(settings: &Settings) -> Self {
        let file = |name, path: PathBuf, limits: LogLimits| {
            let mut file = Rotating::new(path, limits);
            Sink::start(name, move |lines| file.write(lines))
        };
        let limits = settings.log_limits;
        let (sink, stderr) = match &settings.log_file {
            LogFile::Stdout => (stream("log", io::stdout()), None),
            LogFile::Stderr => (stream("log", io::stderr()), None),
            LogFile::Path(path) => {
                let stderr = stream("log-stderr", io::stderr());
                (file("log", path.clone(), limits), Some(stderr))
            }
        };
        let plugin = settings.plugin_log_here().map(|path| To {
            level: settings.plugin_log_level.into(),
            sink: file("log-plugin", path, limits),
        });
        Self { log: To { level: settings.log_level.into(), sink }, stderr, plugin }
    }

    /// The most detailed level of lines about requests that somebody gets.
    fn requests(&self) -> LevelFilter {
        let plugin = self.plugin.as_ref().map_or(LevelFilter::OFF, |plugin| plugin.level);
        self.log.level.max(plugin)
    }

    fn sinks(&self) -> impl Iterator<Item = &Sink> {
        let plugin = self.plugin.as_ref().map(|plugin| &plugin.sink);
        [Some(&self.log.sink), self.stderr.as_ref(), plugin].into_iter().flatten()
    }

    /// Where a line goes.
    fn line(&self, level: Level, target: &str) -> Line<'_> {
        let is_request = target == REQUESTS;
        let log = (!is_request || level <= self.log.level).then_some(&self.log.sink);
        let once = level <= Level::INFO && ONCE.iter().any(|part| target.starts_with(part));
        let stderr = self.stderr.as_ref();
        let stderr = stderr.filter(|_| once || (log.is_some() && level <= Level::WARN));
        let plugin = self.plugin.as_ref().filter(|to| is_request && level <= to.level);
        Line([log, stderr, plugin.map(|to| &to.sink)])
    }
}

/// A duplicate, so that a stream which takes nothing holds no lock that a panic needs.
fn stream(name: &'static str, stream: impl AsFd) -> Sink {
    let mut stream = stream.as_fd().try_clone_to_owned().map(File::from);
    Sink::start(name, move |lines| match &mut stream {
        Ok(stream) => stream.write_all(lines),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    })
}

/// One line, on its way to those places.
struct Line<'a>([Option<&'a Sink>; 3]);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for sink in self.0.into_iter().flatten() {
            sink.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for &'static Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line(Level::ERROR, "")
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        self.line(*meta.level(), meta.target())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_goes_to_those_who_look_for_it() {
        let to = |level| To { level, sink: Sink::start("t", |_| Ok(())) };
        let output = Output {
            log: to(LevelFilter::INFO),
            stderr: Some(Sink::start("t", |_| Ok(()))),
            plugin: Some(to(LevelFilter::DEBUG)),
        };
        for (row, level, target, want) in [
            ("of everyday", Level::INFO, "ipamd::execute", [true, false, false]),
            ("a warning", Level::WARN, "ipamd::execute", [true, true, false]),
            ("once in a life", Level::INFO, "ipamd::cli::start", [true, true, false]),
            ("a detail of the start", Level::DEBUG, "ipamd::cli::start", [true, false, false]),
            ("a request", Level::INFO, REQUESTS, [true, false, true]),
            ("a request that failed", Level::WARN, REQUESTS, [true, true, true]),
            ("a detail of a request", Level::DEBUG, REQUESTS, [false, false, true]),
        ] {
            let line = output.line(level, target);

            assert_eq!(line.0.map(|to| to.is_some()), want, "{row}");
        }
        assert_eq!(output.requests(), LevelFilter::DEBUG);
    }
}
