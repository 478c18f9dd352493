//! A file that lines are added to, and that is set aside when it is full.
//!
//! Names of those set aside are the peer's (`ipamd-2026-12-01T14-03-07.012.log`), compressed or not, so
//! that each of the two daemons removes in time what the other has left. The file is looked at before
//! each write, so that whoever renames, removes or truncates it is followed.

use crate::settings::LogLimits;
use record::stamp::rfc3339;
use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// What the peer compresses is named so.
const COMPRESSED: &str = ".gz";

/// Names differ by so much.
const MILLISECOND: Duration = Duration::from_millis(1);

/// How many names are tried for a file that is set aside.
const NAMES: u32 = 1000;

/// The file.
#[derive(Debug)]
pub(super) struct Rotating {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    /// The last write ended within a line.
    torn: bool,
    /// The time in the name of the last file that was set aside: names sort by age.
    last: Option<SystemTime>,
}

impl Rotating {
    /// Nothing is opened before the first line.
    pub(super) fn new(path: PathBuf, limits: LogLimits) -> Self {
        Self { path, limits, file: None, torn: false, last: None }
    }

    /// Adds whole lines. Where not all of them fit, the rest begins a new file.
    ///
    /// # Errors
    /// They could not be written, or not all of them.
    pub(super) fn write(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let size = self.look()?;
            let room = self.limits.size.saturating_sub(size);
            match fitting(lines, room) {
                0 if size > 0 => self.set_aside(SystemTime::now())?,
                // A line that is longer than a file may be has one for itself.
                0 => self.put(&mut lines, first_line)?,
                length => self.put(&mut lines, |_| length)?,
            }
        }
        Ok(())
    }

    /// Has the file open that is at the path now. Returns its size; 0 for what is no file.
    fn look(&mut self) -> io::Result<u64> {
        let same = |open: &Metadata, there: &Metadata| {
            (open.dev(), open.ino()) == (there.dev(), there.ino())
        };
        let there = fs::metadata(&self.path).ok();
        let open = self.file.as_ref().and_then(|file| file.metadata().ok());
        if let (Some(there), Some(open)) = (&there, &open)
            && same(open, there)
        {
            return Ok(size(there));
        }
        self.file = None;
        let first = open.is_none();
        let file = self.open()?;
        let found = file.metadata()?;
        self.file = Some(file);
        if first {
            self.remove_old(SystemTime::now());
        }
        Ok(size(&found))
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        let opened = options.open(&self.path).or_else(|error| match self.path.parent() {
            Some(folder) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                options.open(&self.path)
            }
            Some(_) | None => Err(error),
        });
        opened.map_err(|error| named(&error, "open", &self.path))
    }

    /// Writes the first of the lines, and takes them off.
    fn put(&mut self, lines: &mut &[u8], length: impl Fn(&[u8]) -> usize) -> io::Result<()> {
        let (mut now, rest) = lines.split_at(length(lines));
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mut write = || -> io::Result<()> {
            if self.torn {
                file.write_all(b"\n")?;
                self.torn = false;
            }
            while !now.is_empty() {
                match file.write(now) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        self.torn = now[written - 1] != b'\n';
                        now = &now[written..];
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        write().map_err(|error| named(&error, "write to", &self.path))?;
        *lines = rest;
        Ok(())
    }

    /// Gives the file the name of one that is full, and removes those that are too many or too old.
    fn set_aside(&mut self, now: SystemTime) -> io::Result<()> {
        self.file = None;
        let mut at = self.last.map_or(now, |last| now.max(last + MILLISECOND));
        for _ in 0..NAMES {
            if !self.name_aside(at).exists() {
                break;
            }
            at += MILLISECOND;
        }
        self.last = Some(at);
        let name = self.name_aside(at);
        if let Err(error) = fs::rename(&self.path, name) {
            // A file that is mounted by itself has no other name: it is emptied, and is bounded so.
            tracing::warn!(error = %error, path = %self.path.display(), "failed to set a full log aside: it is emptied");
            let emptied = OpenOptions::new().write(true).truncate(true).open(&self.path);
            emptied.map_err(|error| named(&error, "empty", &self.path))?;
        }
        self.remove_old(now);
        Ok(())
    }

    fn name_aside(&self, at: SystemTime) -> PathBuf {
        let (stem, end) = self.name_parts();
        self.path.with_file_name(format!("{stem}-{}{end}", stamp(at)))
    }

    /// Removes the oldest of what was set aside. What cannot be removed is tried again with the next.
    fn remove_old(&self, now: SystemTime) {
        let (stem, end) = self.name_parts();
        let aside = |name: &OsStr| {
            let name = name.to_str()?;
            let name = name.strip_suffix(COMPRESSED).unwrap_or(name);
            let stamp = name.strip_prefix(&*stem)?.strip_prefix('-')?.strip_suffix(&*end)?;
            is_stamp(stamp).then(|| stamp.to_owned())
        };
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut found: Vec<(String, PathBuf)> =
            entries.filter_map(|entry| Some((aside(&entry.file_name())?, entry.path()))).collect();
        found.sort();
        let too_many = found.len().saturating_sub(self.limits.files);
        let oldest = stamp(now.checked_sub(self.limits.age).unwrap_or(SystemTime::UNIX_EPOCH));
        for (number, (at, path)) in found.iter().enumerate() {
            if number < too_many || *at < oldest {
                let _ = fs::remove_file(path);
            }
        }
    }

    /// What stands before and behind the time in a name.
    fn name_parts(&self) -> (String, String) {
        let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let end = self.path.extension().map(|end| format!(".{}", end.to_string_lossy()));
        (text(self.path.file_stem()), end.unwrap_or_default())
    }
}

fn size(found: &Metadata) -> u64 {
    if found.is_file() { found.len() } else { 0 }
}

/// How many bytes of whole lines fit.
fn fitting(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1)
}

/// A time in the name of a file; they sort by age.
fn stamp(at: SystemTime) -> String {
    rfc3339(at).trim_end_matches('Z').replace(':', "-")
}

fn is_stamp(text: &str) -> bool {
    let like = "0000-00-00T00-00-00.000";
    text.len() == like.len()
        && text.bytes().zip(like.bytes()).all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

fn named(error: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const LIMITS: LogLimits =
        LogLimits { size: 100, files: 2, age: Duration::from_secs(30 * 86_400) };

    #[test]
    fn a_full_file_is_set_aside_and_the_oldest_of_those_go() {
        let folder = Folder::new("full");
        let mut log = folder.log();
        for name in [
            "ipamd-2022-02-04T22-24-55.014.log.gz",
            "ipamd-2022-02-04.log",
            "plugin-2022-02-04T22-24-55.014.log",
            "ipamd-old.log",
        ] {
            fs::write(folder.0.join(name), "").unwrap();
        }

        for number in 0..50 {
            log.write(format!("line {number:04}\n").as_bytes()).unwrap();
        }

        let (kept, others) = folder.aside();
        assert_eq!(
            others,
            [
                "ipamd-2022-02-04.log",
                "ipamd-old.log",
                "ipamd.log",
                "plugin-2022-02-04T22-24-55.014.log"
            ]
        );
        assert_eq!(kept.len(), 2, "{kept:?}");
        let all: String =
            kept.iter().chain([&"ipamd.log".into()]).map(|it| folder.read(it)).collect();
        let want: String = (20..50).map(|number| format!("line {number:04}\n")).collect();
        assert_eq!(all, want, "ten lines fit into each");
    }

    #[test]
    fn many_lines_at_once_are_divided_and_one_that_is_too_long_stands_alone() {
        let folder = Folder::new("divided");
        let mut log = folder.log();
        let long = format!("{}\n", "x".repeat(150));

        log.write(format!("a\n{}b\n{long}{long}c\n", "y\n".repeat(48)).as_bytes()).unwrap();

        let (kept, _) = folder.aside();
        assert_eq!(kept.iter().map(|it| folder.read(it)).collect::<Vec<_>>(), [&*long, &*long]);
        assert_eq!(folder.read("ipamd.log"), "c\n");
    }

    /// With the programs that operators use.
    #[test]
    fn whoever_renames_removes_or_empties_the_file_is_followed() {
        let folder = Folder::new("followed");
        let mut log = folder.log();
        let path = folder.0.join("ipamd.log");
        let run = |program: &str, arguments: &[&Path]| {
            assert!(Command::new(program).args(arguments).status().unwrap().success());
        };

        log.write(b"1\n").unwrap();
        run("mv", &[&path, &folder.0.join("ipamd.log.1")]);
        log.write(b"2\n").unwrap();
        let after_rename = (folder.read("ipamd.log.1"), folder.read("ipamd.log"));
        run("rm", &[&path]);
        log.write(b"3\n").unwrap();
        let after_removal = folder.read("ipamd.log");
        run("truncate", &[Path::new("--size=0"), &path]);
        log.write(b"4\n").unwrap();
        let after_truncation = folder.read("ipamd.log");
        run("rm", &[Path::new("-r"), &folder.0]);
        log.write(b"5\n").unwrap();
        let after_all = folder.read("ipamd.log");

        assert_eq!(after_rename, ("1\n".into(), "2\n".into()));
        assert_eq!((&*after_removal, &*after_truncation, &*after_all), ("3\n", "4\n", "5\n"));
    }

    #[test]
    fn what_is_too_old_is_removed_at_the_first_line() {
        let folder = Folder::new("old");
        let day = Duration::from_secs(86_400);
        let mut log = folder.log();
        let name = |days: u32| log.name_aside(SystemTime::now() - day * days);
        let (young, old) = (name(29), name(31));
        fs::write(&young, "").unwrap();
        fs::write(&old, "").unwrap();

        log.write(b"1\n").unwrap();

        assert_eq!((young.exists(), old.exists()), (true, false));
    }

    #[test]
    fn a_place_that_takes_nothing_is_an_error_that_names_it() {
        let mut no_folder = Rotating::new("/proc/no/ipamd.log".into(), LIMITS);
        let mut full = Rotating::new("/dev/full".into(), LIMITS);

        let error = no_folder.write(b"1\n").unwrap_err().to_string();
        let full = full.write(b"1\n").unwrap_err().to_string();

        assert!(error.starts_with("open /proc/no/ipamd.log: "), "{error}");
        assert_eq!(full, "write to /dev/full: No space left on device (os error 28)");
    }

    /// A folder of a test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("ipamd-log-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn log(&self) -> Rotating {
            Rotating::new(self.0.join("ipamd.log"), LIMITS)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }

        /// Names of what was set aside, and other names.
        fn aside(&self) -> (Vec<String>, Vec<String>) {
            let files = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> =
                files.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            let is_aside = |name: &String| name.starts_with("ipamd-20") && name.len() == 33;
            names.into_iter().partition(is_aside)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
