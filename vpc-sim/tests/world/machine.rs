//! What a world shares with its machine: the folders of namespaces and of worlds.

use std::process::{Command, Output};

/// A world with two nodes, on a machine where nobody has used `ip netns` yet.
const BEGIN: &str = r#"
vpc-sim up --wait > /dev/null
vpc-sim node add n1 --zone us-west-2a > /dev/null
vpc-sim node add n2 --zone us-west-2b > /dev/null
"#;

#[test]
fn a_world_ends_after_somebody_elses_first_ip_netns_add() {
    let ended = on_a_fresh_machine(&format!(
        "{BEGIN}
        ip netns add other
        vpc-sim node rm n1
        vpc-sim down
        ls /run/netns
        ls -A /run/vpc-sim"
    ));

    assert_eq!(printed(&ended), "other\n");
}

#[test]
fn a_world_that_ends_leaves_the_folder_of_worlds_as_it_is() {
    let ended = on_a_fresh_machine(&format!(
        "{BEGIN}
        before=$(stat -c %i /run/vpc-sim)
        vpc-sim down
        after=$(stat -c %i /run/vpc-sim)
        echo $((after - before))"
    ));

    assert_eq!(printed(&ended), "0\n");
}

/// Runs a script where `/run` is empty and nobody else sees what is mounted, among processes that end
/// with it.
fn on_a_fresh_machine(script: &str) -> Output {
    let program = std::env::var("CARGO_BIN_EXE_vpc-sim").unwrap();
    let folder = program.strip_suffix("vpc-sim").unwrap();
    let begin = "mount -t tmpfs -o mode=755 fresh /run; mkdir /run/netns";
    Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-ec", &format!("{begin}; PATH=\"{folder}:$PATH\"; {script}")])
        .output()
        .unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
