//! nftables: rulesets as text, given to `nft` as one transaction.

use crate::kernel::{
    ports::{OwnPort, Protocol},
    program,
};
use crate::plan::firewall::{self, Firewall};
use std::{
    io,
    process::{Command, Stdio},
    time::Duration,
};

/// The program; it must be 1.0 or later, and is named in the error when it is missing.
const NFT: &str = "nft";

/// How long one run may take. Our scripts take milliseconds; a ruleset of a hundred thousand rules of
/// others, seconds; with two processors for twenty that want one, 20 s were seen. One that hangs is killed and
/// run again later; the start of the daemon waits for it.
const LIMIT: Duration = Duration::from_secs(30);

/// Applies a script in the namespace of the calling thread: all of it, or nothing.
///
/// # Errors
/// `nft` is missing, or what it says about the script.
pub fn apply(script: &str) -> io::Result<()> {
    run(&["-f", "-"], script).map(drop)
}

/// Applies a script that replaces a table of this name, for IPv4 and IPv6, unless both are still as
/// this very script made them. Returns whether it was applied.
///
/// What a script made is noted in the table itself, as the comment of a rule in a chain without
/// packets: a digest of the script, and one of what the kernel showed afterwards.
///
/// # Errors
/// As [`apply`].
pub fn keep(table: &str, script: &str) -> io::Result<bool> {
    if is_kept(table, script)? {
        return Ok(false);
    }
    apply(script)?;
    let shown = list_table(table)?.unwrap_or_default();
    let stamp = stamp(script, &split_stamp(&shown).0);
    apply(&format!(
        "add chain ip {table} {STAMP}\nadd rule ip {table} {STAMP} continue comment \"{stamp}\"\n"
    ))?;
    Ok(true)
}

impl Firewall {
    /// Has the kernel have these rules, and leaves them alone where they are as they were made.
    /// Returns whether they were replaced.
    ///
    /// # Errors
    /// As [`apply`].
    pub fn keep(&self) -> io::Result<bool> {
        keep(firewall::TABLE, &self.script())
    }
}

/// Whether both tables of this name are still as this script made them.
fn is_kept(table: &str, script: &str) -> io::Result<bool> {
    let Some(shown) = list_table(table)? else { return Ok(false) };
    let (without, stamps) = split_stamp(&shown);
    Ok(stamps.contains(&stamp(script, &without)))
}

/// What is noted of a script and what the kernel showed afterwards.
fn stamp(script: &str, shown: &str) -> String {
    format!("script {:016x} made {:016x}", digest(script), digest(shown))
}

/// The chain whose only rule carries the note.
const STAMP: &str = "stamp";

/// A listing without the chain of the note, and that chain.
fn split_stamp(shown: &str) -> (String, String) {
    let (mut without, mut stamp) = (String::new(), String::new());
    let mut inside = false;
    for line in shown.lines().filter(|line| !line.trim().is_empty()) {
        inside |= line.trim() == format!("chain {STAMP} {{");
        let to = if inside { &mut stamp } else { &mut without };
        to.push_str(line);
        to.push('\n');
        inside &= line.trim() != "}";
    }
    (without, stamp)
}

/// FNV-1a, 64 bits: the same in every build, unlike the hashes of the standard library.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What the kernel has of a table, for IPv4 and IPv6, without counters and handles; `None` if it has
/// neither.
///
/// # Errors
/// `nft` takes too long.
pub fn list_table(name: &str) -> io::Result<Option<String>> {
    let mut texts = String::new();
    for family in ["ip", "ip6"] {
        match run(&["--stateless", "list", "table", family, name], "") {
            Ok(text) => texts.push_str(&text),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
            // There is none, or the next script says what is wrong.
            Err(_) => {}
        }
    }
    Ok((!texts.is_empty()).then_some(texts))
}

/// What the kernel has of one table of IPv4, without counters and handles; `None` if it has no such.
pub(crate) fn list_table_ipv4(name: &str) -> Option<String> {
    run(&["--stateless", "list", "table", "ip", name], "").ok()
}

/// Names of the kernel's tables of IPv4.
pub(crate) fn tables_ipv4() -> io::Result<Vec<String>> {
    let listed = run(&["list", "tables", "ip"], "")?;
    let name = |line: &str| Some(line.strip_prefix("table ip ")?.trim().to_owned());
    Ok(listed.lines().filter_map(name).collect())
}

/// Prints a ruleset, a table or a set of the calling thread's namespace as JSON.
///
/// # Errors
/// `nft` is missing, or what it says: a table that does not exist is an error.
pub fn list_json(what: &[&str]) -> io::Result<String> {
    run(&[&["-j", "list"], what].concat(), "")
}

/// The rules of a chain, a line each, as `nft` prints them.
///
/// # Errors
/// As [`list_json`].
pub fn list_rules(family: &str, table: &str, chain: &str) -> io::Result<Vec<String>> {
    let listed = run(&["list", "chain", family, table, chain], "")?;
    let lines = listed.lines().map(str::trim);
    // The first two lines open the table and the chain, the third says what the chain is for.
    let rules = lines.filter(|line| {
        !line.is_empty() && *line != "}" && !line.ends_with('{') && !line.starts_with("type ")
    });
    Ok(rules.map(ToOwned::to_owned).collect())
}

fn run(arguments: &[&str], input: &str) -> io::Result<String> {
    let child = Command::new(NFT)
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
    let command = || format!("nft {}", arguments.join(" "));
    let output = program::finish(child, input, LIMIT)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", command())))?;
    if output.status.success() {
        String::from_utf8(output.stdout).map_err(io::Error::other)
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{}: {}", command(), complaint.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_note_is_told_apart_from_what_it_is_about() {
        let shown = r#"table ip x {
    chain a {
        drop
    }

    chain stamp {
        continue comment "y"
    }
}
"#;

        let (without, stamp) = split_stamp(shown);

        assert_eq!(without, "table ip x {\n    chain a {\n        drop\n    }\n}\n");
        assert!(stamp.contains(r#"comment "y""#), "{stamp}");
    }

    #[test]
    fn a_digest_is_that_of_the_published_test_vectors() {
        assert_eq!(digest(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest("foobar"), 0x8594_4171_f739_67e8);
    }
}
