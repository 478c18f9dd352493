//! What an installed plugin says of itself.

use anyhow::{Context, Result, bail};
use cni::Version;
use serde_json::Value;
use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long a plugin may take to answer.
const ANSWERS: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The most that is read of what it says.
const SAYS: u64 = 4096;

/// The release of a reference plugin, which it tells when it is started by hand: `CNI loopback plugin
/// v1.9.1`.
pub(super) fn release(plugin: &Path) -> Result<Vec<u64>> {
    let said = ask(plugin, &[]).with_context(|| format!("ask {}", plugin.display()))?.stderr;
    release_in(&said).with_context(|| format!("no version in {:?}", said.lines().next()))
}

/// Whether a plugin knows STATUS and GC: whether it speaks the first version that has them.
pub(super) fn knows_status(plugin: &Path) -> Result<bool> {
    let said = ask(plugin, &[("CNI_COMMAND", "VERSION")])
        .with_context(|| format!("ask {}", plugin.display()))?
        .stdout;
    let reply: Value = serde_json::from_str(&said)
        .with_context(|| format!("understand {} on VERSION", plugin.display()))?;
    let spoken = reply["supportedVersions"].as_array().context("no supportedVersions")?;
    Ok(spoken.iter().any(|it| it == Version::V1_1_0.as_str()))
}

fn release_in(said: &str) -> Option<Vec<u64>> {
    let number = |word: &str| -> Option<Vec<u64>> {
        let number = word.strip_prefix('v')?.split('-').next()?;
        number.split('.').map(|part| part.parse().ok()).collect()
    };
    said.lines().next()?.split_whitespace().find_map(number)
}

/// What a plugin has said.
struct Said {
    stdout: String,
    stderr: String,
}

fn ask(plugin: &Path, env: &[(&str, &str)]) -> Result<Said> {
    let mut command = Command::new(plugin);
    command.env_clear().envs(env.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Runtimes say so much to VERSION; who does not read it may be gone.
        let _ = stdin.write_all(br#"{"cniVersion":"1.1.0"}"#);
    }
    let deadline = Instant::now() + ANSWERS;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("it does not end within {} s", ANSWERS.as_secs());
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(Said { stdout: beginning(child.stdout.take())?, stderr: beginning(child.stderr.take())? })
}

fn beginning(stream: Option<impl Read>) -> Result<String> {
    let mut said = vec![];
    if let Some(stream) = stream {
        stream.take(SAYS).read_to_end(&mut said)?;
    }
    Ok(String::from_utf8_lossy(&said).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_number_of_parts() {
        assert_eq!(release_in("CNI loopback plugin v1.9.1\nmore v2.0.0"), Some(vec![1, 9, 1]));
        assert_eq!(release_in("CNI loopback plugin v1.10.0-rc.1"), Some(vec![1, 10, 0]));
        assert_eq!(release_in("CNI loopback plugin version unknown"), None);
        assert_eq!(release_in(""), None);
        assert!(vec![1, 10, 0] > vec![1, 9, 1]);
    }
}
