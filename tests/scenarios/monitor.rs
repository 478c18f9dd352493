//! Listens to changes of a place's network, as `ip monitor` and `nft monitor` tell them.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tests::command::until;

/// A program that tells changes until it is dropped.
pub(crate) struct Monitor {
    process: Child,
    told: PathBuf,
}

impl Monitor {
    /// Starts a program in a place. `mark` makes a change there that it tells with `told_as`: once it
    /// has, it listens.
    pub(crate) fn start(
        namespace: &Path,
        program: &[&str],
        mark: &[String],
        told_as: &str,
    ) -> Self {
        let name = format!("monitor-{}-{}", std::process::id(), program.join("-"));
        let told = std::env::temp_dir().join(name.replace('/', "-"));
        let output = File::create(&told).unwrap();
        let start = || {
            let mut command = Command::new(program[0]);
            command.args(&program[1..]).stdin(Stdio::null()).stdout(output).spawn()
        };
        let process = net::netns::within(namespace, start).unwrap();
        let monitor = Self { process, told };
        until("the monitor listens", || {
            within(namespace, mark);
            monitor.told().contains(told_as).then_some(()).ok_or_else(|| monitor.told())
        });
        monitor
    }

    /// What it told since it started to listen, up to a change that is made now.
    pub(crate) fn told_before(&self, namespace: &Path, mark: &[String], told_as: &str) -> String {
        until("the monitor tells the last change", || {
            within(namespace, mark);
            let told = self.told();
            told.contains(told_as).then_some(told.clone()).ok_or(told)
        })
    }

    fn told(&self) -> String {
        fs::read_to_string(&self.told).unwrap()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_file(&self.told);
    }
}

/// Runs a program in a place.
pub(crate) fn within<S: AsRef<str>>(namespace: &Path, program: &[S]) -> String {
    let program: Vec<&str> = program.iter().map(AsRef::as_ref).collect();
    let run = || Command::new(program[0]).args(&program[1..]).output();
    let output = net::netns::within(namespace, run).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
