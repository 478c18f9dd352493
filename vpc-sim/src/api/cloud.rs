//! The VPC in real time, shared by everything that speaks for it or builds it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use vpc::{
    Time, Vpc,
    calls::{CallFilter, CallLog, CallRecord},
    topology::Topology,
};

/// How long an answer waits for the wires: building a whole node takes well under a second, and
/// clients give up after about a minute.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// How often a waiting answer looks whether anybody still builds the wires.
const SETTLE_LOOK: Duration = Duration::from_secs(1);

/// A VPC, a clock, and those who follow it.
#[derive(Debug)]
pub struct Cloud {
    state: Mutex<State>,
    clock: Clock,
    topologies: watch::Sender<(u64, Arc<Topology>)>,
    applied: watch::Sender<u64>,
    woken: Notify,
}

#[derive(Debug)]
struct State {
    vpc: Vpc,
    revision: u64,
    calls: CallLog,
}

/// The world's time beside everybody else's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_at: SystemTime,
}

impl Clock {
    fn start() -> Self {
        Self { began: Instant::now(), began_at: SystemTime::now() }
    }

    fn now(&self) -> Time {
        Time(self.began.elapsed())
    }

    /// A moment of the world in everybody's time.
    #[must_use]
    pub fn wall(&self, time: Time) -> SystemTime {
        self.began_at + time.0
    }
}

/// A moment as AWS's APIs write it: `2026-11-23T01:00:26.000Z`.
#[must_use]
pub fn iso_time(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

impl Cloud {
    /// Starts the world's time. Nothing happens by itself until [`Cloud::run`].
    #[must_use]
    pub fn new(vpc: Vpc) -> Arc<Self> {
        let topology = Arc::new(vpc.topology());
        let revision = vpc.revision();
        Arc::new(Self {
            state: Mutex::new(State { vpc, revision, calls: CallLog::default() }),
            clock: Clock::start(),
            topologies: watch::Sender::new((0, topology)),
            applied: watch::Sender::new(0),
            woken: Notify::new(),
        })
    }

    /// The world's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The world's time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// Does something with the VPC as it is now, and tells those who build it when its wires
    /// change.
    pub fn with<R>(&self, act: impl FnOnce(&mut Vpc, Time) -> R) -> R {
        let mut state = self.lock();
        let now = self.clock.now();
        state.vpc.advance(now);
        let next = state.vpc.next_event();
        let result = act(&mut state.vpc, now);
        // What takes no time has happened before the answer.
        state.vpc.advance(now);
        self.publish(&mut state);
        if state.vpc.next_event() != next {
            self.woken.notify_one();
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Under the lock, so that generations follow each other.
    fn publish(&self, state: &mut State) {
        if state.revision == state.vpc.revision() {
            return;
        }
        state.revision = state.vpc.revision();
        let topology = state.vpc.topology();
        self.topologies.send_if_modified(|(generation, published)| {
            let changed = **published != topology;
            if changed {
                *generation += 1;
                *published = Arc::new(topology);
            }
            changed
        });
    }

    /// What the wires must look like, with a number that grows at each change. From the first
    /// call on, and while the receiver lives, answers wait for [`Cloud::applied`].
    #[must_use]
    pub fn topologies(&self) -> watch::Receiver<(u64, Arc<Topology>)> {
        self.topologies.subscribe()
    }

    /// The wires look like the topology of this generation.
    pub fn applied(&self, generation: u64) {
        self.applied.send_if_modified(|applied| {
            let newer = generation > *applied;
            *applied = generation.max(*applied);
            newer
        });
    }

    /// Waits until the wires look as they should at this moment: at most ten seconds, and not at
    /// all while nobody builds them.
    pub async fn settled(&self) {
        let newest = self.topologies.borrow().0;
        let mut applied = self.applied.subscribe();
        let built = async {
            while self.topologies.receiver_count() > 0 && *applied.borrow_and_update() < newest {
                if timeout(SETTLE_LOOK, applied.changed()).await.is_err() {
                    // Look again whether anybody still builds.
                    tracing::debug!(generation = newest, "waiting for the wires");
                }
            }
        };
        if timeout(SETTLE_LIMIT, built).await.is_err() {
            let done = *self.applied.borrow();
            tracing::warn!(
                wanted = newest,
                done,
                "the wires did not follow the VPC within {SETTLE_LIMIT:?}; answering anyway"
            );
        }
    }

    /// Lets time do its work, for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.with(|vpc, _| vpc.next_event());
            let due = async {
                match next {
                    Some(at) => sleep_until(self.clock.began + at.0).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.woken.notified() => {}
            }
        }
    }

    /// The latest API calls, the oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.with_calls(|log, now| log.calls(now, &CallFilter::default()).cloned().collect())
    }

    /// Looks into the log of calls, or writes into it.
    pub fn with_calls<R>(&self, act: impl FnOnce(&mut CallLog, Time) -> R) -> R {
        let now = self.clock.now();
        act(&mut self.lock().calls, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vpc::{Launch, Spec, attach::Attach, create::CreateInterface};

    struct World {
        cloud: Arc<Cloud>,
        attach: Attach,
    }

    fn world() -> World {
        let cloud = Cloud::new(Vpc::new(Spec::default()).unwrap());
        let attach = cloud.with(|vpc, now| {
            let subnet_id =
                vpc.subnets().values().find(|s| s.name == "nodes-a").unwrap().id.clone();
            let launch = Launch {
                node: "a".into(),
                instance_type: "m5.large".into(),
                subnet_id: subnet_id.clone(),
                groups: Vec::new(),
                role: None,
            };
            let instance_id = vpc.run_instance(now, &launch).unwrap().0;
            let create = CreateInterface { subnet_id, ..CreateInterface::default() };
            let interface_id = vpc.create_network_interface(now, &create).unwrap().id.0.clone();
            Attach { interface_id, instance_id, device_index: 1, card_index: None }
        });
        World { cloud, attach }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_appears_by_itself_when_its_time_has_come() {
        let World { cloud, attach } = world();
        let mut topologies = cloud.topologies();
        tokio::spawn(Arc::clone(&cloud).run());

        cloud.with(|vpc, now| vpc.attach_network_interface(now, &attach).map(|_| ())).unwrap();
        let before = topologies.borrow_and_update().1.enis.len();
        topologies.changed().await.unwrap();

        assert_eq!(before, 1);
        let (generation, topology) = topologies.borrow().clone();
        assert_eq!(topology.enis[&attach.interface_id].device, "ens6");
        assert_eq!(generation, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_wires_that_nobody_builds() {
        let World { cloud, .. } = world();
        let before = Instant::now();

        cloud.settled().await;

        assert_eq!(Instant::now(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_until_the_wires_are_built() {
        let World { cloud, .. } = world();
        let topologies = cloud.topologies();
        let waiting = tokio::spawn({
            let cloud = Arc::clone(&cloud);
            async move { cloud.settled().await }
        });
        tokio::task::yield_now().await;
        let waited = !waiting.is_finished();

        cloud.applied(topologies.borrow().0);
        waiting.await.unwrap();

        assert!(waited);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_does_not_wait_for_ever() {
        let World { cloud, .. } = world();
        let _layouts = cloud.topologies();
        let before = Instant::now();

        cloud.settled().await;

        assert_eq!(Instant::now() - before, SETTLE_LIMIT);
    }
}
