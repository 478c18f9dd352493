//! A node that was handed back: a file in the run folder says so, and the daemon serves nothing while
//! it is there. Like the run folder it ends with the machine's boot, as all pods do.

use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::{info, warn};

/// What it says to who finds it.
const WORDS: &str = "`ipamd hand-back` has prepared this node for amazon-vpc-cni-k8s. The daemon of \
                     eni-cni serves nothing while this file is here; `ipamd take-over` removes it.\n";

/// How often a daemon that serves nothing looks whether it may.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whether the daemon is to serve nothing.
pub(super) fn is_told(run_dir: &Path) -> bool {
    path(run_dir).exists()
}

/// Tells the daemon to serve nothing from its next start on.
pub(super) fn tell(run_dir: &Path) -> Result<()> {
    let path = path(run_dir);
    fs::create_dir_all(run_dir)
        .and_then(|()| fs::write(&path, WORDS))
        .with_context(|| format!("write {}", path.display()))
}

/// Lets the daemon serve again; what to tell who asked for it.
pub(super) fn end(run_dir: &Path) -> Result<&'static str> {
    let path = path(run_dir);
    match fs::remove_file(&path) {
        Ok(()) => Ok("the daemon serves this node again: within a second, or when it is started\n"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok("already so: this node was not handed back\n")
        }
        Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
    }
}

/// Returns once the daemon may serve. It does not end meanwhile: a DaemonSet would start it again and
/// again.
pub(super) async fn wait(run_dir: &Path) {
    if !is_told(run_dir) {
        return;
    }
    warn!(file = %path(run_dir).display(), "this node was handed back: nothing is served until `ipamd take-over`");
    while is_told(run_dir) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    info!("this node is taken over again");
}

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(rpc::HANDED_BACK)
}
