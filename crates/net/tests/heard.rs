//! Datagrams that were found to reach code that no other does, each read as by the daemon.

use net::heard;
use std::{fs, path::Path};

/// Inputs of `scripts/fuzz`, the ones that once were faults among them.
const FOUND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/netlink");

#[test]
fn every_datagram_that_was_a_fault_once_is_read() {
    let read = |name: &str| heard::read(&fs::read(Path::new(FOUND).join(name)).unwrap(), "eni-cni");
    let all = fs::read_dir(FOUND).unwrap().map(|entry| entry.unwrap().file_name());

    for name in all {
        read(name.to_str().unwrap());
    }

    assert_eq!(read("error").refusals, ["File exists"]);
    assert_eq!(read("newlink").events.len(), 1);
    assert_eq!(read("delroute").events.len(), 1);
    assert_eq!(read("newrule").events.len(), 1);
    assert_eq!(read("netconf").events.len(), 1);
    assert_eq!(read("nftables").transactions, 1);
}
