//! Runs programs to their end, each with a time limit.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// The longest that anything may take, on a machine that is busy with other tests: an ADD waits 30
/// seconds for an address, its plugin 90 for the daemon.
const LIMIT: Duration = Duration::from_secs(120);

/// The longest that a world may take to become as expected.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Runs a program with this on its stdin, and waits for its end.
pub fn run(command: &mut Command, stdin: &str) -> Output {
    let said = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("run {said}: {error}"));
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let mut pipe = child.stdin.take().unwrap();
    // A program may end without reading.
    let _ = pipe.write_all(stdin.as_bytes());
    drop(pipe);
    let (sender, ended) = mpsc::channel();
    let waiting = thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(LIMIT) else {
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        panic!("{said} did not end within {} s", LIMIT.as_secs());
    };
    let _ = waiting.join();
    output.unwrap_or_else(|error| panic!("wait for {said}: {error}"))
}

/// Standard output of a program that succeeded, or else what it said went wrong.
pub fn outcome(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Waits until `look` finds what is expected; what it finds instead is the failure.
#[track_caller]
pub fn until<T>(expected: &str, look: impl FnMut() -> Result<T, String>) -> T {
    until_within(PATIENCE, expected, look)
}

/// The same for what takes longer by itself.
#[track_caller]
pub fn until_within<T>(
    patience: Duration,
    expected: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(found) => return found,
            Err(found) if Instant::now() > deadline => {
                panic!("expected: {expected}; after {} s: {found}", patience.as_secs())
            }
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}
