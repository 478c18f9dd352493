//! What EC2 has that no node has: interfaces that are attached nowhere, and instances that are gone.

use super::{Ec2, call};
use aws_sdk_ec2::types::{self, Filter, InstanceStateName, NetworkInterfaceType};
use pool::EniId;
use std::collections::{BTreeMap, BTreeSet};
use steps::{
    INSTANCE_TAG, Refused,
    sweep::{CLUSTER_TAG, Instance, Loose},
};
use tracing::warn;

/// The longest page that EC2 gives.
const PAGE: i32 = 1000;

/// How many pages are read: more interfaces than an account may have by default (5,000). What comes after
/// them is seen once some of these are deleted.
pub(super) const MOST_PAGES: usize = 10;

impl Ec2 {
    /// Interfaces that were made for a node of a cluster and are attached nowhere.
    pub(crate) async fn loose(&self, cluster: &str) -> Result<Vec<Loose>, Refused> {
        const ACTION: &str = "DescribeNetworkInterfaces";
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let filters = vec![
            filter("status", "available"),
            filter("tag-key", INSTANCE_TAG),
            filter(&format!("tag:{CLUSTER_TAG}"), cluster),
        ];
        let mut all = vec![];
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let request = self
                .client
                .describe_network_interfaces()
                .set_filters(Some(filters.clone()))
                .max_results(PAGE)
                .set_next_token(token);
            let reply = call(ACTION, request.send()).await?;
            all.extend(reply.network_interfaces().iter().filter_map(loose));
            token = reply.next_token().filter(|token| !token.is_empty()).map(Into::into);
            if token.is_none() {
                return Ok(all);
            }
        }
        warn!(
            read = all.len(),
            "failed to read all interfaces that are attached nowhere: the rest comes later"
        );
        Ok(all)
    }

    /// Instances, as far as EC2 describes them. By a filter, not by ids: of ids EC2 refuses all when it
    /// does not know one.
    pub(crate) async fn instances(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Instance>, Refused> {
        const ACTION: &str = "DescribeInstances";
        let filter =
            Filter::builder().name("instance-id").set_values(Some(ids.iter().cloned().collect()));
        let mut all = BTreeMap::new();
        let mut token = None;
        for _ in 0..MOST_PAGES {
            let request = self
                .client
                .describe_instances()
                .filters(filter.clone().build())
                .max_results(PAGE)
                .set_next_token(token);
            let reply = call(ACTION, request.send()).await?;
            for reservation in reply.reservations() {
                let account = reservation.owner_id().unwrap_or_default();
                let of = reservation.instances().iter().filter_map(|it| instance(it, account));
                all.extend(of);
            }
            token = reply.next_token().filter(|token| !token.is_empty()).map(Into::into);
            if token.is_none() {
                return Ok(all);
            }
        }
        // An instance on a page that was not read would be taken for gone.
        Err(Refused::odd(ACTION, "more pages than instances were asked for"))
    }
}

/// An interface; what it lacks is empty, and like nothing that is ours. One without an id cannot be deleted
/// either.
fn loose(eni: &types::NetworkInterface) -> Option<Loose> {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let available = eni.status().is_some_and(|it| it.as_str() == "available");
    let of_type = eni.interface_type();
    Some(Loose {
        id: EniId(eni.network_interface_id()?.to_owned()),
        available: available && eni.attachment().is_none(),
        plain: of_type.is_none_or(|kind| *kind == NetworkInterfaceType::Interface)
            && eni.requester_managed() != Some(true),
        description: text(eni.description()),
        tags: eni.tag_set().iter().filter_map(super::described::tag).collect(),
        vpc: text(eni.vpc_id()),
        account: text(eni.owner_id()),
    })
}

fn instance(instance: &types::Instance, account: &str) -> Option<(String, Instance)> {
    let state = instance.state().and_then(|state| state.name());
    let is = Instance {
        terminated: state == Some(&InstanceStateName::Terminated),
        vpc: instance.vpc_id().map(Into::into),
        account: account.into(),
    };
    Some((instance.instance_id()?.to_owned(), is))
}
