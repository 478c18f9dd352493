//! One run of a plugin: environment, stdin, a deadline, and what libcni makes of its end.

use super::{NodePaths, PluginFailure};
use cni::{
    Command,
    runtime::{Call, PluginConf},
};
use serde_json::Value;
use std::{
    io::{self, Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// As a service manager sets it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `ETXTBSY`: the file is being written, or was when another thread forked. libcni tries five
/// times more, a second apart.
const TEXT_BUSY: i32 = 26;
const BUSY_RETRIES: u32 = 5;
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// The most that is read of a plugin's output; real ones print some hundred bytes.
const MAX_OUTPUT: u64 = 1 << 20;

/// How often to look whether a plugin that closed its output has ended; it mostly has.
const EXIT_POLL: Duration = Duration::from_millis(1);

/// How long to wait for the output of a plugin that has ended: a process that it left behind may
/// hold the pipe.
const AFTER_EXIT: Duration = Duration::from_secs(1);

struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// Runs a plugin in the node's namespace. What it printed, when it succeeded.
pub(super) fn plugin(
    node: &NodePaths,
    plugin: &PluginConf,
    verb: Command,
    call: &Call,
    stdin: &str,
    deadline: Duration,
) -> Result<String, PluginFailure> {
    let failed = |msg: String| PluginFailure {
        plugin: plugin.kind.clone(),
        verb,
        code: 0,
        msg,
        details: String::new(),
    };
    let path = node.bin_dir.join(&plugin.kind);
    if !path.is_file() {
        let folder = node.bin_dir.display();
        return Err(failed(format!("failed to find plugin {:?} in path [{folder}]", plugin.kind)));
    }
    let mut command = std::process::Command::new(path);
    command
        .env_clear()
        .env("PATH", PATH)
        .envs(&node.env)
        .envs(call.env(verb))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // A child starts in the namespace of the thread that makes it.
    let child = net::netns::within(&node.netns, || spawn(&mut command))
        .map_err(|error| failed(error.to_string()))?;
    let ended = end(child, stdin, deadline).map_err(|error| failed(error.to_string()))?;
    if !ended.stderr.is_empty() {
        tracing::debug!(plugin = plugin.kind, stderr = ended.stderr, "plugin wrote");
    }
    if ended.status.success() { Ok(ended.stdout) } else { Err(diagnosis(failed, &ended)) }
}

fn spawn(command: &mut std::process::Command) -> io::Result<Child> {
    for _ in 0..BUSY_RETRIES {
        match command.spawn() {
            Err(error) if error.raw_os_error() == Some(TEXT_BUSY) => thread::sleep(BUSY_PAUSE),
            spawned => return spawned,
        }
    }
    command.spawn()
}

/// Feeds the plugin and waits for its end, which is SIGKILL when the deadline has passed.
fn end(mut child: Child, stdin: &str, deadline: Duration) -> io::Result<Ended> {
    let until = Instant::now() + deadline;
    if let Some(mut pipe) = child.stdin.take() {
        let stdin = stdin.to_owned();
        // A plugin may end without reading.
        thread::spawn(move || drop(pipe.write_all(stdin.as_bytes())));
    }
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);

    let left = || until.saturating_duration_since(Instant::now());
    let early = stdout.as_ref().and_then(|output| output.recv_timeout(left()).ok());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if left().is_zero() {
            child.kill()?;
            break child.wait()?;
        }
        thread::sleep(EXIT_POLL);
    };
    let late = |output: Option<Receiver<String>>| {
        output.and_then(|output| output.recv_timeout(AFTER_EXIT).ok()).unwrap_or_default()
    };
    Ok(Ended { status, stdout: early.unwrap_or_else(|| late(stdout)), stderr: late(stderr) })
}

/// Reads a pipe on a thread of its own, so that neither pipe can block the plugin.
fn collect(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = channel();
    thread::spawn(move || {
        let mut output = Vec::new();
        // What came before an error counts.
        let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut output);
        // Nobody waits any more after a deadline.
        let _ = tell.send(String::from_utf8_lossy(&output).into_owned());
    });
    told
}

/// The words of libcni's `pluginErr`.
fn diagnosis(failed: impl Fn(String) -> PluginFailure, ended: &Ended) -> PluginFailure {
    let Ended { status, stdout, stderr } = ended;
    if stdout.is_empty() {
        return failed(if stderr.is_empty() {
            let end = match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(9)) => "signal: killed".to_owned(),
                (None, signal) => format!("signal: {}", signal.unwrap_or_default()),
            };
            format!("netplugin failed with no error message: {end}")
        } else {
            format!("netplugin failed: {stderr:?}")
        });
    }
    match serde_json::from_str::<Value>(stdout) {
        Ok(document) => {
            let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
            let code = document["code"].as_u64().and_then(|code| u32::try_from(code).ok());
            PluginFailure {
                code: code.unwrap_or_default(),
                details: text("details"),
                ..failed(text("msg"))
            }
        }
        Err(cause) => failed(format!(
            "netplugin failed but error parsing its diagnostic message {stdout:?}: {cause}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_hangs_is_killed() {
        // The process that it leaves behind holds its output.
        let ended = run("sleep 20 & exec sleep 3600", Duration::from_millis(300));

        assert_eq!(ended.status.signal(), Some(9));
        assert_eq!(ended.stdout, "");
    }

    #[test]
    fn output_larger_than_a_pipe_is_read() {
        let ended = run("cat >&2; head -c 300000 /dev/zero", Duration::from_secs(60));

        assert!(ended.status.success());
        assert_eq!((ended.stdout.len(), ended.stderr.len()), (300_000, 200_000));
    }

    /// CNI requirement 31.
    #[test]
    fn a_failure_is_told_in_libcnis_words() {
        let said = |script: &str| {
            let ended = run(script, Duration::from_secs(60));
            let failed = |msg| PluginFailure {
                plugin: "p".into(),
                verb: Command::Add,
                code: 0,
                msg,
                details: String::new(),
            };
            diagnosis(failed, &ended).to_string()
        };
        let prefix = r#"plugin type="p" failed (add): "#;

        assert_eq!(
            said("exit 3"),
            format!("{prefix}netplugin failed with no error message: exit status 3")
        );
        assert_eq!(
            said("kill -9 $$"),
            format!("{prefix}netplugin failed with no error message: signal: killed")
        );
        assert_eq!(said("echo -n why >&2; exit 1"), format!(r#"{prefix}netplugin failed: "why""#));
        assert_eq!(
            said(r#"echo '{"code":11,"msg":"no address","details":"full"}'; exit 1"#),
            format!("{prefix}no address; full")
        );
        assert!(said("echo garbage; exit 1").contains("error parsing its diagnostic message"));
    }

    fn run(script: &str, deadline: Duration) -> Ended {
        let child = std::process::Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        end(child, &"x".repeat(200_000), deadline).unwrap()
    }
}
