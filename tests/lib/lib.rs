//! Shared by tests from outside: the built programs, a simulated VPC, and what can be done to it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

pub mod apis;
pub mod by_hand;
pub mod command;
pub mod http;
pub mod metrics;
pub mod peer;
pub mod prober;
pub mod traces;
pub mod traffic;
pub mod world;

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
    thread,
};

/// A row of a table: as long as this lives, a failure says at which row it was, whatever failed.
#[derive(Debug)]
pub struct Row<T: Debug>(pub T);

impl<T: Debug> Drop for Row<T> {
    #[expect(clippy::print_stderr, reason = "whoever reads why a test failed needs it")]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("── at row {:?}", self.0);
        }
    }
}

/// The folder of the repository.
///
/// # Panics
/// The tests' own folder is the root of the file system.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the repository")
}

/// The built program `name`. It lies beside the programs of benchmarks and beside the folder of the
/// tests, whatever `CARGO_TARGET_DIR` is.
///
/// # Panics
/// It has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the kernel knows this executable");
    let folder = this.parent().expect("an executable lies in a folder");
    let of_programs = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    let path = of_programs.expect("Cargo puts tests into target/PROFILE/deps").join(name);
    assert!(
        path.exists(),
        "{} has not been built: run `make test`, or `cargo build --workspace` first",
        path.display()
    );
    path
}
