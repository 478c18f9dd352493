//! What processes cost: memory, processor time, wake-ups, as `/proc` tells them.

use std::{fs, path::Path, thread, time::Duration};

/// Memory of a process in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// In memory now.
    pub(crate) resident: u64,
    /// The part of it that is no file's.
    pub(crate) own: u64,
    /// The most that was ever in memory.
    pub(crate) peak: u64,
}

impl Memory {
    /// Of a process that runs.
    pub(crate) fn of(pid: i32) -> Self {
        let status = read(&format!("/proc/{pid}/status"));
        Self {
            resident: field(&status, "VmRSS:"),
            own: field(&status, "RssAnon:"),
            peak: field(&status, "VmHWM:"),
        }
    }
}

/// Page faults of a process that needed no disk (`proc(5)`, field `minflt`).
pub(crate) fn faults(pid: i32) -> u64 {
    let stat = read(&format!("/proc/{pid}/stat"));
    let after_name = stat.rfind(')').map_or("", |end| &stat[end + 1..]);
    after_name.split_whitespace().nth(7).and_then(|it| it.parse().ok()).unwrap()
}

/// What a process does while nobody asks it for anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    /// For how long it was watched.
    pub(crate) during: Duration,
    /// Time on a processor.
    pub(crate) processor: Duration,
    /// How often one of its threads began to run.
    pub(crate) wake_ups: u64,
}

impl Rest {
    /// Watches a process.
    pub(crate) fn watch(pid: i32, during: Duration) -> Self {
        let before = threads(pid);
        thread::sleep(during);
        let after = threads(pid);
        Self {
            during,
            processor: Duration::from_nanos(after.0.saturating_sub(before.0)),
            wake_ups: after.1.saturating_sub(before.1),
        }
    }
}

/// Nanoseconds on a processor and switches to another process, of all threads.
fn threads(pid: i32) -> (u64, u64) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.fold((0, 0), |(time, switches), task| {
        let of = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let ran = of("schedstat");
        let ran: u64 = ran.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        let status = of("status");
        let switched = field(&status, "voluntary_ctxt_switches:")
            + field(&status, "nonvoluntary_ctxt_switches:");
        (time + ran, switches + switched)
    })
}

/// A number of a file of lines such as `VmRSS:  123 kB`.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Bytes of a file.
pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len()
}
