//! Control groups, which are outside of every namespace: whoever made some removes them.

use anyhow::{Context, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Where they are.
const FOLDER: &str = "/sys/fs/cgroup";

/// Time that the kernel has to end the processes in them: some milliseconds each.
const LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Every hierarchy: one for each controller, or one for all of them.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(FOLDER);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()).collect()
}

/// Makes one in every hierarchy, with the processors and the memory of the machine.
///
/// # Errors
/// The kernel refuses.
pub(crate) fn make(name: &str) -> Result<()> {
    let root = Path::new(FOLDER);
    for hierarchy in hierarchies() {
        // Beside those of the first version, that of the second has no controller.
        if hierarchy != root && hierarchy.join("cgroup.controllers").exists() {
            continue;
        }
        let group = hierarchy.join(name);
        let made = match fs::create_dir(&group) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        made.with_context(|| format!("make control group {}", group.display()))?;
        // A group of the first version has no processor and no memory until it is given some.
        for setting in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (hierarchy.join(setting), group.join(setting));
            if from.exists() && to.exists() {
                let value = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
                fs::write(&to, value).with_context(|| format!("write {}", to.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes those of the names that `is_ours` says, with all that are in them.
///
/// # Errors
/// A process lives in one for ten seconds more.
pub fn remove(is_ours: impl Fn(&str) -> bool) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(&hierarchy).into_iter().flatten().flatten() {
            if !is_ours(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            while let Err(error) = remove_tree(&path) {
                if Instant::now() > deadline {
                    return Err(error)
                        .with_context(|| format!("remove control group {}", path.display()));
                }
                thread::sleep(LOOK_EVERY);
            }
        }
    }
    Ok(())
}

/// Removes a control group and those in it. Their files are not removed.
fn remove_tree(group: &Path) -> io::Result<()> {
    let gone = |done: io::Result<()>| match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    };
    let entries = match fs::read_dir(group) {
        Err(error) => return gone(Err(error)),
        Ok(entries) => entries,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    gone(fs::remove_dir(group))
}
