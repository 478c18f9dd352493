//! The tree of metadata: every path of an instance with its text.

use crate::api::cloud::{Clock, iso_time};
use net::Mac;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    time::{Duration, SystemTime},
};
use vpc::{Instance, Interface, Role, Vpc, metadata::View};

/// How long credentials are good for. AWS renews them some five minutes before their end.
const CREDENTIALS_TTL: Duration = Duration::from_secs(6 * 3600);

/// The image that every instance says it runs.
const IMAGE_ID: &str = "ami-0123456789abcdef0";

/// The folder that has a folder for each interface.
const MACS: &str = "meta-data/network/interfaces/macs";

/// Paths, without the version before them, and what they hold.
#[derive(Debug, Default)]
pub(super) struct Tree {
    leaves: BTreeMap<String, String>,
    /// Interfaces that are listed, and there is nothing in their folders.
    ghosts: Vec<Mac>,
}

impl Tree {
    /// Everything that an instance can read, with interfaces as they are shown to it.
    pub(super) fn of(vpc: &Vpc, instance: &Instance, view: &View, clock: &Clock) -> Self {
        let mut tree = Self::default();
        let name = vpc.private_dns_name(instance.private_ip);
        tree.put("meta-data/ami-id", IMAGE_ID);
        tree.put("meta-data/hostname", &name);
        tree.put("meta-data/instance-id", &instance.id);
        tree.put("meta-data/instance-type", &instance.instance_type.name);
        tree.put("meta-data/local-hostname", &name);
        tree.put("meta-data/local-ipv4", instance.private_ip);
        tree.put("meta-data/placement/availability-zone", &instance.zone);
        tree.put("meta-data/placement/availability-zone-id", vpc.zone_id(&instance.zone));
        tree.put("meta-data/placement/region", vpc.region());
        tree.put("meta-data/reservation-id", &instance.reservation_id);
        tree.put("meta-data/services/domain", "amazonaws.com");
        tree.put("meta-data/services/partition", "aws");
        tree.put("dynamic/instance-identity/document", identity(vpc, instance, clock));
        if let Some(primary) = view.interfaces.first() {
            tree.put("meta-data/mac", primary.mac);
            tree.put("meta-data/security-groups", lines(group_names(vpc, primary)));
            if let Some(public) = primary.public {
                tree.put("meta-data/public-ipv4", public);
            }
        }
        if let Some(role) = &instance.role {
            let path = format!("meta-data/iam/security-credentials/{}", role.name);
            tree.put(&path, credentials(role));
            tree.put("meta-data/iam/info", profile(vpc, role));
        }
        for interface in &view.interfaces {
            tree.interface(vpc, interface);
        }
        tree
    }

    fn interface(&mut self, vpc: &Vpc, interface: &Interface) {
        let folder = format!("{MACS}/{}", interface.mac);
        let mut put = |name: &str, text: String| self.put(&format!("{folder}/{name}"), text);
        if let Some(attachment) = &interface.attachment {
            put("device-number", attachment.device_index.to_string());
            // AWS leaves it out on types that have one card.
            if attachment.card_index > 0 {
                put("network-card", attachment.card_index.to_string());
            }
        }
        put("interface-id", interface.id.to_string());
        // What has no address of a family has no path for it either.
        if let Some(primary) = interface.primary {
            put("local-hostname", vpc.private_dns_name(primary));
            // The primary address is the first line: clients rely on it.
            put("local-ipv4s", lines(interface.addresses()));
        }
        if let Some(ipv6) = interface.ipv6 {
            put("ipv6s", ipv6.to_string());
            put("subnet-ipv6-cidr-blocks", vpc.ipv6_block(&interface.subnet_id).to_string());
            put("vpc-ipv6-cidr-blocks", vpc.ipv6_cidr().to_string());
        }
        if !interface.prefixes.is_empty() {
            put("ipv4-prefix", lines(&interface.prefixes));
        }
        put("mac", interface.mac.to_string());
        put("owner-id", vpc.account().into());
        put("security-group-ids", lines(&interface.groups));
        put("security-groups", lines(group_names(vpc, interface)));
        put("subnet-id", interface.subnet_id.clone());
        let subnet = vpc.subnets().get(&interface.subnet_id);
        // An IPv6-only subnet has no other block.
        if let Some(subnet) = subnet.filter(|_| interface.ipv6.is_none()) {
            put("subnet-ipv4-cidr-block", subnet.cidr.to_string());
        }
        put("vpc-id", vpc.id().into());
        put("vpc-ipv4-cidr-block", lines(vpc.cidrs().first()));
        put("vpc-ipv4-cidr-blocks", lines(vpc.cidrs()));
        if let (Some(public), Some(primary)) = (interface.public, interface.primary) {
            put("public-ipv4s", public.to_string());
            put(&format!("ipv4-associations/{public}"), primary.to_string());
        }
    }

    fn put(&mut self, path: &str, text: impl Display) {
        self.leaves.insert(path.into(), text.to_string());
    }

    /// The same with interfaces that are gone, and listed still.
    pub(super) fn with_ghosts(self, ghosts: Vec<Mac>) -> Self {
        Self { ghosts, ..self }
    }

    /// Whether a path is the list of interfaces.
    pub(super) fn lists_interfaces(path: &str) -> bool {
        let inside = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        inside.is_some_and(|(_, path)| path.trim_end_matches('/') == MACS)
    }

    /// The text of a leaf, without a line end, or the entries of a folder, one a line, folders
    /// among them with a `/`. The slash at a folder's end may be missing.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        let (version, path) = path.strip_prefix('/')?.split_once('/').unwrap_or(("latest", ""));
        if !is_version(version) {
            return None;
        }
        if let Some(text) = self.leaves.get(path) {
            return Some(text.clone());
        }
        let folder = match path.trim_end_matches('/') {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let inside = self.leaves.keys().filter_map(|path| path.strip_prefix(&folder));
        let mut entries: BTreeSet<String> = inside
            .map(|rest| match rest.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => rest.into(),
            })
            .collect();
        if path.trim_end_matches('/') == MACS {
            entries.extend(self.ghosts.iter().map(|mac| format!("{mac}/")));
        }
        (!entries.is_empty()).then(|| lines(entries))
    }
}

/// `latest`, or the date of a version; all are the same here.
fn is_version(text: &str) -> bool {
    let is_date = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    text == "latest" || is_date
}

fn lines(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join("\n")
}

fn group_names<'a>(vpc: &'a Vpc, interface: &'a Interface) -> impl Iterator<Item = &'a str> {
    interface.groups.iter().filter_map(|id| vpc.groups().get(id)).map(|group| group.name.as_str())
}

fn identity(vpc: &Vpc, instance: &Instance, clock: &Clock) -> String {
    let arm = is_arm(&instance.instance_type.name);
    let document = serde_json::json!({
        "accountId": vpc.account(),
        "architecture": if arm { "arm64" } else { "x86_64" },
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": IMAGE_ID,
        "instanceId": instance.id.as_str(),
        "instanceType": instance.instance_type.name,
        "kernelId": null,
        "pendingTime": iso_time(clock.wall(instance.launched)).replace(".000Z", "Z"),
        "privateIp": instance.private_ip,
        "ramdiskId": null,
        "region": vpc.region(),
        "version": "2017-09-30",
    });
    format!("{document:#}")
}

/// Graviton: the family is `a1`, or has a `g` behind its generation: `m7g`, `c6gn`, `im4gn`.
fn is_arm(instance_type: &str) -> bool {
    let family = instance_type.split('.').next().unwrap_or_default();
    let after_generation = family.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    family == "a1"
        || after_generation.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with('g')
}

fn credentials(role: &Role) -> String {
    let now = SystemTime::now();
    let document = serde_json::json!({
        "Code": "Success",
        "LastUpdated": seconds(now),
        "Type": "AWS-HMAC",
        "AccessKeyId": role.access_key_id,
        "SecretAccessKey": role.secret_access_key,
        "Token": role.token,
        "Expiration": seconds(now + CREDENTIALS_TTL),
    });
    format!("{document:#}")
}

fn profile(vpc: &Vpc, role: &Role) -> String {
    let arn = format!("arn:aws:iam::{}:instance-profile/{}", vpc.account(), role.name);
    let document = serde_json::json!({
        "Code": "Success",
        "LastUpdated": seconds(SystemTime::now()),
        "InstanceProfileArn": arn,
        "InstanceProfileId": "AIPA0123456789ABCDEFG",
    });
    format!("{document:#}")
}

/// `2026-11-23T01:00:26Z`.
fn seconds(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, want: Option<&str>) {
        let mut tree = Tree::default();
        tree.put("meta-data/instance-id", "i-1");
        tree.put("meta-data/network/interfaces/macs/06:00/mac", "06:00");
        tree.put("meta-data/network/interfaces/macs/06:01/mac", "06:01");

        assert_eq!(tree.read(path).as_deref(), want, "{path}");
    }

    #[test]
    fn a_leaf_is_its_text_and_a_folder_lists_its_entries() {
        check("/latest/meta-data/instance-id", Some("i-1"));
        check("/latest/meta-data/", Some("instance-id\nnetwork/"));
        check("/latest/meta-data/network/interfaces/macs/", Some("06:00/\n06:01/"));
        check("/2021-07-15/meta-data/network/interfaces/macs", Some("06:00/\n06:01/"));
        check("/latest/", Some("meta-data/"));
        check("/", Some("meta-data/"));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        check("/latest/meta-data/network/interfaces/macs/06:00/ipv4-prefix", None);
        check("/latest/meta-data/network/interfaces/macs/06:02/", None);
        check("/latest/meta-data/inst", None);
        check("/newest/meta-data/", None);
        check("/latest/meta-data/instance-id/x", None);
    }

    #[test]
    fn graviton_is_told_by_the_family() {
        let arm = ["a1.large", "m7g.large", "c6gn.large", "im4gn.large"];
        let intel = ["m5.large", "g4dn.xlarge", "p5.48xlarge", "i3en.large"];

        assert!(arm.into_iter().all(is_arm));
        assert!(!intel.into_iter().any(is_arm));
    }
}
