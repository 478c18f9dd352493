//! What the role of nodes may do, changed while they run.

use super::World;
use anyhow::{Context, Result};
use vpc::policy::Policy;

impl World {
    /// Gives the role of nodes a policy, in IAM's JSON, or takes it away: then it may do everything.
    ///
    /// # Errors
    /// The text is no policy, or nodes of this world have no role.
    pub fn set_policy(&self, text: Option<&str>) -> Result<()> {
        let role = self.defaults.role.as_deref();
        let role = role.context("nodes of this world have no role: `role` in the world file")?;
        let policy = text.map(str::parse::<Policy>).transpose()?;
        self.cloud.with(|vpc, _| vpc.set_policy(role, policy));
        Ok(())
    }
}
