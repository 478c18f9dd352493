//! From nothing to serving: who am I, what is attached, who holds what.

use crate::{
    carry_out::CarryOut,
    ec2::Ec2,
    gone, handle,
    imds::{Identity, Imds},
    install,
    journal::{Interface, Journal},
    limits, metrics,
    node::{self, Attached, Node, now},
    reconcile, repair, report, serve,
    settings::{self, Networking, Settings},
    views, vpc_blocks,
    wanted::{self, HostNetwork},
};
use anyhow::{Context, Result};
use aws_config::{
    BehaviorVersion, Region, provider_config::ProviderConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls;
use net::{Link, Netlink};
use pool::{EniId, Pool, Source, Supply};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{error, info, warn};

/// One connection attempt to EC2; the network is near or broken.
const CONNECT: Duration = Duration::from_secs(2);
/// One attempt of a call: the slowest that were seen take ten seconds (`facts/ec2-facts.md` §1.6).
const ATTEMPT: Duration = Duration::from_secs(10);

/// The first pause after something at start did not answer; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest: a node that boots before its metadata service is there is not late by more.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Starts everything; returns once the node is being served.
pub(crate) async fn start(settings: Settings) -> Result<Arc<Node>> {
    let began = Instant::now();
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
        begin_record(&mut journal, &imds, &identity).await?;
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
    let before = repair::Before::see(&mut kernel)?;
    let host = HostNetwork::of(&settings, &identity, &primary, &link);
    kernel.apply(&host.ops()).context("set up the node's rules")?;
    wanted::warn_without_forwarding();
    let mut pool = Pool::new(settings.targets, limits, source(&settings, &journal, &primary));
    restore(&mut pool, &journal);
    let recorded_interfaces = journal.book().interfaces.clone().into_iter();
    let attached = recorded_interfaces.map(|(id, is)| (EniId(id), Attached::new(is))).collect();
    let (reaper, leaving) = node::queue();
    let state = (pool, journal, attached);
    let primary_groups = primary.groups.into_iter().collect();
    let node = Arc::new(Node::new(settings, identity, primary_groups, host, state, kernel, reaper));
    node.start_reaper(leaving)?;
    gone::start(node.clone())?;
    node.hold_leaving_back();

    node.set_cluster_size(1);
    let hands = CarryOut::new(node.clone(), ec2, imds);
    settle(&hands).await?;
    repair::start(node.clone(), before, recorded.is_some())?;
    install::plugin(&node.settings)?;
    serve::start(node.clone(), listener)?;
    install::conflist(&node.settings)?;
    tell_serving(&node, began);
    serve_metrics(&node);
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

/// Notes who this node is and what is attached, as the metadata service shows it.
async fn begin_record(journal: &mut Journal, imds: &Imds, identity: &Identity) -> Result<()> {
    let ask = || imds.interfaces_of(identity);
    let shown = patiently("ask the metadata service what is attached", ask).await;
    for (id, is) in shown.into_iter().filter_map(views::from_shown) {
        journal.interface(&id, Some(is))?;
    }
    journal.identity(identity)
}

/// Gives the kernel everything that is wanted.
async fn settle(hands: &CarryOut) -> Result<()> {
    settle_pods(&hands.node)?;
    hands.make_ready().await;
    finish_settling(&hands.node)
}

fn tell_serving(node: &Node, began: Instant) {
    let wanted = node.wanted();
    let (interfaces, pods) = (wanted.enis.len(), wanted.pods.len());
    info!(interfaces, pods, direct = ?wanted.host.firewall.direct, "serving");
    metrics::serving(began.elapsed());
}

async fn client(
    http: aws_smithy_runtime_api::client::http::SharedHttpClient,
    identity: &Identity,
) -> aws_sdk_ec2::Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(ATTEMPT)
        .build();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(identity.region.clone()))
        .http_client(http)
        .timeout_config(timeouts)
        // The plan repeats calls, spread over the cluster; the SDK would not know that a call
        // without a token may have been carried out.
        .retry_config(RetryConfig::disabled())
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
    node.reap_leftovers()?;
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
            None if gone::has_ended(node, &attachment)? => gone::end(node, &attachment)?,
            // Its DEL will come, or its namespace will go; until then the address is not given to
            // anybody.
            None => warn!(
                pod = attachment.pod_name,
                host_name = pod.host_name,
                "a pod without its veth"
            ),
        }
    }
    Ok(())
}

/// Pods do not wait for metrics: a port that somebody else has is asked for again.
fn serve_metrics(node: &Arc<Node>) {
    if node.settings.metrics == settings::Metrics::Off {
        return;
    }
    let node = node.clone();
    let page = move || {
        let mut page = metrics::page();
        let now = now();
        let (counts, reason) = {
            let state = node.state();
            (state.pool.counts(now), state.pool.plan(now).reason)
        };
        report::show(&mut page, &counts, &reason);
        report::show_process(&mut page);
        page
    };
    tokio::spawn(async move {
        patiently("serve metrics", || metrics::serve(page.clone())).await;
    });
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
