//! The plugin as a runtime starts it.

use std::{
    ffi::OsStr,
    io::Write,
    process::{Command, Output, Stdio},
};

/// Runs the plugin with this environment and nothing else of ours, and waits for its end.
pub(crate) fn run(run_dir: impl AsRef<OsStr>, env: &[(&str, &str)], stdin: &str) -> Output {
    // At run time: a compiler wrapper that is a shell script loses a variable with a hyphen.
    let mut plugin = Command::new(std::env::var_os("CARGO_BIN_EXE_aws-cni").unwrap())
        .env_clear()
        .env("ENI_CNI_RUN_DIR", run_dir)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = plugin.stdin.take().unwrap().write_all(stdin.as_bytes());
    plugin.wait_with_output().unwrap()
}
