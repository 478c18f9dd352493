//! Keeps the fabric in step with the VPC, one change at a time.

use crate::{api::cloud::Cloud, fabric::Fabric};
use anyhow::{Context, Result, anyhow, bail};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use vpc::topology::Topology;

/// How long after a failure the wires are tried again: what fails is a race with something that is
/// just being removed, or lasting.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How long a command waits for its wires; building a node takes well under a second.
const BUILD_LIMIT: Duration = Duration::from_secs(20);

/// The fabric, shared by everything that blocks on it.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    fabric: Arc<Mutex<Option<Fabric>>>,
    built: watch::Sender<Built>,
}

#[derive(Clone, Debug, Default)]
struct Built {
    generation: u64,
    trouble: Option<String>,
}

impl Wires {
    pub(crate) fn new(fabric: Fabric) -> Self {
        let fabric = Arc::new(Mutex::new(Some(fabric)));
        Self { fabric, built: watch::Sender::new(Built::default()) }
    }

    /// Does something with the fabric, away from the tasks that must not block.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Fabric) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let fabric = Arc::clone(&self.fabric);
        spawn_blocking(move || {
            // Every step of the fabric can be repeated, so one that panicked spoils nothing.
            let mut fabric = fabric.lock().unwrap_or_else(PoisonError::into_inner);
            act(fabric.as_mut().context("the world has ended")?)
        })
        .await
        .context("work on the fabric")?
    }

    /// Builds each topology of the VPC as it comes, for ever.
    pub(crate) async fn follow(
        self,
        cloud: Arc<Cloud>,
        mut topologies: watch::Receiver<(u64, Arc<Topology>)>,
    ) {
        loop {
            let (generation, topology) = topologies.borrow_and_update().clone();
            match self.with(move |fabric| fabric.apply(&topology)).await {
                Ok(()) => {
                    cloud.applied(generation);
                    self.built.send_replace(Built { generation, trouble: None });
                    if topologies.changed().await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(generation, "build the wires: {error:#}");
                    let trouble = Some(format!("{error:#}"));
                    self.built.send_modify(|built| built.trouble = trouble);
                    let _ = timeout(RETRY_AFTER, topologies.changed()).await;
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// Waits until what the VPC says now is built.
    pub(crate) async fn settled(&self, cloud: &Cloud) -> Result<()> {
        let wanted = cloud.topologies().borrow().0;
        let mut built = self.built.subscribe();
        let built = timeout(BUILD_LIMIT, built.wait_for(|built| built.generation >= wanted)).await;
        match built {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the world has ended"),
            Err(_) => {
                let trouble = self.built.borrow().trouble.clone();
                let trouble = trouble.unwrap_or_else(|| "no error".into());
                Err(anyhow!("the wires were not built within {BUILD_LIMIT:?}: {trouble}"))
            }
        }
    }

    /// Lets go of the fabric, so that its namespaces can be removed.
    pub(crate) fn cut(&self) {
        self.fabric.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
