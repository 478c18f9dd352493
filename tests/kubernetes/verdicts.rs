//! The API that is built into `vpc-sim` says the same to the same objects as the real one.

use crate::cluster::Cluster;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Stdio},
};
use tests::{http, world::World};

/// What is sent, in this order.
const OBJECTS: &str = include_str!("objects.txt");

/// At least so many must be compared.
const LEAST: usize = 40;

/// Where the two differ, and why that may be.
const DIFFERENCES: &[(&str, &str)] = &[];

/// What a server says to a request: its code, the reason, and which fields are wrong.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    code: u16,
    reason: String,
    fields: BTreeSet<String>,
}

/// What is sent.
struct Sent<'a> {
    name: &'a str,
    line: String,
    media_type: &'a str,
    body: &'a str,
}

pub(crate) fn are_the_same_for_the_same_objects(cluster: &Cluster) {
    let real = Proxy::of(cluster);
    let world = World::up();
    let built_in = world.status().summary.outside.kubernetes;
    let built_in = built_in.trim_start_matches("http://").parse().unwrap();
    let sent: Vec<Sent<'_>> = sent(OBJECTS).collect();
    assert!(sent.len() >= LEAST, "{} objects", sent.len());

    let differences = sent.iter().filter_map(|sent| {
        let (said, ours) = (verdict(real.at, sent), verdict(built_in, sent));
        let known = DIFFERENCES.iter().any(|(name, _)| *name == sent.name);
        let differs = said.0 != ours.0;
        match (differs, known) {
            (true, true) | (false, false) => None,
            (true, false) => Some(format!(
                "{}: the real one: {:?}: {}\n    built in: {:?}: {}",
                sent.name, said.0, said.1, ours.0, ours.1
            )),
            (false, true) => Some(format!("{}: there is no difference any more", sent.name)),
        }
    });
    let differences: Vec<_> = differences.collect();

    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

/// The paragraphs of the file.
fn sent(text: &str) -> impl Iterator<Item = Sent<'_>> {
    let paragraphs = text.split("\n\n").filter(|it| !it.starts_with('#'));
    paragraphs.map(|paragraph| {
        let mut lines = paragraph.trim().lines();
        let (name, request) = (lines.next().unwrap(), lines.next().unwrap());
        let (line, media_type) = request.rsplit_once(' ').unwrap();
        let body = lines.next().unwrap_or_default();
        Sent { name, line: line.into(), media_type, body }
    })
}

/// What a server says, and in which words.
fn verdict(to: SocketAddr, sent: &Sent<'_>) -> (Verdict, String) {
    let (code, body) = http::send(to, &sent.line, sent.media_type, sent.body).unwrap();
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = said["details"]["causes"].as_array().into_iter().flatten();
    let fields = causes.map(|cause| text(&cause["field"])).collect();
    let reason = if code < 400 { String::new() } else { text(&said["reason"]) };
    (Verdict { code, reason, fields }, text(&said["message"]))
}

/// The real API server, by `kubectl proxy`, which knows its certificates.
struct Proxy {
    process: Child,
    at: SocketAddr,
}

impl Proxy {
    fn of(cluster: &Cluster) -> Self {
        let mut command = cluster.kubectl_command();
        command.args(["proxy", "--port", "0"]).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let at = line.trim().rsplit(' ').next().and_then(|at| at.parse().ok());
        let at = at.unwrap_or_else(|| panic!("kubectl proxy: {line:?}"));
        Self { process, at }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
