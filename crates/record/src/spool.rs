//! DELs that arrived while no daemon ran: kept in files until the next one starts.
//!
//! The daemon binds its socket, then drains the spool, then serves. A plugin that found nobody
//! writes its file and tries the socket once more, so no file is left behind by that race.
//!
//! A file is one JSON object. Fields that a reader does not know say nothing to it, so that plugin and
//! daemon of neighbouring versions understand each other; a file that does not name its format is of
//! format 1, which knows `env` and `stdin`.
//!
//! ```json
//! {"format":{"version":2,"reader":1},"env":{"CNI_COMMAND":"DEL",…},"stdin":"{\"cniVersion\":…}"}
//! ```

use crate::format::Format;
use rpc::{MAX_STDIN, Request};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

/// The folder in the run folder.
const FOLDER: &str = "del-spool";

/// What the name of a complete file ends with.
const SUFFIX: &str = ".del";

/// What the name of a file that cannot be read ends with, once it was set aside.
const ASIDE: &str = ".unreadable";

/// The most DELs that wait. A node has some hundred pods; beyond this something is wrong, and a
/// DEL that fails is tried again by the runtime.
const MAX_WAITING: usize = 4096;

/// Files that cannot be read and stay all the same. They are for people who look into it, and each
/// takes a place of [`MAX_WAITING`].
const MOST_ASIDE: usize = 16;

/// How long one of them stays: who was to look into it has done so, and the pod is long gone.
const ASIDE_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// After this time an unfinished file has no writer any more: writing takes milliseconds.
const ABANDONED: Duration = Duration::from_secs(60);

/// Bytes of a container id that stand in a name; the rest is in the hash. Ids of containerd and
/// cri-o fit.
const ID_IN_NAME: usize = 80;

/// The format that is written: what format 1 has, and its name.
const FORMAT: Format = Format { version: 2, reader: 1 };

#[derive(Serialize, Deserialize)]
struct Waiting {
    #[serde(default)]
    format: Format,
    env: BTreeMap<String, String>,
    stdin: String,
}

/// Keeps a DEL. The first of several for the same interface stays: it knows the most, as runtimes
/// repeat a DEL with less. Returns the file, so that who got through after all can remove it.
///
/// # Errors
/// [`io::ErrorKind::QuotaExceeded`] when too many wait, or what the kernel says.
pub fn write(run_dir: &Path, request: &Request) -> io::Result<PathBuf> {
    let folder = run_dir.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let stem = name(request);
    let file = folder.join(format!("{stem}{SUFFIX}"));
    if file.exists() {
        return Ok(file);
    }
    if fs::read_dir(&folder)?.count() >= MAX_WAITING {
        let what = format!("{MAX_WAITING} DELs wait in {} already", folder.display());
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, what));
    }

    let stdin = String::from_utf8(request.stdin.clone())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let waiting = serde_json::to_vec(&Waiting { format: FORMAT, env: request.env.clone(), stdin })?;
    let draft = folder.join(format!(".{stem}.{}", process::id()));
    let kept = write_through(&draft, &waiting).and_then(|()| fs::rename(&draft, &file));
    if kept.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&draft);
    }
    kept.map(|()| file)
}

/// The DELs that wait, each with its file, which the daemon removes when it is done. Files that
/// cannot be read, or are of a format for newer readers, are renamed and stay; see [`set_aside`].
///
/// # Errors
/// The folder cannot be read.
pub fn drain(run_dir: &Path) -> io::Result<Vec<(PathBuf, Request)>> {
    let mut requests = Vec::new();
    for path in files(run_dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            remove_abandoned(&path);
        } else if name.ends_with(SUFFIX) {
            match read(&path) {
                Ok(request) => requests.push((path, request)),
                Err(_) => {
                    let mut aside = path.clone().into_os_string();
                    aside.push(ASIDE);
                    fs::rename(&path, aside)?;
                }
            }
        }
    }
    Ok(requests)
}

/// Files of the spool that could not be read, the newest first: a pod's address may be in use until its
/// namespace is seen to be gone. More than so many, and those that are older than so long, are removed.
///
/// # Errors
/// The folder cannot be read.
pub fn set_aside(run_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut aside: Vec<(Duration, PathBuf)> = files(run_dir)?
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ASIDE))
        .map(|path| (age(&path).unwrap_or_default(), path))
        .collect();
    aside.sort();
    let old = |(_, (age, _)): &(usize, &(Duration, PathBuf))| *age > ASIDE_FOR;
    let kept = aside.iter().enumerate().find(old).map_or(aside.len(), |(at, _)| at).min(MOST_ASIDE);
    for (_, path) in aside.split_off(kept) {
        // If it stays it does no harm but take a place, and the next start tries again.
        let _ = fs::remove_file(path);
    }
    Ok(aside.into_iter().map(|(_, path)| path).collect())
}

/// How many files are set aside.
#[must_use]
pub fn count_aside(run_dir: &Path) -> usize {
    let aside = |path: &&PathBuf| path.to_string_lossy().ends_with(ASIDE);
    files(run_dir).unwrap_or_default().iter().filter(aside).count()
}

/// How long ago a file was written; none where nobody can tell, such as with a clock that was set back.
fn age(path: &Path) -> Option<Duration> {
    fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()
}

/// Every file of the spool, in a fixed order.
fn files(run_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(run_dir.join(FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<Request> {
    let mut text = String::new();
    File::open(path)?.take(2 * MAX_STDIN as u64).read_to_string(&mut text)?;
    let Waiting { format, env, stdin } = serde_json::from_str(&text)?;
    if !format.is_understood_by(FORMAT.version) {
        let Format { version, reader } = format;
        let what = format!("of format {version}, for readers of format {reader} on");
        return Err(io::Error::new(io::ErrorKind::Unsupported, what));
    }
    Ok(Request { env, stdin: stdin.into_bytes(), ..Request::default() })
}

fn write_through(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn remove_abandoned(path: &Path) {
    if age(path).is_some_and(|age| age > ABANDONED) {
        // If it stays it does no harm but take a place.
        let _ = fs::remove_file(path);
    }
}

/// A name that is the same for every DEL of one interface of one container.
fn name(request: &Request) -> String {
    let variable = |name: &str| request.env.get(name).map_or("", String::as_str);
    let (id, ifname) = (variable("CNI_CONTAINERID"), variable("CNI_IFNAME"));
    let mut hash = DefaultHasher::new();
    (id, ifname).hash(&mut hash);
    let readable: String = id
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .take(ID_IN_NAME)
        .collect();
    format!("{readable}-{:016x}", hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_del_waits_for_the_next_daemon() {
        let run = RunDir::new("waits");

        let file = write(&run.0, &del("c0ffee", "{}")).unwrap();
        let waiting = drain(&run.0).unwrap();

        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].0, file);
        assert_eq!(waiting[0].1.env, del("c0ffee", "").env);
        assert_eq!(waiting[0].1.stdin, b"{}");
    }

    #[test]
    fn a_del_waits_until_it_is_done() {
        let run = RunDir::new("done");
        let file = write(&run.0, &del("c0ffee", "{}")).unwrap();
        assert_eq!(drain(&run.0).unwrap().len(), 1);
        assert_eq!(drain(&run.0).unwrap().len(), 1);

        fs::remove_file(file).unwrap();

        assert_eq!(drain(&run.0).unwrap().len(), 0);
    }

    #[test]
    fn the_first_of_repeated_dels_is_kept() {
        let run = RunDir::new("first");

        write(&run.0, &del("c0ffee", r#"{"prevResult":{}}"#)).unwrap();
        write(&run.0, &del("c0ffee", "{}")).unwrap();

        let waiting = drain(&run.0).unwrap();
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].1.stdin, br#"{"prevResult":{}}"#);
    }

    #[test]
    fn containers_with_long_or_odd_ids_do_not_meet() {
        let run = RunDir::new("ids");
        let long = "a".repeat(300);

        for id in [&long, &format!("{long}b"), "../up", "a.b", "a_b"] {
            write(&run.0, &del(id, "{}")).unwrap();
        }

        assert_eq!(drain(&run.0).unwrap().len(), 5);
    }

    #[test]
    fn an_unreadable_file_is_set_aside_and_not_lost() {
        let run = RunDir::new("corrupt");
        let file = write(&run.0, &del("broken", "{}")).unwrap();
        fs::write(&file, "{\"env\":").unwrap();
        write(&run.0, &del("sound", "{}")).unwrap();

        let waiting = drain(&run.0).unwrap();

        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].1.env["CNI_CONTAINERID"], "sound");
        assert_eq!(set_aside(&run.0).unwrap().len(), 1);
        assert!(!file.exists());
    }

    #[test]
    fn of_files_that_cannot_be_read_the_newest_stay_for_so_long() {
        let run = RunDir::new("aside");
        let hour = Duration::from_secs(3600);
        let written = |name: &str, ago: Duration| {
            let file = File::create(run.0.join(FOLDER).join(format!("{name}{SUFFIX}{ASIDE}")));
            file.unwrap().set_modified(std::time::SystemTime::now() - ago).unwrap();
        };
        fs::create_dir_all(run.0.join(FOLDER)).unwrap();
        for hours in 1..=2 * MOST_ASIDE as u32 {
            written(&format!("{hours:02}"), hour * hours);
        }

        let kept = set_aside(&run.0).unwrap();

        assert_eq!(kept.len(), MOST_ASIDE);
        assert!(kept[0].ends_with(format!("01{SUFFIX}{ASIDE}")), "{kept:?}");
        assert_eq!(files(&run.0).unwrap().len(), MOST_ASIDE);

        fs::remove_dir_all(run.0.join(FOLDER)).unwrap();
        fs::create_dir_all(run.0.join(FOLDER)).unwrap();
        written("old", ASIDE_FOR + hour);
        written("new", hour);
        assert_eq!(set_aside(&run.0).unwrap().len(), 1);
    }

    #[test]
    fn files_of_older_and_newer_formats_that_this_reader_may_read_are_read() {
        for name in ["spool-1.del", "spool-2.del"] {
            let waiting = drained(&kept(name));

            assert_eq!(waiting.len(), 1, "{name}");
            assert_eq!(waiting[0].env["CNI_NETNS"], "/run/netns/1", "{name}");
            assert_eq!(waiting[0].env.len(), 4, "{name}");
            let stdin = r#"{"cniVersion":"0.4.0","name":"aws-cni","type":"aws-cni"}"#;
            assert_eq!(waiting[0].stdin, stdin.as_bytes(), "{name}");
        }
        let newer =
            r#"{"format":{"version":9,"reader":2,"x":0},"env":{},"stdin":"","pod":{"a":[]}}"#;
        assert_eq!(drained(newer).len(), 1);
    }

    #[test]
    fn a_file_for_newer_readers_is_set_aside() {
        let newer = r#"{"format":{"version":3,"reader":3},"env":{},"stdin":""}"#;
        let run = RunDir::new("newer");
        let file = write(&run.0, &del("c0ffee", "{}")).unwrap();
        fs::write(&file, newer).unwrap();

        assert_eq!(drain(&run.0).unwrap().len(), 0);

        let aside = set_aside(&run.0).unwrap();
        assert_eq!(fs::read_to_string(&aside[0]).unwrap(), newer);
    }

    /// Readers of format 1 take `env` and `stdin`, and look at nothing else.
    #[test]
    fn what_is_written_is_what_was_kept_and_has_what_readers_of_format_1_read() {
        let run = RunDir::new("written");
        let stdin = r#"{"cniVersion":"0.4.0","name":"aws-cni","type":"aws-cni"}"#;
        let mut request = del("c0ffee", stdin);
        request.env.insert("CNI_NETNS".into(), "/run/netns/1".into());

        let file = write(&run.0, &request).unwrap();

        let text = fs::read_to_string(file).unwrap();
        assert_eq!(text, kept("spool-2.del"));
        let written: serde_json::Value = serde_json::from_str(&text).unwrap();
        let of_format_1: serde_json::Value = serde_json::from_str(&kept("spool-1.del")).unwrap();
        assert_eq!(written["env"], of_format_1["env"]);
        assert_eq!(written["stdin"], of_format_1["stdin"]);
    }

    #[test]
    fn an_unfinished_file_is_no_del() {
        let run = RunDir::new("unfinished");
        write(&run.0, &del("sound", "{}")).unwrap();
        fs::write(run.0.join(FOLDER).join(".c0ffee.1"), "{").unwrap();

        assert_eq!(drain(&run.0).unwrap().len(), 1);
        assert_eq!(set_aside(&run.0).unwrap().len(), 0);
    }

    #[test]
    fn the_spool_has_a_bound() {
        let run = RunDir::new("bound");
        let folder = run.0.join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..MAX_WAITING {
            File::create(folder.join(format!("{number}{SUFFIX}"))).unwrap();
        }

        let error = write(&run.0, &del("c0ffee", "{}")).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    }

    #[test]
    fn without_a_spool_nothing_waits() {
        let run = RunDir::new("none");

        assert_eq!(drain(&run.0).unwrap().len(), 0);
    }

    fn del(id: &str, stdin: &str) -> Request {
        let env = [("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", id), ("CNI_IFNAME", "eth0")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Request { env: env.into(), stdin: stdin.into(), ..Request::default() }
    }

    /// A file that a plugin has left.
    fn kept(name: &str) -> String {
        let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
        fs::read_to_string(files.join(name)).unwrap()
    }

    /// What waits in a spool with one file.
    fn drained(text: &str) -> Vec<Request> {
        let run = RunDir::new("drained");
        let file = write(&run.0, &del("c0ffee", "{}")).unwrap();
        fs::write(file, text).unwrap();
        drain(&run.0).unwrap().into_iter().map(|(_, request)| request).collect()
    }

    struct RunDir(PathBuf);

    impl RunDir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("eni-spool-{}-{name}", process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for RunDir {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
