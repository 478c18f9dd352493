//! What the kernel shows of pods that somebody else made, with `ip`, as the peer's plugin leaves them.

mod namespace;

use namespace::Namespace;
use net::Netlink;
use std::{io, net::Ipv4Addr, process::Command};

const POD: Ipv4Addr = Ipv4Addr::new(100, 64, 21, 73);
const OTHER: Ipv4Addr = Ipv4Addr::new(100, 64, 21, 74);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 13, 237);

#[test]
fn a_pod_of_somebody_else_is_seen_with_its_link_routes_rules_and_namespace() {
    let host = Namespace::new("traces-host");
    let pod = Namespace::new("traces-pod");
    let pod_name = pod.path.file_name().unwrap().to_str().unwrap().to_owned();

    let (traces, paths) = host.within(|netlink| {
        let vethadd = format!("link add eni182c452fe96 type veth peer name eth0 netns {pod_name}");
        for line in [
            "link set lo up",
            &format!("addr add {OWN}/32 dev lo"),
            &vethadd,
            "link set eni182c452fe96 up",
            &format!("route add {POD}/32 dev eni182c452fe96 scope link"),
            &format!("rule add to {POD} lookup main priority 512"),
            &format!("rule add from {POD} lookup 2 priority 1536"),
            &format!("rule add to {OTHER} lookup main priority 512"),
            &format!("route add blackhole {OTHER}/32"),
        ] {
            ip(line)?;
        }
        Ok((netlink.traces()?, netlink.netns_paths()?))
    });

    let link = traces.links.values().find(|link| link.name == "eni182c452fe96").unwrap();
    let namespace = link.netns_id.and_then(|id| paths.get(&id)).cloned();
    assert_eq!(namespace, Some(pod.path.clone()));
    assert_eq!(traces.routes, [(POD, link.index), (OTHER, 0)].into());
    assert_eq!(traces.rules, [(POD, Some(2)), (OTHER, None)].into());
    assert!(traces.own.contains(&OWN), "{:?}", traces.own);
}

#[test]
fn a_file_that_is_no_namespace_has_no_number() {
    let host = Namespace::new("traces-none");

    let ids = host.within(|netlink: &mut Netlink| {
        ["/proc/self/status", "/nonexistent", "/"]
            .into_iter()
            .map(|path| netlink.netns_id(path.as_ref()))
            .collect::<io::Result<Vec<_>>>()
    });

    assert_eq!(ids, [None; 3]);
}

fn ip(line: &str) -> io::Result<()> {
    let output = Command::new("ip").args(line.split(' ')).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(io::Error::other(format!("{line}: {said}"))) }
}
