//! The program `vpc-sim`, as its users run it.

use crate::setup::Name;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
};

/// The program with a running world.
pub(crate) struct Program {
    pub(crate) child: Child,
    pub(crate) ready: Value,
}

impl Program {
    pub(crate) fn up(name: &Name) -> Self {
        Self::start(name, &[])
    }

    /// One that ends with what is its standard input.
    pub(crate) fn until_eof(name: &Name) -> Self {
        Self::start(name, &["--until-eof"])
    }

    fn start(name: &Name, more: &[&str]) -> Self {
        let mut child = Command::new(std::env::var_os("CARGO_BIN_EXE_vpc-sim").unwrap())
            .args(["up", "--name", &name.0])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        Self { ready: serde_json::from_str(&line).unwrap(), child }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn vpc_sim(name: &Name, arguments: &[&str]) -> Output {
    let mut command = Command::new(std::env::var_os("CARGO_BIN_EXE_vpc-sim").unwrap());
    command.args(["--name", &name.0]).args(arguments).output().unwrap()
}

#[track_caller]
pub(crate) fn succeed(name: &Name, arguments: &[&str]) -> String {
    let output = vpc_sim(name, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
