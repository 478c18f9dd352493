//! From nothing to serving: who am I, what is attached, who holds what.

use crate::{
    carry_out::{self, CarryOut},
    ec2::{Described, Ec2},
    handle, imds,
    imds::{Identity, Imds, Shown},
    install,
    journal::{Attachment, Interface, Journal},
    limits,
    node::{Attached, Node, now},
    reconcile, serve,
    settings::{Networking, Settings},
};
use anyhow::{Context, Result};
use aws_config::{
    BehaviorVersion, Region, provider_config::ProviderConfig, timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls;
use net::{Link, Netlink, Op, firewall::Firewall, host::Host, nft};
use pool::{Block, EniId, Pool, Source, Supply};
use std::{
    collections::{BTreeMap, BTreeSet},
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
    let identity = patiently("ask the metadata service who this node is", || imds.identity()).await;
    info!(?identity, "this node");
    let shown = patiently("ask the metadata service what is attached", || imds.interfaces()).await;
    let ec2 = Ec2::new(client(http, &identity).await, &identity);
    let limits = {
        let of = || limits::of(&identity.instance_type, settings.max_enis, &ec2);
        patiently("ask EC2 for the limits of this instance type", of).await
    };
    info!(?limits, "what the instance type allows");

    let mut kernel = Netlink::open().context("open a netlink socket")?;
    let primary = set_up_host(&mut kernel, &settings, &identity, &shown).await?;
    let source = source(&settings, &journal, primary);
    let primary_groups = primary.groups.clone();
    let attached = attached(shown, &mut journal, &ec2).await?;
    let mut pool = Pool::new(settings.targets, limits, source);
    restore(&mut pool, &journal);
    let reaper = start_reaper()?;
    let state = (pool, journal, attached);
    let node = Arc::new(Node::new(settings, identity, primary_groups, state, kernel, reaper));

    node.set_cluster_size(1);
    let hands = CarryOut { node: node.clone(), ec2, imds };
    hands.make_ready().await;
    settle_pods(&node)?;
    install::plugin(&node.settings)?;
    serve::start(node.clone(), listener)?;
    install::conflist(&node.settings)?;
    info!("serving");
    follow_kubernetes(&node)?;
    tokio::spawn(reconcile::run(node.clone(), hands));
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
async fn patiently<T, E, F>(what: &str, attempt: impl Fn() -> F) -> T
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

/// The node's own rules and filters; returns the primary interface.
async fn set_up_host<'a>(
    kernel: &mut Netlink,
    settings: &Settings,
    identity: &Identity,
    shown: &'a [Shown],
) -> Result<&'a Shown> {
    let primary = shown.iter().find(|eni| eni.mac == identity.mac);
    let primary = primary
        .with_context(|| format!("no interface {} in the instance metadata", identity.mac))?;
    let address = *primary
        .addresses
        .first()
        .context("the primary interface has no address in the instance metadata")?;
    let link = primary_link(kernel, identity).await?;
    let host = Host { primary: link.index, mtu: settings.eni_mtu, mark: settings.mark };
    kernel.apply(&host.ops()).context("set up the node's rules")?;
    let firewall = Firewall {
        primary_link: link.name,
        primary: address,
        direct: identity.vpc_cidrs.iter().chain(&settings.exclude_snat).copied().collect(),
        mark: settings.mark,
        snat: settings.snat,
        node_port: settings.node_port,
    };
    nft::apply(&firewall.script()).context("set up the node's filter rules")?;
    Ok(primary)
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

fn source(settings: &Settings, journal: &Journal, primary: &Shown) -> Source {
    match settings.networking {
        Networking::Node => Source::Node(Supply {
            subnets: vec![primary.subnet.clone()],
            groups: primary.groups.iter().cloned().collect(),
        }),
        Networking::Custom => journal.book().source().unwrap_or_else(|| Source::Missing {
            why: "custom networking is on, but the Kubernetes API has not said yet which ENIConfig this node uses".into(),
        }),
    }
}

/// What is attached. The metadata service confirms what is on record; where it does not, it may be
/// late or the record old, and EC2 is asked.
async fn attached(
    shown: Vec<Shown>,
    journal: &mut Journal,
    ec2: &Ec2,
) -> Result<BTreeMap<EniId, Attached>> {
    let shown: BTreeMap<EniId, Attached> = shown.into_iter().filter_map(from_shown).collect();
    let recorded = journal.book().interfaces.clone();
    let differs = |id: &String, now: &Interface| match shown.get(&EniId(id.clone())) {
        Some(shown) => shown.is.blocks() != now.blocks(),
        None => true,
    };
    let held = journal.book().attachments.values();
    let unknown = held.filter(|it| {
        !recorded.contains_key(&it.eni) && !shown.contains_key(&EniId(it.eni.clone()))
    });
    let questions = recorded.iter().filter(|(id, now)| differs(id, now)).count() + unknown.count();
    let mut attached = shown;
    if questions > 0 {
        info!(questions, "the instance metadata differs from the record: ask EC2");
        match ec2.attached().await {
            Ok(described) => take_over(&mut attached, &described),
            Err(refused) => {
                warn!(error = %refused, "ask EC2 what is attached; go on with the record");
                for (id, is) in recorded.clone() {
                    let cidr = attached.get(&EniId(id.clone())).and_then(|eni| eni.subnet_cidr);
                    attached.insert(EniId(id), Attached::new(is, cidr));
                }
            }
        }
    }
    let gone = recorded.keys().map(|id| EniId(id.clone())).filter(|id| !attached.contains_key(id));
    for id in gone {
        journal.interface(&id, None)?;
    }
    for (id, eni) in &mut attached {
        if let Some(known) = recorded.get(&id.0) {
            eni.is.attachment = eni.is.attachment.take().or_else(|| known.attachment.clone());
            eni.is.foreign |= known.foreign;
        }
        journal.interface(id, Some(eni.is.clone()))?;
    }
    Ok(attached)
}

/// EC2's word: what it lists is attached, and nothing else is.
fn take_over(attached: &mut BTreeMap<EniId, Attached>, described: &[Described]) {
    attached.retain(|id, _| described.iter().any(|eni| eni.id == id.0));
    for eni in described {
        let Some((attachment, device_index)) = &eni.attachment else { continue };
        let id = EniId(eni.id.clone());
        let subnet_cidr = attached.get(&id).and_then(|eni| eni.subnet_cidr);
        attached.insert(
            id,
            Attached::new(carry_out::interface(eni, attachment, *device_index), subnet_cidr),
        );
    }
}

fn from_shown(eni: imds::Shown) -> Option<(EniId, Attached)> {
    let (primary, secondary) = eni.addresses.split_first()?;
    let mut is = Interface {
        mac: eni.mac,
        device_index: eni.device_index,
        subnet: eni.subnet,
        primary: *primary,
        groups: eni.groups.into_iter().collect(),
        addresses: BTreeSet::new(),
        prefixes: BTreeSet::new(),
        attachment: None,
        foreign: false,
    };
    is.add(secondary.iter().copied().map(Block::Address));
    is.add(eni.prefixes.iter().map(|prefix| Block::Prefix(prefix.network())));
    Some((EniId(eni.id), Attached::new(is, Some(eni.subnet_cidr))))
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
    let attachments: Vec<Attachment> =
        node.state().journal.book().attachments.values().cloned().collect();
    for attachment in attachments {
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
