//! nftables: rulesets as text, given to `nft` as one transaction.

use crate::own::{OwnPort, Protocol};
use std::{
    io::{self, Read, Write},
    process::{Command, Stdio},
};

/// The program; it must be 1.0 or later, and is named in the error when it is missing.
const NFT: &str = "nft";

/// Applies a script in the namespace of the calling thread: all of it, or nothing.
///
/// # Errors
/// `nft` is missing, or what it says about the script.
pub fn apply(script: &str) -> io::Result<()> {
    run(&["-f", "-"], script).map(drop)
}

/// Prints a ruleset, a table or a set of the calling thread's namespace as JSON.
///
/// # Errors
/// `nft` is missing, or what it says: a table that does not exist is an error.
pub fn list_json(what: &[&str]) -> io::Result<String> {
    run(&[&["-j", "list"], what].concat(), "")
}

fn run(arguments: &[&str], input: &str) -> io::Result<String> {
    let mut child = Command::new(NFT)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            io::Error::new(error.kind(), format!("run {NFT} (package nftables): {error}"))
        })?;
    // Before it has read the script, and so before it changes anything. nft's port is its process id.
    let _port = OwnPort::note(Protocol::Netfilter, child.id());
    // nft reads its whole script before it prints anything, so one pipe after the other cannot lock up.
    child.stdin.take().expect("a pipe was asked for").write_all(input.as_bytes())?;
    let mut output = String::new();
    child.stdout.take().expect("a pipe was asked for").read_to_string(&mut output)?;
    let mut complaint = String::new();
    child.stderr.take().expect("a pipe was asked for").read_to_string(&mut complaint)?;
    if child.wait()?.success() {
        Ok(output)
    } else {
        Err(io::Error::other(format!("nft {}: {}", arguments.join(" "), complaint.trim())))
    }
}
