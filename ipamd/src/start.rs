//! From nothing to serving: who am I, what is attached, who holds what.

use crate::{
    carry_out::CarryOut,
    ec2::Ec2,
    handle,
    imds::{Identity, Imds},
    install,
    journal::{Interface, Journal},
    limits,
    node::{Attached, Node, now},
    reconcile, serve,
    settings::{Networking, Settings},
    views, vpc_blocks,
    wanted::{self, HostNetwork},
};
use anyhow::{Context, Result};
use aws_config::{
    BehaviorVersion, Region, provider_config::ProviderConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls;
use net::{Link, Netlink, Op};
use pool::{EniId, Pool, Source, Supply};
use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tracing::{error, info, warn};

/// One connection attempt to EC2; the network is near or broken.
const CONNECT: Duration = Duration::from_secs(2);
/// One attempt of a call: the slowest that were seen take ten seconds (`facts/ec2-facts.md` §1.6).
const ATTEMPT: Duration = Duration::from_secs(10);
/// A call with the SDK's own three attempts.
const OPERATION: Duration = Duration::from_secs(40);

/// The first pause after something at start did not answer; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest: a node that boots before its metadata service is there is not late by more.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Links that wait to be removed: a full node's worth.
const REAPER_QUEUE: usize = 1024;

/// Starts everything; returns once the node is being served.
pub(crate) async fn start(settings: Settings) -> Result<Arc<Node>> {
    // Before anything else, so that two daemons never work on the same node.
    let listener =
        rpc::Listener::bind(&settings.run_dir.join(rpc::SOCKET_NAME)).with_context(|| {
            format!(
                "listen in {}: does another ipamd run on this node?",
                settings.run_dir.display()
            )
        })?;
    let mut journal = Journal::open(&settings.run_dir)?;
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let imds = Imds::new(&ProviderConfig::without_region().with_http_client(http.clone()));
    // With a record the node is served at once, whoever else is down; without one, who this node is
    // and what is attached must be known first.
    let recorded = journal.book().identity.clone();
    let identity = match recorded.clone() {
        Some(identity) => identity,
        None => patiently("ask the metadata service who this node is", || imds.identity()).await,
    };
    info!(?identity, recorded = recorded.is_some(), "this node");
    let ec2 = Ec2::new(client(http, &identity).await, &identity);
    if recorded.is_none() {
        let ask = || imds.interfaces_of(&identity);
        let shown = patiently("ask the metadata service what is attached", ask).await;
        for (id, is) in shown.into_iter().filter_map(views::from_shown) {
            journal.interface(&id, Some(is))?;
        }
        journal.identity(&identity)?;
    }
    let limits = {
        let of = || limits::of(&identity.instance_type, settings.max_enis, &ec2);
        patiently("ask EC2 for the limits of this instance type", of).await
    };
    info!(?limits, "what the instance type allows");

    let interfaces = journal.book().interfaces.values();
    let primary = interfaces.clone().find(|eni| eni.is_primary()).cloned();
    let primary = primary.context("the record has no primary interface: remove the journal")?;
    let mut kernel = Netlink::open().context("open a netlink socket")?;
    let link = primary_link(&mut kernel, &identity).await?;
    let host = HostNetwork::of(&settings, &identity, &primary, &link);
    kernel.apply(&host.ops()).context("set up the node's rules")?;
    wanted::warn_without_forwarding();
    let mut pool = Pool::new(settings.targets, limits, source(&settings, &journal, &primary));
    restore(&mut pool, &journal);
    let recorded_interfaces = journal.book().interfaces.clone().into_iter();
    let attached = recorded_interfaces.map(|(id, is)| (EniId(id), Attached::new(is))).collect();
    let reaper = start_reaper()?;
    let state = (pool, journal, attached);
    let primary_groups = primary.groups.into_iter().collect();
    let node = Arc::new(Node::new(settings, identity, primary_groups, host, state, kernel, reaper));

    node.set_cluster_size(1);
    let hands = CarryOut { node: node.clone(), ec2, imds };
    settle_pods(&node)?;
    hands.make_ready().await;
    finish_settling(&node)?;
    install::plugin(&node.settings)?;
    serve::start(node.clone(), listener)?;
    install::conflist(&node.settings)?;
    let wanted = node.wanted();
    let (interfaces, pods) = (wanted.enis.len(), wanted.pods.len());
    info!(interfaces, pods, direct = ?wanted.host.firewall.direct, "serving");
    follow_kubernetes(&node)?;
    tokio::spawn(vpc_blocks::follow(node.clone(), hands.imds.clone()));
    tokio::spawn(async move {
        if recorded.is_some() {
            patiently("compare the record with what is attached", || views::compare(&hands)).await;
        }
        reconcile::run(hands.node.clone(), hands).await;
    });
    Ok(node)
}

async fn client(
    http: aws_smithy_runtime_api::client::http::SharedHttpClient,
    identity: &Identity,
) -> aws_sdk_ec2::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(identity.region.clone()))
        .http_client(http)
        .timeout_config(timeouts)
        .app_name(aws_config::AppName::new("eni-cni").expect("letters and a hyphen are legal"))
        .load()
        .await;
    aws_sdk_ec2::Client::new(&config)
}

/// Tries until it works, with growing pauses and a line in the log for each.
pub(crate) async fn patiently<T, E, F>(what: &str, attempt: impl Fn() -> F) -> T
where
    E: Into<anyhow::Error>,
    F: Future<Output = Result<T, E>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => {
                let error: anyhow::Error = error.into();
                warn!(error = format!("{error:#}"), retry_in = ?pause, "{what}");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn primary_link(kernel: &mut Netlink, identity: &Identity) -> Result<Link> {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(link) = kernel.link_by_mac(identity.mac)? {
            return Ok(link);
        }
        warn!(mac = %identity.mac, "no link with the primary interface's address yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn source(settings: &Settings, journal: &Journal, primary: &Interface) -> Source {
    match settings.networking {
        Networking::Node => Source::Node(Supply {
            subnets: vec![primary.subnet.clone()],
            groups: primary.groups.clone(),
        }),
        Networking::Custom => journal.book().source().unwrap_or_else(|| Source::Missing {
            why: "custom networking is on, but the Kubernetes API has not said yet which ENIConfig this node uses".into(),
        }),
    }
}

fn restore(pool: &mut Pool, journal: &Journal) {
    for attachment in journal.book().attachments.values() {
        if let Err(twice) = pool.restore(attachment.owner(), attachment.assigned(), now()) {
            // Two pods with one address: neither can be told apart by us, so both stay as they are.
            error!(error = %twice, pod = attachment.pod_name, "restore an attachment");
        }
    }
    for (address, since) in &journal.book().resting {
        pool.restore_resting(*address, *since);
    }
}

/// Removes links behind the back of those who asked for it.
fn start_reaper() -> Result<mpsc::SyncSender<Op>> {
    let (sender, removals) = mpsc::sync_channel::<Op>(REAPER_QUEUE);
    let mut kernel = Netlink::open().context("open a netlink socket")?;
    thread::Builder::new().name("reap".into()).spawn(move || {
        for removal in removals {
            if let Err(error) = kernel.apply(&[removal]) {
                warn!(error = %error, "remove a link");
            }
        }
    })?;
    Ok(sender)
}

/// Brings the kernel in line with the record: pods that ended while no daemon ran go, and what
/// routes to those that live is there.
fn settle_pods(node: &Node) -> Result<()> {
    for (path, request) in rpc::spool::drain(&node.settings.run_dir)? {
        let reply = handle::handle(node, request, &|| false);
        if reply.exit_code != 0 {
            warn!(path = %path.display(), answer = reply.stdout, "carry out a DEL from the spool");
        } else {
            std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    node.choose_ways()?;
    for attachment in node.wanted().pods {
        let pod = attachment.pod();
        let link = node
            .kernel()
            .link_by_name(&pod.host_name)?
            .filter(|link| link.mac == Some(pod.host_mac()));
        match link {
            Some(link) => {
                if let Err(error) = node.kernel().apply(&pod.on_host(link.index)) {
                    warn!(error = %error, pod = attachment.pod_name, "route to a pod");
                }
            }
            None if !Path::new(&attachment.netns).exists() => {
                info!(pod = attachment.pod_name, address = %attachment.address, "its namespace is gone: the pod has ended");
                handle::remove(node, &attachment)?;
            }
            // Its DEL will come; until then the address is not given to anybody.
            None => warn!(
                pod = attachment.pod_name,
                host_name = pod.host_name,
                "a pod without its veth"
            ),
        }
    }
    Ok(())
}

/// After new rules of pods and interfaces are there: filter rules that rely on them, the groups that
/// these rely on, and last what nothing relies on any more. A pod finds its way at every step, also
/// when the setting of the layout is another than before.
fn finish_settling(node: &Node) -> Result<()> {
    node.renew_firewall()?;
    for attachment in node.wanted().pods {
        let pod = attachment.pod();
        let mut kernel = node.kernel();
        let link = kernel.link_by_name(&pod.host_name)?;
        if let Some(link) = link.filter(|link| link.mac == Some(pod.host_mac()))
            && link.group != pod.group()
            && let Err(error) = kernel.apply(&[pod.regroup(link.index)])
        {
            warn!(error = %error, pod = attachment.pod_name, "group a pod's link");
        }
    }
    node.remove_leftovers()
}

fn follow_kubernetes(node: &Arc<Node>) -> Result<()> {
    let name = match (node.settings.node.clone(), node.settings.networking) {
        (Some(name), _) => name,
        (None, Networking::Node) => return Ok(()),
        (None, Networking::Custom) => {
            anyhow::bail!("set MY_NODE_NAME: custom networking needs the name of this Node")
        }
    };
    let node = node.clone();
    tokio::spawn(async move {
        if let Err(error) = crate::kube::follow(node.clone(), name).await {
            warn!(error = format!("{error:#}"), "follow Kubernetes");
            if node.settings.networking == Networking::Custom {
                node.draw_from(Source::Missing { why: format!("{error:#}") });
            }
        }
    });
    Ok(())
}
