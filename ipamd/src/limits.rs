//! How many interfaces and addresses an instance type allows.

use crate::ec2::{Ec2, Refused};
use pool::Limits;

/// Limits of 1,418 instance types (`facts/ec2-facts.md` §4), tab-separated with a header.
const TABLE: &str = include_str!("../../conf/instance-types.tsv");

/// The limits of an instance type, from the table, or from EC2 for a type that is newer than it.
///
/// # Errors
/// EC2's, for a type that is not in the table.
pub(crate) async fn of(
    instance_type: &str,
    max_enis: Option<usize>,
    ec2: &Ec2,
) -> Result<Limits, Refused> {
    let (enis, addresses) = match in_table(instance_type) {
        Some(limits) => limits,
        None => ec2.limits(instance_type).await?,
    };
    Ok(Limits {
        enis: max_enis.map_or(enis, |max| max.min(enis)),
        // The limit counts the primary address, which no pod can have.
        blocks_per_eni: addresses.saturating_sub(1),
        max_pods: None,
    })
}

/// Interfaces on the default card, and addresses on each.
fn in_table(instance_type: &str) -> Option<(usize, usize)> {
    let mut lines = TABLE.lines().map(|line| line.split('\t'));
    let header: Vec<&str> = lines.next()?.collect();
    let column = |name| header.iter().position(|column| *column == name);
    let (enis, addresses) = (column("max_enis_default_card")?, column("ipv4_per_eni")?);
    let row: Vec<&str> =
        lines.map(Iterator::collect).find(|row: &Vec<&str>| row.first() == Some(&instance_type))?;
    Some((row.get(enis)?.parse().ok()?, row.get(addresses)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_knows_common_types_and_admits_what_it_does_not_know() {
        assert_eq!(in_table("m5.large"), Some((3, 10)));
        assert_eq!(in_table("c6in.32xlarge").map(|(enis, _)| enis), Some(8));
        assert_eq!(in_table("zz.large"), None);
    }
}
