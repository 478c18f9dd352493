//! Installs the reference plugins that a node lacks: images of EKS bring none, and containerd runs
//! `loopback` for every sandbox.

use super::{install, plugin};
use crate::settings::Settings;
use anyhow::{Context, Result};
use std::{
    cmp::Ordering,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tracing::{info, warn};

/// The folder in the image, beside the daemon.
const FOLDER: &str = "cni-plugins";

/// Installs what is missing, and what is older than ours. A node whose plugins are its own affair
/// keeps them: what is newer stays, and what does not tell its version.
pub(super) fn install(settings: &Settings) {
    let folder =
        match settings.reference_plugins.clone().map_or_else(|| install::beside(FOLDER), Ok) {
            Ok(folder) if folder.is_dir() => folder,
            // Who starts the daemon without an image installs them otherwise.
            Ok(_) => return,
            Err(error) => {
                warn!(error = format!("{error:#}"), "failed to find the reference plugins");
                return;
            }
        };
    match plugins(&folder) {
        Ok(plugins) => plugins.iter().for_each(|plugin| install_one(plugin, &settings.cni_bin)),
        Err(error) => warn!(error = format!("{error:#}"), "failed to list the reference plugins"),
    }
}

fn plugins(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        Ok(entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
    };
    list().with_context(|| format!("list {}", folder.display()))
}

fn install_one(ours: &Path, folder: &Path) {
    let Some(name) = ours.file_name() else { return };
    let installed = folder.join(name);
    let (plugin, why) = (name.display(), if installed.exists() { "older" } else { "missing" });
    if why == "older" && !is_older(&installed, ours) {
        return;
    }
    match copy(ours, &installed) {
        Ok(()) => info!(%plugin, why, "installed a reference plugin"),
        Err(error) => {
            warn!(%plugin, error = format!("{error:#}"), "failed to install a reference plugin");
        }
    }
}

/// Whether both tell their versions, and the first one's is the lower.
fn is_older(installed: &Path, ours: &Path) -> bool {
    let length = |path: &Path| fs::metadata(path).map(|it| it.len()).unwrap_or_default();
    // The same build is not started to be asked.
    if length(installed) == length(ours) && fs::read(installed).ok() == fs::read(ours).ok() {
        return false;
    }
    let versions = plugin::release(installed).and_then(|it| Ok((it, plugin::release(ours)?)));
    match versions {
        Ok((theirs, ours)) => theirs.cmp(&ours) == Ordering::Less,
        Err(error) => {
            let installed = installed.display();
            info!(%installed, error = format!("{error:#}"), "a plugin stays, as its version is not known");
            false
        }
    }
}

/// Copies beside the place and renames: nobody runs half a file, and one that runs is not written to.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let fresh = to.with_extension("tmp");
    let copied = || -> std::io::Result<()> {
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(from, &fresh)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        fs::rename(&fresh, to)
    };
    let copied = copied().with_context(|| format!("install {}", to.display()));
    if copied.is_err() {
        // A full disk is not made fuller.
        let _ = fs::remove_file(&fresh);
    }
    copied
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;

    /// A plugin is a program that tells its version like the real ones.
    fn plugin(folder: &Path, name: &str, says: &str) {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n# {name}\necho '{says}' >&2\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn what_is_missing_or_older_is_installed_and_nothing_else_touched() {
        const KEPT: &[&str] = &[
            "CNI x plugin v1.10.0",
            "CNI x plugin v1.9.1",
            "CNI x plugin version unknown",
            "other",
        ];
        let root = env::temp_dir().join(format!("ipamd-plugins-{}", std::process::id()));
        let (ours, theirs) = (root.join("ours"), root.join("theirs"));
        let _ = fs::remove_dir_all(&root);
        plugin(&ours, "missing", "CNI x plugin v1.9.1");
        plugin(&ours, "older", "CNI x plugin v1.9.1");
        plugin(&theirs, "older", "CNI x plugin v1.9.0-rc1");
        for (number, says) in KEPT.iter().enumerate() {
            plugin(&ours, &format!("kept{number}"), "CNI x plugin v1.9.1 ours");
            plugin(&theirs, &format!("kept{number}"), says);
        }
        let read = |folder: &Path, name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let kept = |number: usize| read(&theirs, &format!("kept{number}"));
        let before: Vec<String> = (0..KEPT.len()).map(kept).collect();

        for plugin in plugins(&ours).unwrap() {
            install_one(&plugin, &theirs);
        }

        assert_eq!(read(&theirs, "missing"), read(&ours, "missing"));
        assert_eq!(read(&theirs, "older"), read(&ours, "older"));
        assert_eq!((0..KEPT.len()).map(kept).collect::<Vec<_>>(), before);
        let mode = fs::metadata(theirs.join("missing")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 2 + KEPT.len(), "no half file is left");
        fs::remove_dir_all(&root).unwrap();
    }
}
