//! Blocks of commands in documents work when they are pasted into a shell, line after line.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
};
use tests::{binary, command::run, repository};

/// What goes before a command that ran, and before what it printed.
const RAN: &str = "@@ ";

/// A shell on a machine of its own, where no other world is; what it started ends with it.
const SHELL: &str = "
    mkdir -p /run/netns /run/vpc-sim
    mount -t tmpfs -o mode=755 pasted /run/netns
    mount -t tmpfs -o mode=755 pasted /run/vpc-sim
    exec bash -s";

#[test]
fn the_readme_lets_one_look_inside_without_waiting_or_a_second_terminal() {
    let lines = commands("README.md", "## Look inside");
    let (there, away): (Vec<_>, Vec<_>) = lines.iter().partition(|line| {
        let asked = ["kubectl", "aws"].into_iter().find(|it| line.split(' ').any(|w| w == *it));
        asked.is_none_or(in_path)
    });

    let said = paste(&there);

    for (command, word) in [
        ("vpc-sim up", "\"kubeconfig\""),
        ("vpc-sim node add n1", "\"n1\""),
        ("vpc-sim pod add n1 web", "\"cniVersion\""),
        ("vpc-sim exec n1 -- ip rule", "lookup main"),
        ("vpc-sim exec n1/web -- curl", "."),
        ("vpc-sim status", "web"),
        ("vpc-sim calls", "AssignPrivateIpAddresses"),
        ("vpc-sim fault add", "lost-reply"),
        ("kubectl", "n1"),
        ("grep Id", "eni-"),
    ] {
        if !away.iter().any(|line| line.contains(command)) {
            printed(&said, command, word);
        }
    }
}

#[test]
fn own_plugins_can_be_tried_as_the_document_says() {
    let said = paste(&commands("docs/own-plugin.md", ""));

    for (command, word) in [
        ("vpc-sim status", "us-west-2b"),
        ("vpc-sim pod add n2 web", "\"interfaces\""),
        ("vpc-sim exec n1/client -- curl -s http://10.", "\"pod\":\"web\""),
        ("vpc-sim exec n1 -- ip route", "default via"),
        ("grep dropped", "the source has no public address"),
        ("vpc-sim calls", "AssignPrivateIpAddresses"),
        ("vpc-sim fault list", "throttle"),
    ] {
        printed(&said, command, word);
    }
}

/// The lines of the blocks below a heading, or of all blocks of a document; blocks that show what was
/// printed are none.
fn commands(document: &str, heading: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(document)).unwrap();
    let (_, below) =
        text.split_once(heading).unwrap_or_else(|| panic!("no {heading} in {document}"));
    let section =
        if heading.is_empty() { below } else { below.split("\n## ").next().unwrap_or_default() };
    let blocks = section.split("```\n").skip(1).step_by(2);
    let typed: Vec<_> = blocks.filter(|block| !block.starts_with("dropped ")).collect();
    assert!(!typed.is_empty(), "no commands below {heading} in {document}");
    typed.iter().flat_map(|block| block.lines()).map(ToOwned::to_owned).collect()
}

/// Pastes lines into a shell, in a folder with what was built. All commands must succeed; each with
/// what it printed.
#[track_caller]
fn paste<L: AsRef<str>>(lines: &[L]) -> Vec<String> {
    let folder = folder();
    let typed: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
    // Every command is told before it runs, and the first that fails is the last.
    let typed = format!("exec 2>&1\nPS4='{RAN}'\nset -exo pipefail\n{typed}: pasted\n");
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", SHELL]);
    let programs = folder.join("target/debug");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    shell.env("PATH", path).current_dir(&folder);

    let output = run(&mut shell, &typed);

    let _ = fs::remove_dir_all(&folder);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "a command failed, the last of:\n{said}");
    assert!(said.ends_with("@@ : pasted\n"), "the last lines were not run:\n{said}");
    format!("\n{said}").split(&format!("\n{RAN}")).map(ToOwned::to_owned).collect()
}

/// Where the lines are pasted: programs as Cargo puts them, and a daemon of somebody.
fn folder() -> PathBuf {
    let name = std::thread::current().name().unwrap_or_default().replace("::", "-");
    let folder = std::env::temp_dir().join(format!("pasted-{}-{name}", std::process::id()));
    fs::create_dir_all(folder.join("target")).unwrap();
    let program = binary("vpc-sim");
    symlink(program.parent().unwrap(), folder.join("target/debug")).unwrap();
    let daemon = folder.join("my-daemon");
    fs::write(&daemon, "#!/bin/sh\nexec sleep 600\n").unwrap();
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Some command that begins like this printed a word, or the one beside it: those of a pipe begin in
/// any order.
#[track_caller]
fn printed(said: &[String], command: &str, word: &str) {
    let begins = |at: &usize| said[*at].starts_with(command);
    let ran: Vec<_> = (0..said.len()).filter(begins).collect();
    assert!(!ran.is_empty(), "{command} did not run: {said:#?}");
    let answers: Vec<_> = ran.iter().flat_map(|at| said.iter().skip(*at).take(2)).collect();
    let outputs = answers.iter().filter_map(|said| said.split_once('\n'));
    let found = outputs.into_iter().any(|(_, printed)| printed.contains(word));
    assert!(found, "{command} did not print {word}: {answers:#?}");
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
