//! Worlds side by side, and what is left of one that was killed.

use std::{fs, path::PathBuf};
use tests::world::{World, ZONES};
use vpc_sim::world::process::Process;

#[test]
fn worlds_side_by_side_do_not_touch_each_other() {
    let worlds = [World::up(), World::up()];
    let pods = worlds.each_ref().map(|world| {
        for (node, zone) in ["n1", "n2"].into_iter().zip(ZONES) {
            world.node_add(node, zone, &[]);
            world.daemon_start(node, &[]);
        }
        let name = format!("of-{}", world.name());
        vec![world.pod_add("n1", &name), world.pod_add("n2", &format!("{name}-too"))]
    });

    for (world, pods) in worlds.iter().zip(&pods) {
        world.everybody_reaches_everybody(pods);
    }
    let [one, other] = worlds;
    drop(one);

    other.everybody_reaches_everybody(&pods[1]);
}

#[test]
fn nothing_is_left_of_a_world_that_was_killed() {
    let mut world = World::with_node("n1", &[]);
    world.pod_add("n1", "p");
    let daemon = world.node("n1").daemon.and_then(Process::of).unwrap();

    world.kill();
    let running = daemon.is_alive();
    let before = traces(&world);
    world.sim(&["down"]);

    assert!(running, "nobody ended the daemon before");
    assert!(before.len() > 3, "{before:?}");
    assert_eq!(traces(&world), Vec::<PathBuf>::new());
    assert!(!daemon.is_alive());
}

#[test]
fn a_killed_world_does_not_prevent_the_next_of_its_name() {
    let mut world = World::with_node("n1", &[]);
    world.pod_add("n1", "p");

    world.kill();
    world.restart();

    assert_eq!(world.status().nodes, []);
    world.node_add("n1", ZONES[0], &[]);
    world.daemon_start("n1", &[]);
    world.pod_add("n1", "p");
}

/// Names of namespaces, and files, of a world.
fn traces(world: &World) -> Vec<PathBuf> {
    let of_world = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let rest = name.strip_prefix(world.name());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let folders = ["/run/netns", "/run/vpc-sim"].into_iter().filter_map(|it| fs::read_dir(it).ok());
    folders.flatten().flatten().map(|entry| entry.path()).filter(of_world).collect()
}
