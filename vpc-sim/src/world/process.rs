//! A process that is recorded in a file: still the same one, or gone.

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// Time that the kernel has to end a process that was killed; it takes milliseconds.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How often to look whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A process and when it started, which together name it also after its pid was given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// Clock ticks from boot to its start (`proc(5)`, field `starttime`).
    pub started: u64,
}

impl Process {
    /// The process that runs this.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn current() -> Result<Self> {
        Self::of(Pid::this().as_raw()).context("read /proc/self/stat: is /proc mounted?")
    }

    /// The process that has this id now.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, with whatever characters it has.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
        let state = fields.next()?;
        // `starttime` is field 22, `state` is field 3.
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z").then_some(Self { pid, started })
    }

    /// Whether it runs still.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Waits for its end; whether it came in time.
    pub fn ends_within(self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_alive() && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
        !self.is_alive()
    }

    /// Sends it a signal, if it runs still.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end just now, which is what the signal is for.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(child.id().try_into().unwrap()).unwrap();
        let alive = process.is_alive();

        process.signal(Signal::SIGKILL);
        child.wait().unwrap();

        assert!(alive);
        assert!(!process.is_alive());
    }

    #[test]
    fn another_process_with_the_same_id_is_not_the_one() {
        let current = Process::current().unwrap();

        let other = Process { started: current.started + 1, ..current };

        assert!(current.is_alive());
        assert!(!other.is_alive());
    }
}
