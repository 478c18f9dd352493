//! What a take-over would begin with, found out beside whoever serves the node, without a trace.

use super::{
    cloud,
    compare::{Disagreement, Views, disagreements},
    findings::{self, Findings, Held, addresses},
};
use crate::{
    aws::{self, ec2::Ec2, imds::Imds, limits},
    clock::now,
    follow,
    node::WantedTags,
    settings::{Networking, Settings},
};
use anyhow::{Context, Result};
use net::Netlink;
use pool::{Action, EniId, Explanation, Owner, Pool, Readiness, Source, Supply};
use quoted::quoted;
use record::{Attachment, Identity, Interface, Journal, Maker, Snapshot};
use std::{collections::BTreeMap, fmt, net::Ipv4Addr, time::Duration};
use tracing::warn;

/// What differs is looked at twice with this in between: pods come and go, and one view is read after
/// the other.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug)]
pub(crate) struct Report {
    /// Addresses of running pods about which not all say the same.
    pub disagreements: Vec<Disagreement>,
    /// Pods that a take-over would adopt.
    pub adoptions: Vec<Attachment>,
    /// Pods that are on our record already.
    pub on_record: usize,
    /// Addresses of this node's interfaces that a take-over would give to nobody.
    pub held: BTreeMap<Ipv4Addr, Held>,
    /// What the pool would change.
    pub pool: Explanation,
}

/// Looks at everything. What differs is said only if it still does a moment later.
///
/// # Errors
/// The instance metadata, EC2 or the kernel do not answer.
pub(crate) async fn look(settings: &Settings) -> Result<Report> {
    let first = look_once(settings).await?;
    if first.disagreements.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(BETWEEN_LOOKS).await;
    let mut second = look_once(settings).await?;
    second.disagreements.retain(|it| {
        let before = first.disagreements.iter().find(|before| before.address == it.address);
        before.is_some_and(|before| !before.odd.is_disjoint(&it.odd))
    });
    Ok(second)
}

async fn look_once(settings: &Settings) -> Result<Report> {
    let imds = Imds::new(&aws::direct_client());
    let identity = imds.identity().await?;
    let ec2 = Ec2::new(aws::client(&settings.servers, &identity).await?, &identity);
    let shown = imds.interfaces_of(&identity).await?.shown;
    let shown: BTreeMap<EniId, Interface> =
        shown.into_iter().filter_map(cloud::from_shown).collect();
    let all = ec2.attached().await?;
    let occupied = steps::occupied(&all);
    let listed: BTreeMap<EniId, Interface> = all
        .interfaces
        .iter()
        .filter_map(|eni| {
            let (attachment, device_index) = eni.attachment.as_ref()?;
            let record =
                steps::interface(eni, Some(attachment), *device_index, &identity.instance)?;
            Some((EniId(eni.id.clone()), record))
        })
        .collect();
    let mut snapshot = record(settings, &identity);
    // What EC2 says of an interface counts; one that it does not list is in the kernel all the same.
    let attached = shown.iter().chain(&listed).map(|(id, eni)| (id.0.clone(), eni.clone()));
    snapshot.interfaces = attached.collect();
    let mut kernel = Netlink::open().context("open a netlink socket")?;
    let found = findings::look(settings, &snapshot, &mut kernel)?;
    let disagreements = disagreements(&Views {
        ec2: &listed,
        imds: &shown,
        entries: found.entries(),
        seen: found.seen(),
        tables: found.tables(),
    });
    let interfaces = Interfaces { listed: &listed, occupied: &occupied };
    let pool = pool(settings, &identity, &ec2, interfaces, &snapshot, &found).await?;
    let in_blocks = addresses(&snapshot);
    let is_told = |(address, held): &(Ipv4Addr, Held)| {
        in_blocks.contains(address) || held.unclear.pod.is_some()
    };
    let held = found.held.into_iter().filter(is_told);
    Ok(Report {
        disagreements,
        on_record: snapshot.attachments.len() - found.claims.superseded.len(),
        adoptions: found.adoptions,
        held: held.collect(),
        pool,
    })
}

/// Our record, where there is one of this instance that can be read.
fn record(settings: &Settings, identity: &Identity) -> Snapshot {
    match Journal::read(&settings.run_dir) {
        Ok(contents) => {
            let of = contents.snapshot.identity.as_ref();
            if of.is_none_or(|of| of.instance == identity.instance) {
                return contents.snapshot;
            }
            warn!(instance = ?of, "the record is another instance's: it is left out");
        }
        Err(error) => warn!(error = %error, "failed to read the record: it is left out"),
    }
    Snapshot::default()
}

/// What EC2 lists.
#[derive(Clone, Copy)]
struct Interfaces<'a> {
    /// Interfaces that can be read.
    listed: &'a BTreeMap<EniId, Interface>,
    /// Slots that others take.
    occupied: &'a BTreeMap<EniId, steps::Occupied>,
}

/// A pool in memory as a take-over would begin with it, and what it would change.
async fn pool(
    settings: &Settings,
    identity: &Identity,
    ec2: &Ec2,
    Interfaces { listed, occupied }: Interfaces<'_>,
    snapshot: &Snapshot,
    found: &Findings,
) -> Result<Explanation> {
    let capacity = limits::of(&identity.instance_type, settings.max_enis, ec2).await?;
    let targets = capacity.fit(settings.targets, &identity.instance_type);
    let primary = listed.values().find(|eni| eni.is_primary());
    let primary = primary.context("EC2 does not list the primary interface of this instance")?;
    let source = source(settings, snapshot, primary).await;
    let mut pool = Pool::new(targets, capacity.limits, source);
    let ended = |owner: &Owner| found.claims.superseded.iter().any(|(ended, _)| ended == owner);
    let on_record = snapshot.attachments.values().filter(|it| !ended(&it.owner()));
    for attachment in on_record.chain(&found.adoptions) {
        if let Err(twice) = pool.restore(attachment.owner(), attachment.allocation(), now()) {
            warn!(error = %twice, pod = attachment.pod_name, "two pods have one address");
        }
    }
    for (address, since) in &snapshot.cooling {
        pool.restore_cooling(*address, *since);
    }
    findings::quarantine(&mut pool, &found.held);
    // The kernel is not set up for anything here; a take-over would see to that first.
    let attached = listed.iter().map(|(id, eni)| (id, eni, Readiness::Ready));
    pool.observe(steps::observation(attached, occupied), now());
    let wanted = WantedTags::of(settings, &identity.instance);
    pool.set_untagged(wanted.missing(listed.iter()));
    let mut explanation = pool.explain(now());
    let asks = explanation.plan.actions.iter().find_map(|action| {
        if let Action::CountFree { subnets } = action { Some(subnets.clone()) } else { None }
    });
    if let Some(subnets) = asks {
        // It changes nothing, and what comes after it is worth knowing.
        pool.note_room(ec2.free(&subnets).await?, now());
        explanation = pool.explain(now());
    }
    Ok(explanation)
}

async fn source(settings: &Settings, snapshot: &Snapshot, primary: &Interface) -> Source {
    if settings.networking == Networking::Node {
        let subnets = vec![primary.subnet.clone()];
        return Source::Node(Supply { subnets, groups: primary.groups.clone() });
    }
    if let Some(known) = snapshot.source() {
        return known;
    }
    let asked = follow::ask_once(settings, &primary.groups).await;
    asked.unwrap_or_else(|error| Source::Missing { why: format!("{error:#}") })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.disagreements.len() {
            0 => writeln!(f, "all agree about every address of a running pod")?,
            count => writeln!(f, "addresses of running pods about which not all agree: {count}")?,
        }
        for line in &self.disagreements {
            writeln!(f, "  {}", quoted(line, quoted::LONG))?;
        }
        writeln!(f, "pods that a take-over would adopt: {}", self.adoptions.len())?;
        for pod in &self.adoptions {
            let Attachment { pod_namespace, pod_name, address, eni, table, .. } = pod;
            let Attachment { host_name, container, made_by, .. } = pod;
            let maker = match made_by {
                Maker::Peer => "the peer's",
                Maker::Ours => "ours",
            };
            // A checkpoint may have anything for a name.
            let line = format_args!(
                "{address} {pod_namespace}/{pod_name}, {maker}, on {eni}, table {table}; \
                 evidence: checkpoint (container {container}), kernel (link {host_name})"
            );
            writeln!(f, "  {}", quoted(line, quoted::LONG))?;
        }
        if self.on_record > 0 {
            writeln!(f, "pods that are on our record already: {}", self.on_record)?;
        }
        writeln!(f, "addresses that a take-over would give to nobody: {}", self.held.len())?;
        for (address, held) in &self.held {
            writeln!(f, "  {address}: {}", quoted(&held.unclear.why, quoted::LONG))?;
        }
        match &self.pool.source {
            Source::Missing { why } => {
                writeln!(
                    f,
                    "what the pool would change is left out, as its source is unknown: {why}"
                )
            }
            Source::Node(_) | Source::EniConfig { .. } => {
                writeln!(f, "what the pool would do:")?;
                self.pool.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))
            }
        }
    }
}
