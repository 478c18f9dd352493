//! One program for every reader of what comes from outside: `TARGET` says which. `scripts/fuzz` runs it.
#![no_main]

mod files;
mod wire;

use libfuzzer_sys::fuzz_target;
use net::peer_filters::{PeerFilters, Work};
use std::{collections::BTreeMap, env, sync::OnceLock};

/// A reader, and what it is called.
type Target = (&'static str, fn(&[u8]));

/// Every reader. Each has a folder of inputs of this name in `fuzz/corpus`.
const TARGETS: &[Target] = &[
    ("request", request),
    ("result", result),
    ("envelope", wire::envelope),
    ("reply", wire::reply),
    ("netlink", netlink),
    ("filters", filters),
    ("journal", files::journal),
    ("checkpoint", files::checkpoint),
    ("spool", files::spool),
];

fuzz_target!(|bytes: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let read = TARGET.get_or_init(|| {
        let name = env::var("TARGET").unwrap_or_default();
        let named = TARGETS.iter().find(|(it, _)| *it == name);
        let names = TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        named.unwrap_or_else(|| panic!("TARGET is `{name}`, which is none of {names}")).1
    });
    read(bytes);
});

/// The variables of a runtime, one a line as `NAME=value`; after an empty line what it has on stdin.
fn request(bytes: &[u8]) {
    let end = bytes.windows(2).position(|two| two == b"\n\n");
    let (lines, stdin) = end.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + 2..]));
    let lines = String::from_utf8_lossy(lines);
    let env: BTreeMap<String, String> = lines
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let version = cni::stated_version(stdin).map(cni::Version::as_str);
    match cni::Request::parse(&env, stdin) {
        Ok(request) => {
            let args = &request.args;
            let (namespace, name) = (args.namespace.as_deref(), args.name.as_deref());
            let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
            let link = cni::names::host_veth(&request.config.veth_prefix, namespace, name);
            assert!(link.len() < 16, "{link}");
            if let Some(result) = &request.config.prev_result {
                let _ = cni::peer::remains(result, namespace, name);
                let _ = result.to_json(request.config.cni_version);
            }
        }
        Err(error) => {
            let printed = error.to_json(version);
            assert!(printed.len() < 4096 && printed.lines().count() == 1, "{printed}");
        }
    }
    let _ = cni::version_reply(stdin);
}

/// A result of any version, of this plugin or another.
fn result(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for version in cni::Version::ALL {
        let Ok(result) = cni::AddResult::parse(text, version) else { continue };
        // What was read can be written for a runtime that asks for the same version, and read again.
        if let Ok(written) = result.to_json(version) {
            let again = cni::AddResult::parse(&written, version);
            assert!(again.is_ok(), "{version:?}: {written}: {again:?}");
        }
    }
}

/// A datagram of the kernel.
fn netlink(bytes: &[u8]) {
    let _ = net::heard::read(bytes, "eni-cni");
}

/// What `iptables-save` or `nft list` printed.
fn filters(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let peer =
        PeerFilters { marks: [0x80].into(), done: [Work::Translation, Work::OutboundMarks].into() };
    let _ = peer.removal(&text);
    let _ = peer.table_removal(&text);
}
