//! Lets clients that we did not write judge the simulated VPC.

use serde_json::Value;
use sha1::{Digest, Sha1};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};
use tests::{binary, repository};

#[test]
fn boto3_finds_aws_behaviour() {
    let python = python();
    let world = World::up();
    world.vpc_sim(&["node", "add", "judged", "--zone", "us-west-2a"]);

    let verdict = Command::new(python)
        .arg(folder().join("ec2_boto3.py"))
        // No settings of whoever runs this: boto3 is to know nothing but the endpoint.
        .env_clear()
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .env("AWS_ENDPOINT_URL_EC2", &world.ec2)
        .output()
        .expect("the environment has a python");

    succeeded("ec2_boto3.py", &verdict);
}

/// A simulated VPC, until it is dropped.
struct World {
    name: String,
    process: Child,
    /// URL of EC2.
    ec2: String,
}

impl World {
    fn up() -> Self {
        let name = format!("foreign-{}", std::process::id());
        let mut process = Command::new(binary("vpc-sim"))
            .args(["up", "--name", &name])
            .stdout(Stdio::piped())
            .spawn()
            .expect("vpc-sim is an executable");
        let stdout = process.stdout.take().expect("it is a pipe");
        // Whatever goes wrong from here on, the world is removed.
        let mut world = Self { name, process, ec2: String::new() };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("vpc-sim prints text");
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("vpc-sim up (as root?) printed `{line}`: {error}"));
        world.ec2 = ready["outside"]["ec2"].as_str().expect("a world tells its EC2").to_owned();
        world
    }

    #[track_caller]
    fn vpc_sim(&self, arguments: &[&str]) {
        let output = Command::new(binary("vpc-sim"))
            .args(["--name", &self.name])
            .args(arguments)
            .output()
            .expect("vpc-sim is an executable");
        succeeded("vpc-sim", &output);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let down = Command::new(binary("vpc-sim")).args(["down", "--name", &self.name]).status();
        // One that could not be asked to end still must not outlive the test.
        if !down.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// The Python of a virtual environment that has what `requirements.txt` pins. It is made once and
/// kept among the build products, under a name that changes with the requirements.
fn python() -> PathBuf {
    let requirements = folder().join("requirements.txt");
    let pinned = fs::read(&requirements).expect("the repository has requirements.txt");
    let hash: String = Sha1::digest(pinned).iter().map(|byte| format!("{byte:02x}")).collect();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("boto3-{hash}"));
    // Last of all: without it, an earlier run was interrupted.
    let complete = kept.join("complete");
    let python = kept.join("bin/python");
    if complete.exists() {
        return python;
    }
    let venv = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&kept).output();
    let venv = venv.unwrap_or_else(|error| panic!("python3: {error}; install python3-venv"));
    assert!(venv.status.success(), "install python3-venv (Debian): {}", text(&venv));
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(&requirements)
        .output()
        .expect("the environment has a python");
    succeeded("pip install", &pip);
    fs::write(complete, "").expect("the environment can be written");
    python
}

fn folder() -> PathBuf {
    repository().join("tests/foreign")
}

#[track_caller]
fn succeeded(program: &str, output: &Output) {
    assert!(output.status.success(), "{program}: {}\n{}", output.status, text(output));
}

fn text(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{stdout}{stderr}")
}
