//! The plugin's own lines of its log: what no daemon knows of, because none was reached.
//!
//! The daemon writes the lines of what it answered, and keeps the file at its size. Where the log is
//! stands in the network configuration (`pluginLogFile`, `pluginLogLevel`), as it does for the peer.

use crate::stamp::rfc3339;
use nix::fcntl::OFlag;
use quoted::{LONG, quoted};
use serde::Deserialize;
use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Nothing is added to a file of this size: daemons begin a new one before. So a node without a daemon
/// does not fill its disk.
pub const FULL: u64 = 128 << 20;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The request failed.
    Error,
    /// It is carried out later.
    Warn,
}

/// What the network configuration says of the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    plugin_log_file: String,
    plugin_log_level: String,
}

/// Adds a line to the plugin's log, with one write. A log that takes nothing is no matter of the
/// request: nothing is said then.
pub fn append(stdin: &[u8], level: Level, message: &str, fields: &[(&str, &str)]) {
    let Ok(conf) = serde_json::from_slice::<Conf>(stdin) else { return };
    if level > most_detailed(&conf.plugin_log_level) {
        return;
    }
    let line = line(SystemTime::now(), level, message, fields);
    let _ = match conf.plugin_log_file.as_str() {
        "stderr" => io::stderr().write_all(line.as_bytes()),
        path if Path::new(path).is_absolute() => add(&PathBuf::from(path), line.as_bytes()),
        // Standard output is the runtime's.
        _ => Ok(()),
    };
}

/// The words are the peer's; what is no such word is its default, debug.
fn most_detailed(level: &str) -> Level {
    match level.to_ascii_lowercase().as_str() {
        "error" | "fatal" => Level::Error,
        _ => Level::Warn,
    }
}

fn add(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    // A pipe without a reader is not waited for.
    let flags = OFlag::O_NONBLOCK.bits();
    let mut file = options.append(true).create(true).mode(0o644).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.len() >= FULL {
        return Ok(());
    }
    // One write at the end of the file: the lines of plugins that run side by side stay whole.
    file.write(line).map(drop)
}

/// As the daemon's lines are: time, level, what happened, and what with.
fn line(at: SystemTime, level: Level, message: &str, fields: &[(&str, &str)]) -> String {
    let level = match level {
        Level::Error => "ERROR",
        Level::Warn => " WARN",
    };
    let mut line = format!("{} {level} aws-cni: {message}", rfc3339(at));
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        line.push_str(&format!(" {name}={}", quoted(format_args!("{value:?}"), LONG)));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, time::UNIX_EPOCH};

    #[test]
    fn a_line_is_one_line_whatever_the_names_are() {
        let name = format!("web\nERROR x\u{1b}[2J\"{}", "y".repeat(5000));

        let line = line(UNIX_EPOCH, Level::Error, "failed", &[("pod", &name), ("netns", "")]);

        let head =
            r#"1970-01-01T00:00:00.000Z ERROR aws-cni: failed pod="web\nERROR x\u{1b}[2J\"yy"#;
        assert!(line.starts_with(head), "{line}");
        assert!(line.ends_with("y… (4001 more characters)\n") && line.len() < 1200, "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn lines_are_added_as_the_configuration_says() {
        for (row, level, of, lines) in [
            ("default", "", Level::Warn, 1),
            ("as the peer writes it", "Debug", Level::Warn, 1),
            ("errors only", "error", Level::Warn, 0),
            ("an error", "FATAL", Level::Error, 1),
        ] {
            let path = temporary(row);
            let conf = conf(&path, level);

            append(conf.as_bytes(), of, "failed", &[]);
            let found = fs::read_to_string(&path).unwrap_or_default();
            let _ = fs::remove_file(&path);

            assert_eq!(found.lines().count(), lines, "{row}: {found}");
        }
    }

    #[test]
    fn what_cannot_be_written_to_is_left_alone() {
        let (full, pipe) = (temporary("full"), temporary("pipe"));
        fs::File::create(&full).unwrap().set_len(FULL).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();

        append(conf(&full, "").as_bytes(), Level::Error, "failed", &[]);
        append(conf(&pipe, "").as_bytes(), Level::Error, "failed", &[]);
        append(conf(Path::new("stdout"), "").as_bytes(), Level::Error, "failed", &[]);
        append(conf(Path::new("/nowhere/plugin.log"), "").as_bytes(), Level::Error, "failed", &[]);
        append(b"no JSON", Level::Error, "failed", &[]);
        let length = fs::metadata(&full).unwrap().len();
        for path in [full, pipe] {
            let _ = fs::remove_file(path);
        }

        assert_eq!(length, FULL);
    }

    fn conf(path: &Path, level: &str) -> String {
        format!(r#"{{"pluginLogFile":"{}","pluginLogLevel":"{level}"}}"#, path.display())
    }

    fn temporary(name: &str) -> PathBuf {
        let name = name.replace(' ', "-");
        std::env::temp_dir().join(format!("eni-plugin-log-{name}-{}", std::process::id()))
    }
}
