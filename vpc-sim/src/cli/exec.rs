//! `exec`: a command in the network of a node or a pod.

use crate::cluster::enter;
use crate::world::{
    Folder,
    control::{self, Location, Request},
};
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use std::{ffi::OsString, fs::File, os::unix::process::CommandExt, process::Command};

/// Becomes the command; returns only when it cannot.
pub(super) fn exec(folder: &Folder, place: &str, command: &[OsString]) -> Result<()> {
    let request = locate(place)?;
    let Location { namespace, enclosure, env } =
        serde_json::from_value(control::ask(folder, &request)?)?;
    let Some((program, arguments)) = command.split_first() else { bail!("no command is given") };
    if let Some(pid) = enclosure {
        let failed =
            Command::new("nsenter").args(enter(pid, &namespace)).args(command).envs(env).exec();
        return Err(failed).context("run nsenter");
    }
    let entered = || format!("enter network namespace {}", namespace.display());
    // This process has one thread, so all of it moves.
    let namespace = File::open(&namespace).with_context(entered)?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("enter the network namespace")?;
    let failed = Command::new(program).args(arguments).envs(env).exec();
    Err(failed).with_context(|| format!("run {}", program.display()))
}

fn locate(place: &str) -> Result<Request> {
    let parts: Vec<String> = place.split('/').map(str::to_owned).collect();
    let (node, namespace, pod) = match <[String; 1]>::try_from(parts) {
        Ok([node]) => (node, None, None),
        Err(parts) => match <[String; 2]>::try_from(parts) {
            Ok([node, pod]) => (node, None, Some(pod)),
            Err(parts) => match <[String; 3]>::try_from(parts) {
                Ok([node, namespace, pod]) => (node, Some(namespace), Some(pod)),
                Err(_) => bail!("`{place}` is not NODE, NODE/POD or NODE/NAMESPACE/POD"),
            },
        },
    };
    Ok(Request::Locate { node, namespace, pod })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: &str, want: Option<(&str, Option<&str>, Option<&str>)>) {
        let owned = |text: &str| text.to_owned();

        let located = locate(place).ok();

        let want = want.map(|(node, namespace, pod)| Request::Locate {
            node: node.into(),
            namespace: namespace.map(owned),
            pod: pod.map(owned),
        });
        assert_eq!(located, want);
    }

    #[test]
    fn a_place_is_a_node_or_a_pod_on_it() {
        check("n1", Some(("n1", None, None)));
        check("n1/p", Some(("n1", None, Some("p"))));
        check("n1/kube-system/p", Some(("n1", Some("kube-system"), Some("p"))));
        check("n1/a/b/c", None);
    }
}
