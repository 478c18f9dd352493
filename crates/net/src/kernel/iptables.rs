//! Takes the peer's rules out of iptables, of both kinds, and its table out of nftables.
//!
//! Rules of iptables go with the programs of iptables, also those that are nftables underneath: `nft`
//! does not show comments of iptables, and without them a rule of somebody else may look the same.
//! Tables of iptables-nft change in one transaction of the kernel. A table of iptables-legacy is
//! read, changed and written back whole, under a lock that its programs share through a file.

use crate::{
    kernel::{nft, program},
    plan::peer_filters::{PEER_TABLE, PeerFilters, names_chain},
};
use std::{
    io,
    path::Path,
    process::{Command, Stdio},
};

/// How long one run may take: a table of ten thousand services takes a second.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// How long a run waits for others that hold the lock, in seconds.
const LOCK_WAIT: &str = "5";

/// Others change rules as well: between a look and a change, or back.
const ATTEMPTS: usize = 3;

/// Where programs of iptables-legacy wait for each other.
const LOCK: &str = "/run/xtables.lock";

/// Tables of iptables-legacy that the kernel has. To ask its programs would load modules, and make
/// the tables; `self` would be the namespace of the main thread.
const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

/// Tables in which the peer has rules.
const TABLES: [&str; 2] = ["mangle", "nat"];

/// What was found of the peer in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// `iptables-nft`, `iptables-legacy`, or the peer's table of nftables.
    pub from: String,
    /// How many rules went. Those of a table that went whole are not counted.
    pub rules: usize,
    /// How many chains went; with a table, its chains.
    pub chains: usize,
    /// What stays, and why: a sentence each.
    pub kept: Vec<String>,
}

/// Takes the peer's rules away in the namespace of the calling thread, wherever they are. Returns
/// what was there, place by place. Once they are gone it changes nothing.
///
/// # Errors
/// Of each place by itself: a program is missing, refuses or does not answer. What it says, and what
/// to do.
pub fn remove(peer: &PeerFilters) -> Vec<io::Result<Removed>> {
    let table = from_table(peer).transpose();
    let kinds = [NFT, LEGACY];
    let rules = kinds.iter().filter_map(|kind| {
        let from = kind.remove(peer).transpose()?;
        Some(from.map_err(|error| io::Error::new(error.kind(), kind.advise(&error))))
    });
    table.into_iter().chain(rules).collect()
}

/// Makes rules in the namespace of the calling thread, where the peer would make them: with the kind of
/// iptables that kubelet uses, or else the one that is nftables underneath.
///
/// # Errors
/// The program is missing, refuses or does not answer.
pub fn make(script: &str) -> io::Result<()> {
    let is_kubelets = |kind: &Kind| {
        let saved = kind.tables().and_then(|tables| kind.save(&tables));
        saved.is_ok_and(|saved| KUBELETS.iter().any(|chain| saved.contains(chain)))
    };
    let kind = if is_kubelets(&LEGACY) && !is_kubelets(&NFT) { LEGACY } else { NFT };
    kind.restore(script)
}

/// What iptables-legacy has for forwarded packets, in the namespace of the calling thread, as
/// `iptables -S` prints it. `None` where it has no such table: to ask would make it.
///
/// # Errors
/// The program is missing, refuses or does not answer.
pub fn legacy_forward() -> io::Result<Option<Vec<String>>> {
    if !legacy_tables()?.iter().any(|table| table == "filter") {
        return Ok(None);
    }
    let listed = run("iptables-legacy", &["-w", LOCK_WAIT, "-S", "FORWARD"], "")?;
    Ok(Some(listed.lines().map(ToOwned::to_owned).collect()))
}

/// Names of the tables that iptables-legacy has.
fn legacy_tables() -> io::Result<Vec<String>> {
    match std::fs::read_to_string(LEGACY_TABLES) {
        Ok(names) => Ok(names.lines().map(ToOwned::to_owned).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(io::Error::new(error.kind(), format!("read {LEGACY_TABLES}: {error}"))),
    }
}

/// Chains by which kubelet shows which kind it uses.
const KUBELETS: [&str; 2] = ["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

fn from_table(peer: &PeerFilters) -> io::Result<Option<Removed>> {
    let listed = nft::list_table_ipv4(PEER_TABLE).unwrap_or_default();
    let Some(script) = peer.table_removal(&listed) else { return Ok(None) };
    nft::apply(&script)?;
    let kept = nft::list_table_ipv4(PEER_TABLE)
        .map(|_| format!("table ip {PEER_TABLE}: it holds what is not the peer's"));
    let chains = listed.matches("chain ").count();
    let from = format!("table ip {PEER_TABLE}");
    Ok(Some(Removed { from, rules: 0, chains, kept: kept.into_iter().collect() }))
}

/// One of the two kinds of iptables.
struct Kind {
    name: &'static str,
    save: &'static str,
    restore: &'static str,
    /// What its programs need besides themselves.
    needs: &'static str,
}

const NFT: Kind = Kind {
    name: "iptables-nft",
    save: "iptables-nft-save",
    restore: "iptables-nft-restore",
    needs: "package iptables",
};

const LEGACY: Kind = Kind {
    name: "iptables-legacy",
    save: "iptables-legacy-save",
    restore: "iptables-legacy-restore",
    needs: "package iptables, NET_RAW, and the node's /run/xtables.lock",
};

impl Kind {
    fn remove(&self, peer: &PeerFilters) -> io::Result<Option<Removed>> {
        let tables = self.tables()?;
        let mut removed = None;
        let mut refused =
            io::Error::other("the peer's rules come back: does its daemon still run?");
        for _ in 0..ATTEMPTS {
            let saved = match self.save(&tables) {
                Err(error) if self.is_needless(&error, &tables) => return Ok(None),
                saved => saved?,
            };
            let removal = peer.removal(&saved);
            if removal.script.is_empty() {
                let (rules, chains) = removed.unwrap_or_default();
                let found = rules + chains + removal.kept.len() > 0;
                let from = self.name.to_owned();
                return Ok(found.then_some(Removed { from, rules, chains, kept: removal.kept }));
            }
            match self.restore(&removal.script) {
                Ok(()) => removed = Some((removal.rules, removal.chains.len())),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Those tables of the peer's that are there.
    fn tables(&self) -> io::Result<Vec<&'static str>> {
        let there = if self.name == NFT.name { nft::tables_ipv4()? } else { legacy_tables()? };
        Ok(TABLES.into_iter().filter(|table| there.iter().any(|it| it == table)).collect())
    }

    /// Whether a missing program matters to nobody: `nft` shows whether the peer has chains here.
    fn is_needless(&self, error: &io::Error, tables: &[&str]) -> bool {
        let has_chain =
            |table: &&str| nft::list_table_ipv4(table).is_some_and(|it| names_chain(&it));
        let is_missing = error.kind() == io::ErrorKind::NotFound && self.name == NFT.name;
        is_missing && !tables.iter().any(has_chain)
    }

    fn save(&self, tables: &[&str]) -> io::Result<String> {
        tables.iter().map(|table| run(self.save, &["-t", table], "")).collect()
    }

    fn restore(&self, script: &str) -> io::Result<()> {
        // Without the node's lock, in a container of its own, a table could be written back over
        // what somebody else has just changed. Who has such tables has made the file.
        if self.name == LEGACY.name && !Path::new(LOCK).exists() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no {LOCK}")));
        }
        run(self.restore, &["--noflush", "-w", LOCK_WAIT], script).map(drop)
    }

    /// What people are told of a failure.
    fn advise(&self, error: &io::Error) -> String {
        let Self { save, restore, needs, .. } = self;
        format!(
            "{error}. The peer's rules stay until the next boot, if it has any. To remove them here takes {needs}; by hand, on the node: \
             {save} | grep -vE 'AWS-(SNAT|CONNMARK)-CHAIN|\"AWS, ' | {restore}"
        )
    }
}

fn run(program: &str, arguments: &[&str], input: &str) -> io::Result<String> {
    let failed =
        |kind, why: &str| io::Error::new(kind, format!("{program} {}: {why}", arguments.join(" ")));
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.kind(), &error.to_string()))?;
    let output = program::finish(child, input, LIMIT)
        .map_err(|error| failed(error.kind(), &error.to_string()))?;
    if output.status.success() {
        // Comments of others need not be UTF-8; the peer's are.
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let why = String::from_utf8_lossy(&output.stderr);
        Err(failed(io::ErrorKind::Other, why.trim().lines().next().unwrap_or("no reason given")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named_with_what_to_do() {
        let kind = Kind { save: "no-such-save", ..LEGACY };

        let error = kind.save(&["nat"]).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let said = kind.advise(&error);
        assert!(said.starts_with("no-such-save -t nat: "), "{said}");
        assert!(said.contains("by hand, on the node: no-such-save | grep"), "{said}");
    }

    #[test]
    fn a_program_that_refuses_is_named_with_its_reason() {
        let error = run("sh", &["-c", "echo why >&2; echo more >&2; exit 1"], "").unwrap_err();

        assert!(error.to_string().ends_with(": why"), "{error}");
    }
}
