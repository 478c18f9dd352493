//! How many interfaces and addresses an instance type allows.

use crate::aws::ec2::{Ec2, Refused};
use pool::Limits;

/// The limits of an instance type, from the table, or from EC2 for a type that is newer than it.
///
/// # Errors
/// EC2's, for a type that is not in the table.
pub(crate) async fn of(
    instance_type: &str,
    max_enis: Option<usize>,
    ec2: &Ec2,
) -> Result<Limits, Refused> {
    let (enis, addresses) = match instances::find(instance_type) {
        Some(found) => (found.on_default_card() as usize, found.ipv4_per_interface as usize),
        None => ec2.limits(instance_type).await?,
    };
    Ok(Limits {
        enis,
        max_enis,
        // The limit counts the primary address, which no pod can have.
        blocks_per_eni: addresses.saturating_sub(1),
        max_pods: None,
    })
}
