//! Faults of a running world: checked against its nodes, kept by its VPC.

use super::World;
use anyhow::{Result, bail};
use vpc::{
    admit::OUTSIDE,
    fault::{FaultSpec, FaultStatus},
};

impl World {
    /// Adds a fault.
    ///
    /// # Errors
    /// It means nothing, or names a node that does not exist.
    pub fn add_fault(&self, spec: FaultSpec) -> Result<FaultStatus> {
        if let Some(node) = spec.node.as_deref().filter(|node| *node != OUTSIDE) {
            self.node(node)?;
        }
        let added = self.cloud().with(|vpc, now| {
            let id = vpc.add_fault(now, spec)?;
            Ok::<_, anyhow::Error>(vpc.faults(now).into_iter().find(|fault| fault.id == id))
        })?;
        match added {
            Some(fault) => Ok(fault),
            None => bail!("add a fault that is over at once: give it a longer time"),
        }
    }

    /// The faults that can act still.
    pub fn faults(&self) -> Vec<FaultStatus> {
        self.cloud().with(|vpc, now| vpc.faults(now))
    }

    /// Removes a fault, or all of them; how many there were.
    ///
    /// # Errors
    /// There is none with this number.
    pub fn clear_faults(&self, id: Option<u32>) -> Result<usize> {
        let cleared = self.cloud().with(|vpc, now| vpc.clear_faults(now, id));
        if let (Some(id), 0) = (id, cleared) {
            let active: Vec<String> = self.faults().iter().map(|it| it.id.to_string()).collect();
            match active.as_slice() {
                [] => bail!("no fault {id}: there is none"),
                active => bail!("no fault {id}: there are {}", active.join(", ")),
            }
        }
        Ok(cleared)
    }
}
