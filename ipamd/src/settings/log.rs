//! Settings of the logs: where their lines go, how many, and how long they are kept.

use super::{Settings, reader::Reader};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the daemon writes its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogFile {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    Path(PathBuf),
}

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people and `grep`.
    Text,
    /// One JSON object per line.
    Json,
}

/// What is kept of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogLimits {
    /// A file that would become larger is set aside, in bytes.
    pub size: u64,
    /// So many of those are kept.
    pub files: usize,
    /// For so long.
    pub age: Duration,
}

impl LogLimits {
    /// The peer's: 100 MB, five files besides the one that is written to, thirty days
    /// (`docs/references.md#peer-log`).
    pub(crate) const PEERS: Self =
        Self { size: 100 << 20, files: 5, age: Duration::from_secs(30 * DAY) };
}

const DAY: u64 = 86_400;

const LOG_FILE: &str = "/host/var/log/aws-routed-eni/ipamd.log";
const PLUGIN_LOG_FILE: &str = "/var/log/aws-routed-eni/plugin.log";

/// Where the DaemonSet shows folders of the node.
const HOST: &str = "/host";

/// A smaller file would be full after a few lines.
const SMALLEST: u64 = 4 << 10;

impl Settings {
    /// The plugin's log as the daemon can reach it: its path is one of the node, of which the daemon's
    /// container sees some folders below `/host`. `None` when it is no file, or in no folder that the
    /// daemon sees.
    pub(crate) fn plugin_log_here(&self) -> Option<PathBuf> {
        let path = Path::new(&self.plugin_log_file);
        let folder = path.parent()?;
        if !path.is_absolute() {
            return None;
        }
        let below = |root: &str| PathBuf::from(format!("{root}{}", folder.display()));
        let seen = [below(HOST), below("")].into_iter().find(|folder| folder.is_dir())?;
        Some(seen.join(path.file_name()?))
    }
}

impl Reader<'_> {
    pub(super) fn log_file(&self, name: &'static str) -> LogFile {
        let value = self.value(name).unwrap_or(LOG_FILE);
        match value.to_ascii_lowercase().as_str() {
            "stdout" => LogFile::Stdout,
            "stderr" => LogFile::Stderr,
            _ => LogFile::Path(value.into()),
        }
    }

    /// The plugin's: its standard output is what the runtime reads.
    pub(super) fn plugin_log_file(&mut self, name: &'static str) -> String {
        let parse = |value: &str| {
            let stderr = value.eq_ignore_ascii_case("stderr").then(|| "stderr".to_owned());
            stderr.or_else(|| value.starts_with('/').then(|| value.to_owned()))
        };
        let file = self.parse(name, "the path of a file on the node, or stderr", parse);
        file.unwrap_or_else(|| PLUGIN_LOG_FILE.into())
    }

    pub(super) fn level(&mut self, name: &'static str) -> tracing::Level {
        let parse = |value: &str| match value.to_ascii_lowercase().as_str() {
            "debug" => Some(tracing::Level::DEBUG),
            "info" => Some(tracing::Level::INFO),
            "warn" => Some(tracing::Level::WARN),
            "error" | "fatal" => Some(tracing::Level::ERROR),
            _ => None,
        };
        self.parse(name, "debug, info, warn, error or fatal", parse)
            .unwrap_or(tracing::Level::DEBUG)
    }

    pub(super) fn log_format(&mut self, name: &'static str) -> LogFormat {
        let parse = |value: &str| match value {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        };
        self.parse(name, "text or json", parse).unwrap_or(LogFormat::Text)
    }

    pub(super) fn log_limits(&mut self) -> LogLimits {
        let LogLimits { size, files, age } = LogLimits::PEERS;
        let legal = "a size of 4k or more, such as 100M";
        let size = self.parse("ENI_CNI_LOG_SIZE", legal, bytes).unwrap_or(size);
        let files = small(self, "ENI_CNI_LOG_FILES").map_or(files, usize::from);
        let days = small(self, "ENI_CNI_LOG_DAYS");
        let age = days.map_or(age, |days| Duration::from_secs(u64::from(days) * DAY));
        LogLimits { size, files, age }
    }
}

fn small(reader: &mut Reader, name: &'static str) -> Option<u16> {
    u16::try_from(reader.number(name, 0, u16::MAX.into())?).ok()
}

/// A number with `k`, `M` or `G` behind it: powers of 1,024.
fn bytes(value: &str) -> Option<u64> {
    let (digits, shift) = match value.as_bytes().last()? {
        b'k' | b'K' => (&value[..value.len() - 1], 10),
        b'M' => (&value[..value.len() - 1], 20),
        b'G' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes >= SMALLEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_size_is_a_number_of_bytes_or_of_powers_of_1024() {
        for (value, want) in [
            ("4096", Some(4096)),
            ("64k", Some(65_536)),
            ("100M", Some(104_857_600)),
            ("1G", Some(1 << 30)),
            ("1k", None),
            ("0", None),
            ("100MB", None),
            ("-1", None),
            ("M", None),
            ("99999999999999G", None),
        ] {
            assert_eq!(bytes(value), want, "{value}");
        }
    }

    #[test]
    fn without_settings_logs_have_the_peers_limits() {
        let settings = Settings::read(&BTreeMap::new()).unwrap();

        assert_eq!(settings.log_limits, LogLimits::PEERS);
        assert_eq!(settings.log_file, LogFile::Path(LOG_FILE.into()));
        assert_eq!(settings.plugin_log_file, PLUGIN_LOG_FILE);
    }

    #[test]
    fn the_plugins_log_cannot_be_what_the_runtime_reads() {
        let read = |value: &str| {
            let name = "AWS_VPC_K8S_PLUGIN_LOG_FILE".to_owned();
            Settings::read(&[(name, value.to_owned())].into())
        };

        assert!(read("stdout").is_err());
        assert!(read("plugin.log").is_err());
        assert_eq!(read("STDERR").unwrap().plugin_log_file, "stderr");
        assert_eq!(read("stderr").unwrap().plugin_log_here(), None);
        assert_eq!(read("/no/such/folder/plugin.log").unwrap().plugin_log_here(), None);
        let here = std::env::temp_dir().join("plugin.log");
        assert_eq!(read(here.to_str().unwrap()).unwrap().plugin_log_here(), Some(here));
    }
}
