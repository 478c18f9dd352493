//! Nodes on which a leak of one address is noticed.

use crate::stock::install_stock;
use tests::{
    command::until,
    world::{CUSTOM, World, ZONES},
};

/// No cooldown of addresses, and a short wait for one.
pub(crate) const TIGHT: &[&str] = &["IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=5"];

/// A world of one node with one address for pods, on a secondary interface and without cooldown, so
/// that a leak of it is noticed. Its daemon has what it wants.
pub(crate) fn tight() -> World {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    install_stock(&world.node_folder("n1").cni_bin());
    world.daemon_start("n1", &[CUSTOM, TIGHT].concat());
    // Only what a pod can use is there.
    let pod = world.pod_add("n1", "first");
    world.pod_rm(&pod);
    until("the link of a pod is gone", || {
        let links = world.sim(&["exec", "n1", "--", "ip", "-oneline", "link"]);
        if links.contains(" eni") { Err(links) } else { Ok(()) }
    });
    world
}
