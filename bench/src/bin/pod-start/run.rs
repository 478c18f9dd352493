//! One run of a plugin as libcni does it: environment, pipes, and the time until it has ended.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a runtime says to a plugin.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The executable.
    pub(crate) program: PathBuf,
    /// `CNI_COMMAND`
    pub(crate) verb: &'static str,
    /// `CNI_CONTAINERID`, and the pod's name.
    pub(crate) container: String,
    /// `CNI_NETNS`
    pub(crate) netns: PathBuf,
    /// The daemon's folder.
    pub(crate) run_dir: PathBuf,
    /// The configuration.
    pub(crate) stdin: String,
}

impl Call {
    /// Runs the plugin in the calling thread's network; how long it took, and what it printed.
    ///
    /// # Panics
    /// It cannot be run, or it fails: a measurement of failures is none.
    pub(crate) fn run(&self) -> (Duration, String) {
        let mut command = self.command();
        let began = Instant::now();
        let mut plugin = command.spawn().unwrap();
        // It may end without reading.
        let _ = plugin.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        let mut printed = String::new();
        plugin.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        let mut complaint = String::new();
        plugin.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        let status = plugin.wait().unwrap();
        let took = began.elapsed();
        let Self { program, verb, container, .. } = self;
        assert!(
            status.success(),
            "{} {verb} {container}: {status}: {printed}{complaint}",
            program.display()
        );
        (took, printed)
    }

    fn command(&self) -> Command {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={0};K8S_POD_INFRA_CONTAINER_ID={0}",
            self.container
        );
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("CNI_COMMAND", self.verb)
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", args)
            .env("CNI_PATH", self.program.parent().unwrap_or(Path::new("/")))
            .env("ENI_CNI_RUN_DIR", &self.run_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}
