//! Keeps what the run folder must have while the daemon runs: socket, record and checkpoint. Whatever
//! is removed or replaced is there again at once. At rest a thread sleeps.

use crate::node::Node;
use anyhow::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rpc::Listener;
use std::{fs, path::Path, sync::Arc, thread, time::Duration};
use tracing::warn;

/// What tells that something is gone. The folder itself goes, or what is in it; to be appended to is
/// no such thing, so that an ADD wakes nobody.
const GOES: AddWatchFlags = AddWatchFlags::IN_DELETE
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// How long changes are gathered: a folder with everything in it goes file by file. It bounds what
/// somebody costs who removes again and again.
const GATHER: Duration = Duration::from_millis(100);

/// The first pause after something could not be put back; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The longest: a disk that takes writes again is noticed soon after.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Looks after it from now on.
pub(crate) fn start(node: Arc<Node>, listener: Arc<Listener>) -> Result<()> {
    thread::Builder::new().name("run-folder".into()).spawn(move || keep(&node, &listener))?;
    Ok(())
}

fn keep(node: &Node, listener: &Listener) {
    let mut pause = FIRST_PAUSE;
    loop {
        // Watched before it is looked at: what goes in between is an event.
        match watch(node).and_then(|watch| put_back(node, listener).map(|()| watch)) {
            Ok(watch) => {
                pause = FIRST_PAUSE;
                if let Err(error) = watch.read_events() {
                    warn!(error = %error, "failed to hear of changes in the run folder");
                    thread::sleep(LONGEST_PAUSE);
                }
                thread::sleep(GATHER);
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), retry_in = ?pause, "failed to keep the run folder");
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

fn watch(node: &Node) -> Result<Inotify> {
    let run_dir = node.settings.run_dir.as_path();
    fs::create_dir_all(run_dir).with_context(|| format!("make {}", run_dir.display()))?;
    let watch = Inotify::init(InitFlags::IN_CLOEXEC).context("make an inotify instance")?;
    let add = |folder: &Path| {
        let added = watch.add_watch(folder, GOES);
        added.map(drop).with_context(|| format!("watch {}", folder.display()))
    };
    add(run_dir)?;
    // The checkpoint's own retries make its folder's loss known.
    match node.settings.backing_store.parent() {
        Some(folder) if folder != run_dir && folder.is_dir() => add(folder)?,
        Some(_) | None => {}
    }
    Ok(watch)
}

/// Has everything in its place. What cannot be put back does not keep the rest from it.
fn put_back(node: &Node, listener: &Listener) -> Result<()> {
    let record = node.store.state().journal.put_back();
    if !node.settings.backing_store.exists() {
        node.store.recorded.notify_one();
    }
    let again = listener.keep_bound().context("listen for the plugin")?;
    if again {
        warn!("the plugin's socket was gone: it is there again");
    }
    record
}
