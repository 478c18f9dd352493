//! A network namespace for one test.

use net::{Netlink, netns};
use std::{io, path::PathBuf};

/// A namespace that is removed when the test ends, however it ends.
pub(crate) struct Namespace {
    name: String,
    pub(crate) path: PathBuf,
}

impl Namespace {
    pub(crate) fn new(what: &str) -> Self {
        let name = format!("eni-test-{}-{what}", std::process::id());
        let path = netns::create(&name).expect("make a namespace: these tests need root");
        Self { name, path }
    }

    pub(crate) fn within<T: Send>(
        &self,
        act: impl FnOnce(&mut Netlink) -> io::Result<T> + Send,
    ) -> T {
        netns::within(&self.path, || act(&mut Netlink::open()?)).expect("work inside the namespace")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = netns::remove(&self.name);
    }
}
