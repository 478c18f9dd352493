//! A start that takes long says what it waits for: in the log, at the Node, and to whoever asks meanwhile.

use crate::{
    aws::imds::Imds, follow, pods::meanwhile, retry::patiently, settings::Settings,
    tell::events::NodeNotice,
};
use anyhow::{Context, Result, anyhow};
use net::{Netlink, PrimaryLink};
use record::{Identity, Interface};
use rpc::Listener;
use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc as notices, watch};
use tracing::warn;

/// After this time nobody waits with it any more. A start takes a second, on a busy node several; a pod that
/// is refused is tried again 12 s later.
const LONG: Duration = Duration::from_secs(10);

/// How long the metadata service may take to say whether the record is another instance's.
const ASK: Duration = Duration::from_secs(5);

/// What a start waits for.
#[derive(Clone, Debug)]
pub(super) struct Starting {
    began: Instant,
    waits_for: Arc<watch::Sender<String>>,
}

/// Says it to others, for as long as the start lasts.
pub(super) struct Meanwhile {
    over: mpsc::Sender<()>,
    answers: thread::JoinHandle<()>,
    tells: tokio::task::JoinHandle<()>,
}

impl Starting {
    /// One that begins now.
    pub(super) fn new() -> Self {
        let waits_for = Arc::new(watch::Sender::new("read the record".to_owned()));
        Self { began: Instant::now(), waits_for }
    }

    /// Tries until it works, and notes what is tried and why it does not work.
    pub(super) async fn patiently<T, E, F>(&self, what: &str, attempt: impl Fn() -> F) -> T
    where
        E: Into<anyhow::Error>,
        F: Future<Output = Result<T, E>>,
    {
        self.note(what.into());
        let noted = || async {
            attempt().await.map_err(|error| {
                let error: anyhow::Error = error.into();
                self.note(format!("{what}: {error:#}"));
                error
            })
        };
        patiently(what, noted).await
    }

    /// The link of the primary interface.
    pub(super) async fn primary_link(
        &self,
        settings: &Settings,
        identity: &Identity,
        primary: &Interface,
        imds: &Imds,
    ) -> PrimaryLink {
        let look = || async {
            let mut kernel = Netlink::open().context("open a netlink socket")?;
            let devices = kernel.devices((identity.mac, primary.primary))?;
            match devices.primary() {
                Some(link) => Ok(link.clone()),
                None => Err(why_no_link(&settings.run_dir, identity, imds).await),
            }
        };
        self.patiently("find the link of the primary interface", look).await
    }

    /// Answers in its place once it takes long, and tells the Node.
    pub(super) fn meanwhile(
        &self,
        settings: &Settings,
        listener: Arc<Listener>,
    ) -> Result<Meanwhile> {
        let (over, ends) = mpsc::channel();
        let starting = self.clone();
        let answers = thread::Builder::new().name("starting".into()).spawn(move || {
            if ends.recv_timeout(LONG) == Err(mpsc::RecvTimeoutError::Timeout) {
                meanwhile::answer(&listener, &ends, &|| starting.words());
            }
        })?;
        let tells = tokio::spawn(tell_node(self.clone(), settings.clone()));
        Ok(Meanwhile { over, answers, tells })
    }

    /// Notes what it waits for.
    pub(super) fn note(&self, what: String) {
        self.waits_for.send_if_modified(|waits_for| {
            let other = *waits_for != what;
            *waits_for = what;
            other
        });
    }

    fn words(&self) -> String {
        let waited = self.began.elapsed().as_secs();
        let waits_for = self.waits_for.borrow();
        format!("ipamd does not serve yet: for {waited} s it has tried to {}", *waits_for)
    }
}

impl Meanwhile {
    /// The start is over: who asks from now on is answered by those who serve.
    pub(super) async fn end(self) -> Result<()> {
        let Self { over, answers, tells } = self;
        tells.abort();
        drop(over);
        let joined = tokio::task::spawn_blocking(move || answers.join()).await?;
        joined.map_err(|_panic| anyhow!("the thread that answers while the daemon starts panicked"))
    }
}

/// Has the Node told what the start waits for, once it takes long, and whenever that changes.
async fn tell_node(starting: Starting, settings: Settings) {
    tokio::time::sleep(LONG).await;
    let (sender, receiver) = notices::channel(1);
    let mut waits_for = starting.waits_for.subscribe();
    waits_for.mark_changed();
    let notice = async {
        while waits_for.changed().await.is_ok() {
            let what = waits_for.borrow_and_update().clone();
            let note = format!(
                "no pod starts on this node: ipamd does not serve yet. It has tried to {what}"
            );
            if sender.send(NodeNotice::warning("PodNetworkNotReady", note)).await.is_err() {
                return;
            }
        }
    };
    let tell = follow::tell(settings.node.clone(), settings.servers.clone(), receiver);
    if let (Err(error), ()) = tokio::join!(tell, notice) {
        warn!(error = format!("{error:#}"), "failed to tell the Node");
    }
}

/// Why no link has the primary interface's address, and what to do.
async fn why_no_link(run_dir: &Path, recorded: &Identity, imds: &Imds) -> anyhow::Error {
    let mac = recorded.mac;
    match tokio::time::timeout(ASK, imds.instance()).await {
        Ok(Ok(instance)) if instance != recorded.instance => {
            let (folder, of) = (run_dir.display(), &recorded.instance);
            anyhow!(
                "the record in {folder} is of the instance {of} (primary interface {mac}), and this is {instance}: it came with an image or a disk of that one. Remove {folder}/journal and {folder}/ipam.json, and start this daemon again"
            )
        }
        Ok(Ok(_) | Err(_)) | Err(_) => anyhow!(
            "no link of this network namespace has the hardware address {mac}: look at `ip link` and dmesg; ipamd must run in the node's network (the DaemonSet needs `hostNetwork: true`)"
        ),
    }
}
