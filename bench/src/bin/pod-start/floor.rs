//! What the kernel alone takes: the two batches of an ADD and the one of a DEL, in one process.

use net::{
    Netlink,
    pod::{Ends, Pod},
};
use std::{
    fs::File,
    net::Ipv4Addr,
    os::fd::AsRawFd,
    path::Path,
    time::{Duration, Instant},
};

/// First address of pods that only the kernel knows: none of the world's, and other last octets
/// than those of the world's pods, so that no index of a link is taken.
const FIRST: u32 = u32::from_be_bytes([100, 65, 128, 1]);

/// The routing table of the first interface for pods.
const TABLE: u32 = 2;

/// The kernel as the daemon and the plugin see it, opened before anything is timed.
pub(crate) struct Floor {
    host: Netlink,
    inside: Netlink,
    netns: File,
    pod: Pod,
    ends: Ends,
}

impl Floor {
    /// Opens sockets in the calling thread's namespace and in the pod's.
    pub(crate) fn open(number: u32, netns: &Path) -> Self {
        let pod = Pod {
            host_name: format!("floor{number}"),
            pod_name: "eth0".into(),
            address: Ipv4Addr::from(FIRST + number),
            table: TABLE,
            egress: net::EgressSelector::Marked,
            mtu: 9001,
            host_mac: None,
            role: net::pod::Role::First,
        };
        Self {
            host: Netlink::open().unwrap(),
            inside: net::netns::within(netns, Netlink::open).unwrap(),
            netns: File::open(netns).unwrap(),
            ends: pod.preferred_ends(),
            pod,
        }
    }

    /// The kernel's part of an ADD.
    pub(crate) fn add(&mut self) -> Duration {
        let began = Instant::now();
        let mut ops = vec![self.pod.link(Some(self.ends), self.netns.as_raw_fd())];
        ops.extend(Pod::bring_up(self.ends.host));
        ops.extend(self.pod.on_host(self.ends.host, None));
        self.host.apply(&ops).unwrap();
        self.inside.apply(&self.pod.in_pod(self.ends.pod)).unwrap();
        began.elapsed()
    }

    /// The kernel's part of a DEL.
    pub(crate) fn del(&mut self) -> Duration {
        let began = Instant::now();
        let failures = self.host.apply_each(&self.pod.unroute(Some(self.ends.host))).unwrap();
        let took = began.elapsed();
        assert!(failures.is_empty(), "{failures:?}");
        took
    }

    /// Removes the link, which a DEL leaves to the reaper.
    pub(crate) fn end(&mut self) {
        self.host.apply(&[self.pod.unlink(self.ends.host)]).unwrap();
    }
}
