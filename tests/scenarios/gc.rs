//! GC: the runtime's list names candidates, the kernel tells which pods are gone.

use serde_json::{Value, json};
use std::{fs, io::Write, path::PathBuf, process::Command};
use tests::{
    Row,
    by_hand::{Container, Ended},
    command::until,
    world::{World, ZONES, address, logged},
};

/// One interface, no cooldown of addresses, and a short wait when there is none.
const TIGHT: &[&str] = &["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=1"];

/// What a file on that disk grows by.
const PAGE: usize = 4096;

/// Less than a line of the record.
const HALF_A_LINE: usize = 40;

/// CNI requirement 48.
#[test]
fn gc_takes_back_what_the_list_does_not_name_and_the_kernel_does_not_have() {
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        let _row = Row(key);
        let world = one_address();
        let (gone, next) = (Container::new(&world), Container::new(&world));
        let added = world.plugin("n1", "ADD", &gone, "1.1.0");
        end(&world, &gone, &added.printed);

        let before = world.plugin("n1", "ADD", &next, "1.1.0");
        let gc = gc(&world, &json!({ key: [] }));
        let after = world.plugin("n1", "ADD", &next, "1.1.0");

        assert!(!before.success, "{before:?}");
        assert!(gc.success && gc.printed.is_null(), "{gc:?}");
        assert!(after.success, "{after:?}");
        assert_eq!(address(&after.printed), address(&added.printed));
    }
}

/// CNI requirement 48.
#[test]
fn gc_without_a_list_removes_nothing_and_says_so() {
    let world = one_address();
    let gone = Container::new(&world);
    let added = world.plugin("n1", "ADD", &gone, "1.1.0");
    end(&world, &gone, &added.printed);

    let gc = gc(&world, &Value::Null);

    assert!(gc.success && gc.printed.is_null(), "{gc:?}");
    logged(&world, "n1", "GC without a list of attachments", 1);
    assert_kept(&world);
}

/// CNI requirements 48, 49.
#[test]
fn gc_keeps_what_the_list_names_and_what_is_of_another_network() {
    let world = one_address();
    let gone = Container::new(&world);
    let added = world.plugin("n1", "ADD", &gone, "1.1.0");
    end(&world, &gone, &added.printed);
    let named = json!([{"containerID": gone.id, "ifname": "eth0"}]);

    let of_ours =
        gc(&world, &json!({"cni.dev/valid-attachments": named, "cni.dev/attachments": []}));
    let of_other = gc(&world, &json!({"name": "other", "cni.dev/valid-attachments": []}));

    assert!(of_ours.success && of_other.success, "{of_ours:?} {of_other:?}");
    assert_kept(&world);
}

/// CNI requirement 48.
#[test]
fn gc_touches_no_pod_whose_namespace_is_there() {
    let world = one_address();
    let alive = Container::new(&world);
    let added = world.plugin("n1", "ADD", &alive, "1.1.0");

    let gc = gc(&world, &json!({"cni.dev/valid-attachments": []}));

    assert!(gc.success, "{gc:?}");
    logged(&world, "n1", "its namespace is still there", 1);
    assert_kept(&world);
    let keys = json!({"prevResult": added.printed});
    let check = world.plugin_with("n1", "CHECK", &alive, "1.1.0", &keys);
    assert!(check.success, "{check:?}");
}

/// CNI requirement 48.
#[test]
fn gc_goes_on_after_what_fails_and_reports_it() {
    let world = World::up();
    world.node_add("n1", ZONES[0], &[]);
    let disk = Disk::small(&world);
    let run_dir = format!("ENI_CNI_RUN_DIR={}", disk.0.display());
    world.daemon_start("n1", &[&run_dir]);
    let call = |verb, container: &Container, keys: &Value| {
        let mut conf: Value = serde_json::from_str(&world.plugin_conf("n1", "1.1.0")).unwrap();
        for (key, value) in keys.as_object().into_iter().flatten() {
            conf[key] = value.clone();
        }
        let plugin = world.node_folder("n1").cni_bin().join("aws-cni");
        let program = ["env", &run_dir, plugin.to_str().unwrap()];
        let output = world.exec("n1", &program, &container.env(verb), &conf.to_string());
        tests::by_hand::ended(&output)
    };
    let containers = [Container::new(&world), Container::new(&world)];
    for container in &containers {
        let added = call("ADD", container, &Value::Null);
        end(&world, container, &added.printed);
    }
    let list = json!({"cni.dev/valid-attachments": []});
    // From here on nothing but GC writes to the disk.
    world.settled("n1");

    disk.fill();
    let failed = call("GC", &containers[0], &list);
    disk.empty();
    let done = call("GC", &containers[0], &list);

    // The record had no room for the first release. What was written of it is taken back, and then
    // there is room for the second.
    assert!(!failed.success, "{failed:?}");
    let msg = failed.printed["msg"].as_str().unwrap();
    assert!(msg.starts_with("remove 1 stale attachments: aws-cni/by-hand-"), "{msg}");
    assert!(msg.contains("No space left on device"), "{msg}");
    assert!(done.success && done.printed.is_null(), "{done:?}");
    logged(&world, "n1", "GC: the container is gone", 3);
    // Half a line in the record would keep the daemon from its next start.
    world.daemon_kill("n1");
    world.daemon_start("n1", &[&run_dir]);
}

/// A node with one address for pods.
fn one_address() -> World {
    let world = World::up();
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    world.daemon_start("n1", TIGHT);
    // An ADD waits for a second only, which the first address may take.
    world.settled("n1");
    world
}

fn gc(world: &World, keys: &Value) -> Ended {
    let nobody = Container::new(world);
    world.plugin_with("n1", "GC", &nobody, "1.1.0", keys)
}

/// Ends a container without a DEL, and waits until the kernel has nothing of it.
fn end(world: &World, container: &Container, result: &Value) {
    container.end();
    let host = result["interfaces"][0]["name"].as_str().unwrap_or_else(|| panic!("{result}"));
    until("the container's link is gone", || {
        let links = world.sim(&["exec", "n1", "--", "ip", "link"]);
        if links.contains(host) { Err(links) } else { Ok(()) }
    });
}

/// The one address of the node is still with its container.
#[track_caller]
fn assert_kept(world: &World) {
    let next = world.plugin("n1", "ADD", &Container::new(world), "1.1.0");
    assert!(!next.success, "{next:?}");
    assert!(next.printed["msg"].as_str().unwrap().contains("1 in use"), "{next:?}");
}

/// A folder on a disk of its own, which is soon full.
struct Disk(PathBuf);

impl Disk {
    fn small(world: &World) -> Self {
        let disk = Self(std::env::temp_dir().join(format!("{}-disk", world.name())));
        fs::create_dir(&disk.0).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=256k", "none"];
        assert!(Command::new("mount").args(mount).arg(&disk.0).status().unwrap().success());
        disk
    }

    fn fill(&self) {
        // The last write fails.
        let _ = fs::write(self.0.join("filler"), vec![0; 1 << 20]);
        // The record's last page still has room: leave some for half a line. Empty lines say
        // nothing.
        let journal = self.0.join("journal");
        let used = usize::try_from(fs::metadata(&journal).unwrap().len()).unwrap() % PAGE;
        let lines = vec![b'\n'; (PAGE - used).saturating_sub(HALF_A_LINE)];
        fs::OpenOptions::new().append(true).open(journal).unwrap().write_all(&lines).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}
