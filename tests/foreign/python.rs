//! Python programs with what `requirements.txt` pins, and nothing else.

use sha1::{Digest, Sha1};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};
use tests::command::{outcome, run as run_to_its_end};
use tests::repository;

/// Where the programs are.
pub(crate) fn folder() -> PathBuf {
    repository().join("tests/foreign")
}

/// Runs a program to its end: what it printed, or what it printed when it failed.
pub(crate) fn run(arguments: &[&str], env: &[(&str, &str)]) -> Result<String, String> {
    let output = run_to_its_end(command().args(arguments).envs(env.iter().copied()), "");
    if output.status.success() {
        outcome(&output)
    } else {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Err(format!("{}\n{}", text(&output.stdout), text(&output.stderr)))
    }
}

/// Python in the folder of the programs, without any settings of whoever runs this.
fn command() -> Command {
    let mut command = Command::new(python());
    command.current_dir(folder()).env_clear().envs(ENVIRONMENT);
    command
}

/// The whole environment of the programs: they are to write nothing into the repository.
pub(crate) const ENVIRONMENT: [(&str, &str); 2] =
    [("HOME", env!("CARGO_TARGET_TMPDIR")), ("PYTHONDONTWRITEBYTECODE", "1")];

/// The Python of a virtual environment that is made once and kept among the build products, under
/// a name that changes with the requirements.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(make_environment)
}

fn make_environment() -> PathBuf {
    let requirements = folder().join("requirements.txt");
    let pinned = fs::read(&requirements).unwrap();
    let hash: String = Sha1::digest(pinned).iter().map(|byte| format!("{byte:02x}")).collect();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{hash}"));
    // Other tests want it at the same time, in processes of their own.
    let lock = fs::File::create(kept.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    // Last of all: without it, an earlier run was interrupted.
    let complete = kept.join("complete");
    let python = kept.join("bin/python");
    if complete.exists() {
        return python;
    }
    let venv = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&kept).output();
    let venv = venv.unwrap_or_else(|error| panic!("python3: {error}; install python3-venv"));
    let made = outcome(&venv);
    assert!(made.is_ok(), "install python3-venv (Debian): {made:?} {venv:?}");
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&requirements)
        .output()
        .unwrap();
    assert!(pip.status.success(), "pip install: {}", String::from_utf8_lossy(&pip.stderr));
    fs::write(complete, "").unwrap();
    python
}
