//! One network namespace of a world, and how to enter it.

use super::names;
use anyhow::{Context, Result};
use net::{LinkChange, Netlink, Op, netns};
use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, RawFd},
    path::PathBuf,
};

/// Index of the loopback device in every namespace.
pub(super) const LOOPBACK: u32 = 1;

/// A namespace that we made. Its name stays when this is dropped.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) netlink: Netlink,
    path: PathBuf,
    file: File,
}

/// Whether a namespace passes on what is not for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarding {
    On,
    Off,
}

impl Space {
    /// Makes a namespace with nothing but a loopback device, which is up.
    pub(super) fn create(name: &str, forwarding: Forwarding) -> Result<Self> {
        let path = netns::create(name).with_context(|| format!("create namespace {name}"))?;
        let opened = Self::open(path, forwarding);
        if opened.is_err() {
            // The first error is the one worth telling.
            let _ = netns::remove(name);
        }
        opened.with_context(|| format!("open namespace {name}"))
    }

    fn open(path: PathBuf, forwarding: Forwarding) -> Result<Self> {
        let file = File::open(&path)?;
        let mut netlink = netns::within(&path, Netlink::open)?;
        netlink.apply(&[up(LOOPBACK)])?;
        let space = Self { netlink, path, file };
        space.boot(forwarding)?;
        Ok(space)
    }

    /// Sets what a fresh namespace would copy from the host, so that no host changes a world.
    fn boot(&self, forwarding: Forwarding) -> Result<()> {
        let forward = match forwarding {
            Forwarding::On => "1",
            Forwarding::Off => "0",
        };
        // Forwarding first: it resets settings of the devices.
        self.set(&[
            ("ipv4/ip_forward", forward),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ])
    }

    /// Writes settings below `/proc/sys/net`, in order.
    pub(super) fn set(&self, settings: &[(&str, &str)]) -> Result<()> {
        netns::within(&self.path, || {
            for (name, value) in settings {
                let path = format!("/proc/sys/net/{name}");
                fs::write(&path, value).map_err(|error| {
                    io::Error::new(error.kind(), format!("write {value} to {path}: {error}"))
                })?;
            }
            Ok(())
        })
        .with_context(|| format!("settings of namespace {}", self.path.display()))
    }

    /// Runs a closure in the namespace, on a thread of its own.
    pub(super) fn within<T: Send>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        netns::within(&self.path, act)
    }

    /// The namespace as the kernel takes it when a device is born in it.
    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Takes a link up.
pub(super) fn up(link: u32) -> Op {
    Op::Change(LinkChange { link, up: Some(true), ..LinkChange::default() })
}

/// Removes a namespace. One that does not exist is already removed.
pub(super) fn remove(name: &str) -> Result<()> {
    netns::remove(name).with_context(|| format!("remove namespace {name}"))
}

/// Names of the namespaces of a world that exist.
pub(super) fn existing(world: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(netns::FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error).context(format!("list {}", netns::FOLDER)),
    };
    let mut found = vec![];
    for entry in entries {
        let name = entry.with_context(|| format!("list {}", netns::FOLDER))?.file_name();
        // Names that are not text are not ours.
        found.extend(name.into_string().ok().filter(|name| names::belongs(world, name)));
    }
    Ok(found)
}
