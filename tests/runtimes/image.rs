//! The image of all pods, made of the machine's own busybox: nothing is downloaded.

use std::{fs, process::Command, sync::OnceLock};
use tests::{
    command::{outcome, run},
    repository,
};

/// Its name, in a registry that does not exist.
pub(crate) const NAME: &str = "localhost/pod:test";

/// The image as runtimes import it, in the format of `docker save`: the one that pods of a real
/// Kubernetes run here, too.
pub(crate) fn archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let file = std::env::temp_dir().join(format!("image-{}.tar", std::process::id()));
        let images = repository().join("tests/kubernetes/images.py");
        let made = run(Command::new("python3").arg(images).arg("pod").arg(&file), "");
        outcome(&made).unwrap_or_else(|error| panic!("make the image of pods: {error}"));
        let archive = fs::read(&file).unwrap();
        fs::remove_file(file).unwrap();
        archive
    })
}
