//! What tests from outside share: where the repository is, and the programs built from it.

use std::path::{Path, PathBuf};

/// The folder of the repository.
///
/// # Panics
/// The tests' own folder is the root of the file system.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the repository")
}

/// The built program `name`. It lies beside the folder of the tests' own executables, whatever
/// `CARGO_TARGET_DIR` is.
///
/// # Panics
/// It has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the kernel knows this executable");
    let folder = test.ancestors().nth(2).expect("Cargo puts tests into target/PROFILE/deps");
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} has not been built: run `make test`, or `cargo build --workspace` first",
        path.display()
    );
    path
}
