//! `up --wait`: a world of a process in the background, and the wait for it.

use super::{
    print,
    up::{self, UpArgs},
};
use crate::world::{Folder, process::Process};
use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

/// The most of a log's end that is read for what a world said last.
const LAST_WORDS: u64 = 1 << 12;

/// Runs a world in the background, and returns when it is ready; prints what it prints then.
pub(super) fn up(folder: &Folder, args: &UpArgs, limit: Duration) -> Result<()> {
    let log = folder.open_log()?;
    let before = log.metadata().context("size of the log")?.len();
    let mut child = start(folder, args, log)?;
    let (tell, told) = channel();
    let output = child.stdout.take().context("its output is a pipe")?;
    thread::spawn(move || {
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        // Nobody waits any more after the limit.
        let _ = tell.send(read.map(|_| line).unwrap_or_default());
    });
    match told.recv_timeout(limit) {
        Ok(line) if line.ends_with('\n') => print::text(&line),
        Ok(_) | Err(RecvTimeoutError::Disconnected) => {
            let status = child.wait().context("wait for its end")?;
            let said = last_words(folder, before).unwrap_or_else(|| status.to_string());
            bail!("{said} (its log is {})", folder.log().display())
        }
        Err(RecvTimeoutError::Timeout) => {
            if let Some(process) = i32::try_from(child.id()).ok().and_then(Process::of) {
                up::end(folder.world(), process)?;
            }
            bail!(
                "world {} did not answer within {}: it is ended; its log is {}",
                folder.world(),
                vpc::fault::Span(limit),
                folder.log().display()
            )
        }
    }
}

/// Starts our own program as `up` without `--wait`, apart from this terminal and this folder.
fn start(folder: &Folder, args: &UpArgs, log: File) -> Result<Child> {
    let program = std::env::current_exe().context("find our own program")?;
    let mut command = Command::new(&program);
    command.args(["up", "--name", folder.world()]);
    command.args(args.absolute()?);
    command.current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    command.spawn().with_context(|| format!("start {}", program.display()))
}

/// The last line that was logged since then.
fn last_words(folder: &Folder, since: u64) -> Option<String> {
    let mut log = File::open(folder.log()).ok()?;
    let length = log.metadata().ok()?.len();
    log.seek(SeekFrom::Start(since.max(length.saturating_sub(LAST_WORDS)))).ok()?;
    let mut text = Vec::new();
    log.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(last.strip_prefix("vpc-sim: ").unwrap_or(last).to_owned())
}
