//! The record is lost, damaged or older than the peer's: whoever runs keeps network and address, and
//! the way back to the peer is open at any time.

use crate::takeover::Bed;
use std::{fs, path::Path};
use tests::{
    command::until,
    peer::{self, Mode, checkpoint::digits},
    prober::Prober,
    world::World,
};

/// As in the take-over: nearly all that no pod uses is given back.
const TIGHT: &[&str] = &["WARM_IP_TARGET=2", "MINIMUM_IP_TARGET=2", "IP_COOLDOWN_PERIOD=0"];

/// So many addresses that the peer's stand-in, which asks EC2 for none, has enough when it comes back.
const ROOMY: &[&str] = &["WARM_IP_TARGET=40", "IP_COOLDOWN_PERIOD=0"];

/// New pods before and after the loss.
const NEW: usize = 8;

/// Two pods of one namespace whose links have one name: 44 bits of SHA-1 of `default.` and the name.
pub(crate) const ALIKE: [&str; 2] = ["p1803518", "p8024346"];

/// What happens to a file, and what that is.
type Damage = (&'static str, fn(&Path));

const DAMAGES: &[Damage] = &[
    ("removed", |journal| fs::remove_file(journal).unwrap()),
    ("empty", |journal| fs::write(journal, b"").unwrap()),
    ("cut in the middle of a line", |journal| {
        change(journal, |bytes| bytes.truncate(bytes.len() / 2))
    }),
    ("without its last byte", |journal| change(journal, |bytes| bytes.truncate(bytes.len() - 1))),
    ("with a bit of its last line flipped", |journal| {
        change(journal, |bytes| {
            let at = bytes.len() - 10;
            bytes[at] ^= 1;
        });
    }),
    ("damaged before good lines", |journal| {
        change(journal, |bytes| {
            let at = bytes.len() / 3;
            bytes[at..at + 20].fill(b'#');
        });
    }),
    ("random bytes", |journal| {
        change(journal, |bytes| {
            let mut state = 0x9e37_79b9_u32;
            for byte in bytes {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0];
            }
        });
    }),
];

#[test]
fn a_lost_or_damaged_record_costs_no_pod_its_address_or_a_request() {
    let world = peer::world(Mode::Default);
    let mut bed = Bed::up(&world, Mode::Default);
    bed.take_over(TIGHT);
    // Pods of ours are like the others from here on.
    bed.pods.extend(["our0", "our1", "our2"].map(|name| world.pod_add("n1", name)));
    bed.checkpoint_lists(&bed.pods);
    let carried = bed.carried();
    let journal = world.node_folder("n1").run().join("journal");
    for (what, damage) in DAMAGES {
        let prober = Prober::start(&bed.all());
        world.daemon_kill("n1");
        damage(&journal);
        bed.take_over(TIGHT);
        bed.new_pods_come_and_go(NEW);

        prober.end().check();
        assert_eq!(bed.carried(), carried, "{what}: {:#?}", world.calls("n1"));
        bed.nothing_in_use_was_asked_away();
        bed.checkpoint_lists(&bed.pods);
    }

    for pod in bed.pods.drain(..) {
        world.pod_rm(&pod);
        let links = || world.sim(&["exec", "n1", "--", "ip", "-o", "link"]);
        until("its link is gone", || {
            let links = links();
            if links.contains(&digits("default", &pod.name)) { Err(links) } else { Ok(()) }
        });
    }
    bed.checkpoint_lists(&[]);
}

// Nobody but the kernel can tell then.
#[test]
fn with_the_whole_run_folder_gone_no_address_of_a_pod_that_runs_is_given_to_another() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let mut bed = Bed::up(&world, mode);
        bed.take_over(TIGHT);
        bed.pods.extend(["our0", "our1", "our2"].map(|name| world.pod_add("n1", name)));
        let carried = bed.carried();

        let prober = Prober::start(&bed.all());
        world.daemon_kill("n1");
        for entry in fs::read_dir(world.node_folder("n1").run()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        bed.take_over(TIGHT);
        until("each pod's address is shown as held", || {
            let shown = world.metrics("n1");
            let held = |address| {
                let of_address = format!("eni_cni_held_address{{address=\"{address}\",eni=\"eni-");
                shown.keys().any(|metric| metric.starts_with(&of_address))
            };
            let count = shown.get(r#"eni_cni_held_addresses{reason="link"}"#).cloned();
            let all = bed.pods.iter().all(|pod| held(&pod.address));
            let counted = count == Some(bed.pods.len().to_string());
            if all && counted { Ok(()) } else { Err(format!("{shown:#?}")) }
        });
        bed.new_pods_come_and_go(NEW);

        prober.end().check();
        assert_eq!(bed.carried(), carried, "{mode:?}: {:#?}", world.calls("n1"));
        bed.nothing_in_use_was_asked_away();
        bed.checkpoint_guards(&bed.pods);
        for pod in bed.pods.drain(..) {
            world.pod_rm(&pod);
            // In prefixes an interface's own rule may begin with the same address.
            bed.node.shell(&format!("! ip rule | grep -E '(from|to) {}( |$)'", pod.address));
        }
    }
}

#[test]
fn the_peer_that_comes_back_gives_no_address_of_a_pod_away_and_ends_pods_of_both() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let mut bed = Bed::up(&world, mode);
        bed.take_over(ROOMY);
        bed.pods.extend(["our0", "our1", "our2"].map(|name| world.pod_add("n1", name)));
        bed.checkpoint_lists(&bed.pods);

        let prober = Prober::start(&bed.all());
        world.daemon_stop("n1");
        prober.round();
        prober.end().check();
        bed.checkpoint_lists(&bed.pods);
        // The peer's own start takes the rule from each pod away for a moment: nobody is asked then.
        bed.node.start();
        bed.checkpoint_lists(&bed.pods);
        let prober = Prober::start(&bed.all());
        bed.new_pods_come_and_go(NEW);

        prober.end().check();
        for pod in bed.pods.drain(..) {
            world.pod_rm(&pod);
        }
        bed.checkpoint_lists(&[]);
    }
}

#[test]
fn of_two_records_the_newer_one_counts_and_no_pod_that_lives_loses_its_address() {
    for mode in Mode::ALL {
        let world = peer::world(mode);
        let mut bed = Bed::up(&world, mode);
        bed.take_over(ROOMY);
        bed.pods.extend(["our0", "our1", "our2"].map(|name| world.pod_add("n1", name)));
        bed.checkpoint_lists(&bed.pods);
        world.daemon_stop("n1");
        bed.node.start();
        // What our journal says of these is not true any more when the daemon comes again.
        for gone in ["old0", "old1", "our0"] {
            let at = bed.pods.iter().position(|pod| pod.name == gone).unwrap();
            world.pod_rm(&bed.pods.remove(at));
        }
        bed.pods.extend(bed.node.pods_add("again", 5));
        let carried = bed.carried();

        let prober = Prober::start(&bed.all());
        bed.take_over(TIGHT);
        bed.new_pods_come_and_go(NEW);

        prober.end().check();
        assert_eq!(bed.carried(), carried, "{mode:?}: {:#?}", world.calls("n1"));
        bed.nothing_in_use_was_asked_away();
        bed.checkpoint_lists(&bed.pods);
    }
}

#[test]
fn two_pods_whose_links_would_have_one_name_have_a_network_each_and_keep_it() {
    // No interface comes meanwhile: what is there before is there after.
    const ENV: &[&str] = &["WARM_ENI_TARGET=0"];
    let world = World::with_node("n1", ENV);
    assert_eq!(digits("default", ALIKE[0]), digits("default", ALIKE[1]));
    let witness = world.pod_add("n1", "witness");
    let before = world.traces("n1");

    let pods = ALIKE.map(|name| world.pod_add("n1", name));
    let all = [&pods[..], std::slice::from_ref(&witness)].concat();
    let prober = Prober::start(&all);
    world.daemon_kill("n1");
    world.daemon_start("n1", ENV);
    prober.round();
    prober.end().check();

    // The one that came first goes first, then comes again and sees the other go.
    world.pod_rm(&pods[0]);
    world.everybody_reaches_everybody(&[pods[1].clone(), witness.clone()]);
    let again = world.pod_add("n1", ALIKE[0]);
    world.everybody_reaches_everybody(&[pods[1].clone(), again.clone(), witness.clone()]);
    world.pod_rm(&pods[1]);
    world.everybody_reaches_everybody(&[again.clone(), witness]);
    world.pod_rm(&again);
    world.as_before("n1", &before);
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}
