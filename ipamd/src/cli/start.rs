//! Start-up: who this node is, what is attached, who holds what, then serve.

use super::{first_list, install, reference_plugins, starting::Starting};
use crate::{
    aws::{self, ec2::Ec2, imds::Imds, limits},
    clock,
    evidence::{self, Held, cloud},
    execute::{Executor, reconcile},
    follow::{self, instance, vpc_cidrs},
    http,
    kernel::{peer_filters, repair, sync},
    node::{self, Attached, HostNetwork, Node, ReaperQueue},
    pods::{checkpoint, held, orphans, restore, run_folder, teardown, wire},
    retry::{FIRST_PAUSE, LONGEST_PAUSE},
    settings::{Networking, Settings},
    surroundings, sweep,
    tell::{metrics, report},
};
use anyhow::{Context, Result};
use net::Netlink;
use pool::{EniId, Pool, Source, Supply};
use record::{Identity, Interface, Journal, Notice, ReadError, Torn};
use rpc::{GuardError, Listener};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::Instant,
};
use tracing::{error, info, warn};

/// A node that is being served.
pub(super) struct Serving {
    /// The node.
    pub node: Arc<Node>,
    workers: Arc<wire::Workers>,
}

impl Serving {
    /// Takes no more requests, and lets what is in hand finish.
    pub(super) async fn finish(&self) {
        let workers = self.workers.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || workers.finish()).await {
            warn!(error = %error, "failed to finish requests");
        }
    }
}

/// Starts everything; returns once the node is being served.
pub(super) async fn start(settings: Settings) -> Result<Serving> {
    let began = Instant::now();
    // Before anything else, so that two daemons never work on the same node.
    let listener = keep_others_out().and_then(|()| listen(&settings.run_dir))?;
    let starting = Starting::new();
    let meanwhile = starting.meanwhile(&settings, listener.clone())?;
    let prepared = prepare(settings, &starting).await;
    // DELs that were not answered are in the spool, which is read next.
    meanwhile.end().await?;
    let Prepared { executor, ended_links, before, held, recorded } = prepared?;
    let node = executor.node.clone();
    teardown::start(&node, ended_links)?;
    orphans::start(node.clone())?;
    held::start(&node, held);
    node.store.state().reopen();

    follow::set_cluster_size(&node, 1);
    sync_kernel(&executor).await?;
    repair::start(node.clone(), before, recorded)?;
    install::plugin(&node.settings)?;
    let workers = wire::start(node.clone(), listener.clone())?;
    reference_plugins::install(&node.settings);
    first_list::install(&node)?;
    checkpoint::start(&node);
    run_folder::start(node.clone(), listener)?;
    tell_serving(&node, began);
    peer_filters::start(node.clone())?;
    surroundings::start(node.clone())?;
    http::metrics::start(&node);
    follow::start(&node)?;
    sweep::start(&node, executor.ec2.clone());
    tokio::spawn(vpc_cidrs::follow(node.clone(), executor.imds.clone()));
    tokio::spawn(instance::follow(node.clone(), executor.imds.clone(), executor.ec2.clone()));
    tokio::spawn(plan_and_execute(executor));
    Ok(Serving { node, workers })
}

/// A node whose pods are known, before the kernel has been changed for them.
pub(super) struct Prepared {
    /// What works on it; the node itself is in there.
    pub executor: Executor,
    /// Links to remove.
    pub ended_links: ReaperQueue,
    /// The kernel as it was found.
    pub before: repair::Before,
    /// Addresses that somebody may use whom nobody knows.
    pub held: BTreeMap<Ipv4Addr, Held>,
    /// There was a record.
    pub recorded: bool,
}

/// Finds out who this node is, what is attached, and who holds what. The caller has made sure that
/// nobody else works on this node.
pub(super) async fn prepare(settings: Settings, starting: &Starting) -> Result<Prepared> {
    let mut journal = open_record(&settings.run_dir)?;
    journal.set_cooldown(settings.targets.cooldown);
    if let Some(clock) = clock::start(journal.snapshot().clock.as_ref())
        && let Err(error) = journal.clock(&clock, clock::now())
    {
        warn!(error = format!("{error:#}"), "failed to note the clock");
    }
    let imds = Imds::new(&aws::direct_client());
    // With a record the node is served at once, whoever else is down; without one, who this node is
    // and what is attached must be known first.
    let recorded = journal.snapshot().identity.clone();
    let identity = match recorded.clone() {
        Some(identity) => identity,
        None => {
            let ask = || imds.identity();
            starting.patiently("ask the metadata service who this node is", ask).await
        }
    };
    info!(?identity, recorded = recorded.is_some(), "this node");
    let ec2 = Ec2::new(aws::client(&settings.servers, &identity).await?, &identity);
    // A damaged record may have lost interfaces, and with them the primary one.
    let known = journal.snapshot().interfaces.values().any(Interface::is_primary);
    if recorded.is_none() || !known {
        begin_record(&mut journal, &imds, &identity, starting).await;
    }
    let capacity = {
        let of = || limits::of(&identity.instance_type, settings.max_enis, &ec2);
        starting.patiently("ask EC2 for the limits of this instance type", of).await
    };
    info!(limits = ?capacity.limits, "what the instance type allows");

    let interfaces = journal.snapshot().interfaces.values();
    let primary = interfaces.clone().find(|eni| eni.is_primary()).cloned();
    let primary = primary.context("the metadata service shows no primary interface")?;
    let link = starting.primary_link(&settings, &identity, &primary, &imds).await;
    let see = || async {
        let mut kernel = Netlink::open().context("open a netlink socket")?;
        Ok::<_, anyhow::Error>((repair::Before::see(&mut kernel)?, kernel))
    };
    let (before, mut kernel) = starting.patiently("look at the network", see).await;
    let host = HostNetwork::of(&settings, &identity, &primary, &link);
    kernel.apply(&host.ops()).context("set up the node's rules")?;
    // Whoever was here before is known before anything is given away, given back or removed.
    let adopted = evidence::adopt(&settings, &mut journal, &mut kernel, clock::now())?;
    let targets = capacity.fit(settings.targets, &identity.instance_type);
    let source = source(&settings, &journal, &primary);
    let mut pool = Pool::new(targets, capacity.limits, source);
    restore(&mut pool, &journal);
    evidence::quarantine(&mut pool, &adopted.held);
    let attached = attached(&journal);
    let (reaper, ended_links) = node::reaper_queue();
    let state = (pool, journal, attached);
    let node = Arc::new(Node::new(settings, identity, primary.groups, host, state, kernel, reaper));
    Ok(Prepared {
        executor: Executor::new(node, ec2, imds),
        ended_links,
        before,
        held: adopted.held,
        recorded: recorded.is_some(),
    })
}

/// Interfaces on record, whose devices have not been looked for yet.
fn attached(journal: &Journal) -> BTreeMap<EniId, Attached> {
    let recorded = journal.snapshot().interfaces.clone().into_iter();
    recorded.map(|(id, record)| (EniId(id), Attached::new(record))).collect()
}

/// Compares the record with what is attached, and then plans for ever.
async fn plan_and_execute(executor: Executor) {
    cloud::compare_first(&executor).await;
    reconcile::run(executor.node.clone(), executor).await;
}

/// Has a second daemon refused on this node, wherever it has its run folder; or refuses to be it.
fn keep_others_out() -> Result<()> {
    match rpc::guard(rpc::GUARD_NAME) {
        Ok(()) => Ok(()),
        Err(taken @ GuardError::Taken { .. }) => Err(taken.into()),
        // The lock in the run folder is still there. That somebody in the node's network takes a name
        // must not keep the node from being served.
        Err(error @ (GuardError::Squatted { .. } | GuardError::Io(_))) => {
            warn!(error = %error, "failed to keep a second ipamd out by name");
            Ok(())
        }
    }
}

/// Listens for the plugin. Where that cannot be now, it is tried again for as long as it takes: a
/// disk that takes nothing does not keep pods that run from being looked after.
fn listen(run_dir: &Path) -> Result<Arc<Listener>> {
    let listener = Listener::unbound(&run_dir.join(rpc::SOCKET_NAME));
    match listener.keep_bound() {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let run_dir = run_dir.display();
            let context = format!("listen in {run_dir}: does another ipamd run on this node?");
            Err(error).context(context)
        }
        Err(error) => {
            warn!(error = %error, run_dir = %run_dir.display(), "failed to listen for the plugin: it is tried again");
            Ok(Arc::new(listener))
        }
        Ok(_) => Ok(Arc::new(listener)),
    }
}

/// Opens the record, and says what in it is not as this daemon would have written it.
fn open_record(run_dir: &Path) -> Result<Journal> {
    let mut contents = match Journal::read(run_dir) {
        Err(error @ ReadError::NotUnderstood(..)) => {
            warn!(error = %error, "the record is a newer ipamd's: what pods have is rebuilt from the checkpoint and the kernel");
            match Journal::set_newer_aside(run_dir, clock::machine()) {
                Ok(kept) => info!(kept = %kept.display(), "the newer ipamd's record is kept"),
                Err(error) => {
                    tell_record(Notice::ReadOnly(&error));
                    return Ok(Journal::open_newer(run_dir, clock::machine(), tell_record));
                }
            }
            Journal::read(run_dir)?
        }
        read => read?,
    };
    if let Some(damages) = contents.damages_in_words() {
        match contents.set_damage_aside(clock::machine()) {
            Ok(kept) => {
                warn!(damages, kept = %kept.display(), "the record is damaged: what it lost is rebuilt from the checkpoint and the kernel");
            }
            Err(error) => {
                warn!(
                    damages,
                    "the record is damaged: what it lost is rebuilt from the checkpoint and the kernel"
                );
                tell_record(Notice::ReadOnly(&error));
                return Ok(Journal::open_damaged(contents, clock::machine(), tell_record));
            }
        }
    }
    if let Some(Torn { offset, bytes, whole }) = contents.torn {
        warn!(offset, bytes, whole, "the last write of the record was cut off");
    }
    if let Some(first) = contents.unknown.first() {
        let kinds: BTreeSet<_> = contents.unknown.iter().map(|it| it.kind.as_str()).collect();
        let (records, line) = (contents.unknown.len(), first.line);
        warn!(records, ?kinds, line, "a newer ipamd's records are kept as they are");
    }
    Journal::open(contents, tell_record)
}

fn tell_record(notice: Notice<'_>) {
    match notice {
        Notice::NotWrittenAnew(error) => warn!(
            error = format!("{error:#}"),
            "failed to write the record anew: it is appended to until that works"
        ),
        Notice::PutBack => warn!("the record was removed or replaced: it is whole again"),
        Notice::ReadOnly(error) => warn!(
            error = format!("{error:#}"),
            "failed to write the record: until that works no pod starts or ends, and those that run go on"
        ),
        Notice::Writable => info!("the record can be written to again"),
    }
}

/// Notes who this node is and what is attached, as the metadata service shows it.
async fn begin_record(
    journal: &mut Journal,
    imds: &Imds,
    identity: &Identity,
    starting: &Starting,
) {
    let ask = || imds.interfaces_of(identity);
    let shown = starting.patiently("ask the metadata service what is attached", ask).await;
    let shown: Vec<_> = shown.shown.into_iter().filter_map(cloud::from_shown).collect();
    let mut note = || {
        for (id, record) in shown.clone() {
            journal.interface(&id, Some(record))?;
        }
        journal.identity(identity)
    };
    // Without a record there is nothing to serve from: it waits for a disk that takes it.
    let mut pause = FIRST_PAUSE;
    while let Err(error) = note() {
        starting.note(format!("note who this node is: {error:#}"));
        warn!(error = format!("{error:#}"), retry_in = ?pause, "failed to note who this node is");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Gives the kernel everything that is desired.
async fn sync_kernel(executor: &Executor) -> Result<()> {
    restore::restore(&executor.node)?;
    executor.make_ready().await;
    sync::finish(&executor.node)
}

fn tell_serving(node: &Node, began: Instant) {
    let desired = node.desired();
    let (interfaces, pods) = (desired.enis.len(), desired.pods.len());
    info!(interfaces, pods, direct = ?desired.host.firewall.direct, "serving");
    metrics::serving(began.elapsed());
}

fn source(settings: &Settings, journal: &Journal, primary: &Interface) -> Source {
    match settings.networking {
        Networking::Node => Source::Node(Supply {
            subnets: vec![primary.subnet.clone()],
            groups: primary.groups.clone(),
        }),
        Networking::Custom => journal
            .snapshot()
            .source()
            .unwrap_or_else(|| Source::Missing { why: report::NOT_HEARD.into() }),
    }
}

fn restore(pool: &mut Pool, journal: &Journal) {
    for attachment in journal.snapshot().attachments.values() {
        if let Err(twice) = pool.restore(attachment.owner(), attachment.allocation(), clock::now())
        {
            // Two pods with one address: neither can be told apart by us, so both stay as they are.
            error!(error = %twice, pod = attachment.pod_name, "failed to restore an attachment");
        }
    }
    for (address, since) in &journal.snapshot().cooling {
        pool.restore_cooling(*address, *since);
    }
}
