//! What a request came to, in one line: who, which address, since when or until when, how long.
//!
//! `grep 'address=100.64.0.9 '` over these lines says who had an address at what time
//! (`docs/debugging.md`).

use crate::{clock, node::Node, tell::log::REQUESTS};
use cni::{Command, Error};
use pool::{EniId, Time};
use record::{Attachment, stamp::rfc3339};
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tracing::{debug, info, warn};

/// What is known of a request when it ends, however it ends.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// What it was about: the attachment that was made, looked at or removed.
    pub attachment: Option<Attachment>,
    /// How long it waited for an address.
    pub waited: Duration,
    /// It waited for an address until this daemon had to end.
    pub is_for_the_next: bool,
}

/// A request that has its answer, to be told once that is on its way: nobody waits for a line of the log.
#[derive(Debug)]
pub(crate) struct Answered {
    /// What it was, or the variables of one that nobody understands.
    pub(super) request: Result<cni::Request, BTreeMap<String, String>>,
    pub(super) account: Account,
    pub(super) took: Duration,
    pub(super) failed: Option<Error>,
}

impl Answered {
    /// Whether the next daemon is to answer it.
    pub(super) fn is_for_the_next(&self) -> bool {
        self.account.is_for_the_next
    }

    /// Tells it.
    pub(crate) fn tell(&self, node: &Node) {
        let failed = self.failed.as_ref();
        match &self.request {
            Ok(request) => tell(node, request, &self.account, self.took, failed),
            Err(env) => tell_not_understood(env, failed),
        }
    }
}

fn tell(
    node: &Node,
    request: &cni::Request,
    account: &Account,
    took: Duration,
    failed: Option<&Error>,
) {
    // A runtime asks for it every few seconds.
    if request.command == Command::Status && failed.is_none() {
        return debug!(verb = "STATUS", took_ms = ms(took), "done");
    }
    let has_ended = request.command == Command::Del && failed.is_none();
    let attachment = account.attachment.as_ref();
    let eni = attachment.map(|it| EniId(it.eni.clone()));
    let (device, subnet) = eni.and_then(|eni| node.store.device_and_subnet(&eni)).unzip();
    let cools_until = (has_ended && attachment.is_some())
        .then(|| rfc3339(SystemTime::now() + node.settings.targets.cooldown));
    let had = attachment.filter(|it| has_ended && it.since_ms > 0);
    let since = had.map(|it| clock::to_machine(Time(Duration::from_millis(it.since_ms))));
    let since = since.map(|since| rfc3339(UNIX_EPOCH + since.0));
    let waited_ms = (!account.waited.is_zero()).then(|| ms(account.waited));
    // Each request has the same fields in the same order; those that it has not are left out.
    macro_rules! line {
        ($tell:ident, $message:literal $(, $more:ident = $value:expr)*) => {
            $tell!(
                target: REQUESTS,
                verb = request.command.as_str(),
                pod = pod_name(request, attachment),
                address = attachment.map(|it| display(it.address)),
                eni = attachment.map(|it| display(&it.eni)),
                device,
                subnet = subnet.as_ref().map(display),
                link = attachment.map(|it| display(&it.host_name)),
                uid = request.args.uid,
                container = request.container_id,
                ifname = request.ifname,
                network = request.config.name,
                netns = request.netns,
                since,
                cools_until,
                waited_ms,
                took_ms = ms(took),
                $($more = $value,)*
                $message
            )
        };
    }
    match failed {
        None => line!(info, "done"),
        Some(Error { msg, details, .. }) => line!(
            warn,
            "failed to answer a request",
            error = msg,
            details = (!details.is_empty()).then_some(details)
        ),
    }
}

fn tell_not_understood(env: &BTreeMap<String, String>, error: Option<&Error>) {
    let of = |name: &str| env.get(name);
    warn!(
        target: REQUESTS,
        verb = of("CNI_COMMAND"),
        container = of("CNI_CONTAINERID"),
        netns = of("CNI_NETNS"),
        error = error.map(|it| &it.msg),
        details = error.map(|it| &it.details),
        "failed to understand a request"
    );
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The pod, for people. A DEL may not name it.
pub(super) fn pod_name(request: &cni::Request, attachment: Option<&Attachment>) -> String {
    let args = &request.args;
    let or = |named: &Option<String>, on_record: Option<&String>| {
        named.as_ref().or(on_record).map_or("-", String::as_str).to_owned()
    };
    let namespace = or(&args.namespace, attachment.map(|it| &it.pod_namespace));
    format!("{namespace}/{}", or(&args.name, attachment.map(|it| &it.pod_name)))
}
