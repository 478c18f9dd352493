//! Lets clients and simulators that we did not write judge ours.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cnitool;
mod daemon;
mod manifest;
mod python;
mod ways;

use tests::world::World;

#[test]
fn boto3_finds_aws_behaviour() {
    let world = World::described_by(Some(&python::folder().join("world.toml")));
    for (node, instance_type) in
        // One of three interfaces, one from before Nitro, one with two network cards.
        [("judged", "m5.large"), ("xen", "m4.large"), ("cards", "c6in.32xlarge")]
    {
        world.node_add(node, tests::world::ZONES[0], &["--type", instance_type]);
    }

    let endpoint = world.status().summary.outside.ec2;
    let judge = python::run(&["-m", "judge"], &[("AWS_ENDPOINT_URL_EC2", &endpoint)]);

    assert_eq!(judge.err(), None);
}

#[test]
fn what_the_daemon_and_ec2_say_to_each_other_is_in_the_model_of_ec2() {
    let records = daemon::records_of_a_life("ec2", &[]);

    let judge = python::run(&[&["recorded.py"], &paths(&records)[..]].concat(), &[]);

    assert_eq!(judge.err(), None);
}

#[test]
fn moto_understands_the_daemon_and_the_daemon_understands_moto() {
    let records = daemon::records_of_a_life("moto", &["--moto"]);

    let judge = python::run(&[&["recorded.py", "--moto"], &paths(&records)[..]].concat(), &[]);

    assert_eq!(judge.err(), None);
}

#[test]
fn the_judges_find_mistakes() {
    let tests = python::run(&["-m", "unittest", "--quiet", "test_model"], &[]);

    assert_eq!(tests.err(), None);
}

fn paths(records: &[std::path::PathBuf]) -> Vec<&str> {
    records.iter().map(|record| record.to_str().unwrap()).collect()
}
