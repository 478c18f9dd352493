//! Interfaces that dead nodes left in EC2 are searched for and deleted, by one node of a cluster.
//!
//! What is deleted `steps::sweep` decides. Here is how seldom that is asked: who holds a Lease looks, and
//! everybody else reads that Lease about once while it lasts.

mod lease;

use crate::{
    aws::ec2::Ec2,
    clock, follow,
    node::Node,
    panics,
    retry::Pauses,
    settings::Sweeping,
    tell::{events::NodeNotice, metrics},
};
use anyhow::{Context, Result};
use lease::{Election, Standing};
use pool::{Cause, EniId};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use steps::{Refused, sweep::Sweep};
use tracing::{info, warn};

/// A Lease lasts for so many looks: one that fails or is late loses it nobody.
const LOOKS: u32 = 2;

/// How long Kubernetes may take to answer about the Lease.
const ASK: Duration = Duration::from_secs(10);

/// The pause between two deletes: a fifth of the calls that the account's bucket gets
/// (`docs/references.md#ec2-throttling`), so that nodes that change interfaces have theirs.
const BETWEEN: Duration = Duration::from_secs(1);

/// The longest pause after failures: who grants what was refused waits no longer than a quarter of a day.
/// Before that another node has the Lease, as who fails does not renew it.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3_600);

/// What EC2 says of an interface that is already gone.
const GONE: &str = "InvalidNetworkInterfaceID.NotFound";

/// Takes part in the search, if this node is to.
pub(crate) fn start(node: &Arc<Node>, ec2: Ec2) {
    let not = |why: &str| info!(why, "interfaces that dead nodes left are not searched for");
    let settings = &node.settings;
    let Sweeping::On { interval, grace } = settings.sweeping else {
        return not("DISABLE_LEAKED_ENI_CLEANUP is set");
    };
    let Some(cluster) = settings.cluster.clone() else {
        return not("CLUSTER_NAME is not set, which says what is of this cluster");
    };
    let Some(name) = &settings.node else {
        return not("MY_NODE_NAME is not set, so that Kubernetes is not asked which node does it");
    };
    let own = node.identity.instance.clone();
    let seed = follow::seed(node);
    let sweeper = Sweeper {
        election: Election::new(format!("{name}_{own}"), interval * LOOKS),
        sweep: Sweep::new(cluster.clone(), own, grace),
        cluster,
        interval,
        grace,
        spread: Pauses::new(interval, interval, seed),
        failures: Pauses::new(interval, LONGEST_PAUSE.max(interval), seed),
        told: None,
        node: node.clone(),
        ec2,
    };
    tokio::spawn(sweeper.run());
}

/// A node's part in the search.
struct Sweeper {
    node: Arc<Node>,
    ec2: Ec2,
    cluster: String,
    sweep: Sweep,
    election: Election,
    interval: Duration,
    grace: Duration,
    /// Differ from node to node, and are at least half an interval: a node that starts has other calls to
    /// make, and all may start together.
    spread: Pauses,
    failures: Pauses,
    /// The failure that was told, while it lasts.
    told: Option<String>,
}

/// How a turn ended.
struct Turn {
    pause: Duration,
    /// What went wrong beside what went well.
    trouble: Option<anyhow::Error>,
}

impl Sweeper {
    async fn run(mut self) {
        let mut pause = self.spread.next();
        loop {
            tokio::time::sleep(pause).await;
            // A panic of a library is a failure like another: pods go on being served.
            let turn = panics::caught(self.turn()).await;
            metrics::sweeper(self.election.holds());
            let turn = match turn {
                Ok(turn) => {
                    self.failures.reset();
                    turn
                }
                Err(error) => Turn { pause: self.failures.next(), trouble: Some(error) },
            };
            pause = turn.pause;
            self.tell(turn.trouble, pause);
        }
    }

    async fn turn(&mut self) -> Result<Turn> {
        // Made anew: at a request an hour no connection is worth keeping.
        let client = follow::client(&self.node.settings.servers).await?;
        let asked = tokio::time::timeout(ASK, self.election.stand(client)).await;
        match asked.context("ask Kubernetes for the Lease: no answer in time")?? {
            Standing::Holds => self.look().await,
            Standing::Waits(left) => {
                self.sweep.nothing();
                Ok(Turn { pause: left + self.spread.next(), trouble: None })
            }
        }
    }

    /// Looks at what EC2 has, and deletes what is due.
    async fn look(&mut self) -> Result<Turn> {
        let began = Instant::now();
        let listed = self.ec2.loose(&self.cluster).await?;
        let candidates = self.sweep.candidates(&listed);
        if candidates.is_empty() {
            self.sweep.nothing();
            return Ok(Turn { pause: self.interval, trouble: None });
        }
        let instances = self.ec2.instances(&self.sweep.instances(&candidates)).await?;
        let due = self.sweep.look(&candidates, &instances, clock::now());
        let due = due.context("ask EC2 which instances are gone")?;
        let mut left = due.later + due.now.len();
        let mut trouble = None;
        for (eni, instance) in &due.now {
            match self.delete(eni, instance).await {
                Ok(()) => left -= 1,
                Err(refused) if refused.cause() == Cause::Wrong => trouble = Some(refused.into()),
                Err(refused) => return Err(refused.into()),
            }
            // So that no other node has the Lease before this one ends.
            if began.elapsed() > self.interval {
                break;
            }
            tokio::time::sleep(BETWEEN).await;
        }
        let pause = if left > 0 { self.grace.min(self.interval) } else { self.interval };
        Ok(Turn { pause, trouble })
    }

    async fn delete(&self, eni: &EniId, instance: &str) -> Result<(), Refused> {
        match self.ec2.delete(&eni.0).await {
            Ok(()) => {
                metrics::swept();
                info!(%eni, instance, "deleted an interface that a dead node left");
                Ok(())
            }
            Err(refused) if refused.code == GONE => Ok(()),
            Err(refused) if is_taken(&refused) => {
                info!(%eni, instance, "an interface that a dead node left is attached by now");
                Ok(())
            }
            Err(refused) => Err(refused),
        }
    }

    /// Says what is wrong, once while it lasts.
    fn tell(&mut self, trouble: Option<anyhow::Error>, pause: Duration) {
        let Some(error) = trouble else {
            self.told = None;
            return;
        };
        let refused = error.downcast_ref::<Refused>();
        // A refusal for want of a permission has another text every time.
        let what = match refused.filter(|it| !it.code.is_empty()) {
            Some(refused) => format!("{} {}", refused.action, refused.code),
            None => format!("{error:#}"),
        };
        if self.told.as_ref() == Some(&what) {
            return;
        }
        warn!(error = format!("{error:#}"), retry_in = ?pause, "failed to search for interfaces that dead nodes left");
        if refused.is_some_and(|it| it.cause() == Cause::Denied) {
            let note = format!(
                "interfaces that dead nodes left cannot be deleted: allow what conf/iam-policy.json \
                 has, or set DISABLE_LEAKED_ENI_CLEANUP=true: {error:#}"
            );
            self.node.notices.tell(NodeNotice::warning("LeakedInterfaces", note));
        }
        self.told = Some(what);
    }
}

/// Somebody attached it since EC2 listed it (`docs/references.md#ec2-errors`).
fn is_taken(refused: &Refused) -> bool {
    refused.code == "InvalidNetworkInterface.InUse" || refused.message.contains("in use")
}
