//! A world for one test, and HTTP from the places in it.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};
use vpc::access::{AccessKey, AccessSpec};
use vpc_sim::{
    api::sigv4::sign_form,
    fabric::Fabric,
    world::{NodeRequest, World, WorldFile, file, status::NodeStatus},
};

/// No answer in a world takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test has, whose traces are removed also when the test fails.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("t{}-{count}", std::process::id()))
    }

    /// Namespaces and folders that the world has.
    pub(crate) fn traces(&self) -> Vec<PathBuf> {
        let namespaces = list(Path::new("/run/netns")).into_iter();
        let of_world = |it: &PathBuf| {
            it.file_name()
                .is_some_and(|it| it.to_string_lossy().starts_with(&format!("{}.", self.0)))
        };
        let folders =
            ["", ".lock", ".log"].map(|end| PathBuf::from(format!("/run/vpc-sim/{}{end}", self.0)));
        namespaces.filter(of_world).chain(folders.into_iter().filter(|it| it.exists())).collect()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = Fabric::clean_up(&self.0);
            let _ = fs::remove_dir_all(format!("/run/vpc-sim/{}", self.0));
            for end in ["lock", "log"] {
                let _ = fs::remove_file(format!("/run/vpc-sim/{}.{end}", self.0));
            }
        }
    }
}

pub(crate) fn default_world() -> WorldFile {
    WorldFile::parse(file::DEFAULT).unwrap()
}

pub(crate) async fn up(name: &Name) -> Arc<World> {
    World::up(&name.0, default_world()).await.unwrap()
}

pub(crate) async fn add_node(world: &World, name: &str, zone: &str) -> NodeStatus {
    let zone = Some(zone.to_owned());
    world.add_node(NodeRequest { name: name.into(), zone, ..NodeRequest::default() }).await.unwrap()
}

/// The status code and the body of an answer to a request from a namespace.
pub(crate) fn http(namespace: &Path, to: &str, request: &str) -> io::Result<(u16, String)> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    net::netns::within(namespace, || exchange(to, request, "", PATIENCE))
}

/// Where the default world has EC2.
pub(crate) const EC2: &str = "10.0.0.11:80";

/// As [`http`], for a call of EC2, signed by somebody who is no node.
pub(crate) fn ec2(namespace: &Path, form: &str) -> io::Result<(u16, String)> {
    let form = format!("{form}&Version=2016-11-15");
    let AccessKey { id, secret } = AccessSpec::default().keys.remove(0);
    let signed = sign_form((&id, &secret, None), "us-west-2", SystemTime::now(), EC2, &form);
    let signed = signed.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = signed.collect();
    let request = format!("POST /\n{headers}content-length: {}", form.len());
    let to: SocketAddr = EC2.parse().map_err(io::Error::other)?;
    net::netns::within(namespace, || exchange(to, &request, &form, PATIENCE))
}

/// As [`http`], giving up early.
pub(crate) fn http_briefly(namespace: &Path, to: &str, request: &str) -> io::Result<(u16, String)> {
    let to: SocketAddr = to.parse().map_err(io::Error::other)?;
    net::netns::within(namespace, || exchange(to, request, "", Duration::from_millis(700)))
}

fn exchange(
    to: SocketAddr,
    request: &str,
    body: &str,
    patience: Duration,
) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
    let text =
        format!("{line} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{headers}\r\n\r\n{body}");
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|it| it.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| io::Error::other(format!("no answer: {answer:?}")))
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path()).collect()
}
