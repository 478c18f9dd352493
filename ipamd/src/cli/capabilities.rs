//! The one capability that the daemon needs, checked at its start instead of with the first pod.

use anyhow::{Context, Result, bail};
use std::fs;

/// `CAP_NET_ADMIN` of `linux/capability.h`.
const NET_ADMIN: u32 = 12;

/// Fails when this process may not configure the node's network.
pub(crate) fn check() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    if has(&status, NET_ADMIN) {
        return Ok(());
    }
    bail!(
        "no capability NET_ADMIN, which links, addresses, routes, rules and nftables need: run as root, with securityContext.capabilities.add: [NET_ADMIN] in the DaemonSet"
    )
}

/// Whether a capability is in force (`proc(5)`, `CapEff` of a process's status).
fn has(status: &str, capability: u32) -> bool {
    let in_force = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let in_force = in_force.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    in_force.is_some_and(|set| set >> capability & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_counts_when_it_is_in_force() {
        let status = |effective: &str| {
            format!("Name:\tipamd\nCapPrm:\t000001ffffffffff\nCapEff:\t{effective}\nCapAmb:\t0\n")
        };

        assert!(has(&status("0000000000001000"), NET_ADMIN));
        assert!(has(&status("000001ffffffffff"), NET_ADMIN));
        assert!(!has(&status("0000000000000800"), NET_ADMIN));
        assert!(!has("", NET_ADMIN));
    }
}
