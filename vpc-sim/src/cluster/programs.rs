//! The programs of which a cluster is made: a folder of Kubernetes' own, and a container runtime.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What must be in the folder.
const KUBERNETES: [&str; 7] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubectl",
    "kubelet",
];

/// What must be there too, or on the machine.
const RUNTIME: [&str; 4] = ["containerd", "containerd-shim-runc-v2", "ctr", "runc"];

/// Where the machine's own programs are.
const MACHINE: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A folder of programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
    images: Vec<PathBuf>,
}

impl Programs {
    /// Looks whether everything is there.
    ///
    /// # Errors
    /// Something is missing: which program, and where it was looked for.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let folder = fs::canonicalize(folder)
            .with_context(|| format!("the folder of Kubernetes' programs, {}", folder.display()))?;
        if folder.starts_with("/run") {
            bail!("{}: nodes have a /run of their own, put it elsewhere", folder.display());
        }
        let missing: Vec<_> =
            KUBERNETES.into_iter().filter(|name| !is_program(&folder.join(name))).collect();
        if !missing.is_empty() {
            let (missing, folder) = (missing.join(", "), folder.display());
            bail!(
                "{folder} lacks {missing}: `scripts/kubernetes` builds them, and Kubernetes' releases have them"
            );
        }
        let on_path = |name: &str| {
            std::env::split_paths(MACHINE)
                .chain([folder.clone()])
                .any(|it| is_program(&it.join(name)))
        };
        if let Some(name) = RUNTIME.into_iter().find(|name| !on_path(name)) {
            let folder = folder.display();
            bail!("no {name}, neither in {folder} nor in {MACHINE}: install containerd and runc");
        }
        let images = fs::read_dir(folder.join("images")).into_iter().flatten().flatten();
        let is_archive = |path: &PathBuf| path.extension().is_some_and(|it| it == "tar");
        let mut images: Vec<_> = images.map(|entry| entry.path()).filter(is_archive).collect();
        images.sort();
        Ok(Self { folder, images })
    }

    /// The path of one of Kubernetes' programs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Archives of images that every node has, as `docker save` writes them: those of the folder
    /// `images`.
    pub(crate) fn images(&self) -> &[PathBuf] {
        &self.images
    }

    /// What programs find each other by: the folder wins.
    pub(crate) fn search_path(&self) -> String {
        format!("{}:{MACHINE}", self.folder.display())
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_is_named_with_what_has_it() {
        let folder = std::env::temp_dir().join(format!("vpc-sim-programs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for name in KUBERNETES.into_iter().filter(|name| *name != "kubelet") {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        // There, but nothing that can be run.
        fs::write(folder.join("kubelet"), "").unwrap();

        let error = Programs::find(&folder).unwrap_err().to_string();

        fs::remove_dir_all(&folder).unwrap();
        assert!(error.contains("lacks kubelet: `scripts/kubernetes` builds them"), "{error}");
        let error = format!("{:#}", Programs::find(&folder).unwrap_err());
        assert!(error.starts_with("the folder of Kubernetes' programs, "), "{error}");
    }
}
