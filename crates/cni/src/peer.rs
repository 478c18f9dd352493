//! Numbers that the peer's plugin keeps in its results for DEL: written for its DEL, and read for
//! ours.
//!
//! From amazon-vpc-cni-k8s v1.23.1, `cmd/routed-eni-cni-plugin/cni.go`: a last interface that does
//! not exist has as `mac` the VLAN of a pod with security groups of its own, or 0, and as `sandbox`
//! the device number; the interface in the container has as `mac` the number of the routing table.

use crate::{AddResult, Interface, names};
use std::net::{IpAddr, Ipv4Addr};

/// The kernel's main table, and the number below which the peer means that table, too.
const MAIN_TABLE: u32 = 254;
const FIRST_OWN_TABLE: u32 = 2;

/// Added to a VLAN for the table of its pod.
const VLAN_TABLES: u32 = 100;

/// One address of a pod, and what routes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remains {
    /// The address.
    pub address: Ipv4Addr,
    /// The table that its packets are sent by.
    pub table: u32,
    /// The device on the node, where the result has one.
    pub host_name: Option<String>,
    /// The VLAN of a pod with security groups of its own.
    pub vlan: Option<u32>,
}

/// The last interface of a result, by which the peer's DEL finds the routing table.
#[must_use]
pub fn dummy(namespace: &str, pod: &str, device_number: u32) -> Interface {
    Interface {
        name: names::dummy(namespace, pod),
        mac: Some("0".into()),
        sandbox: Some(device_number.to_string()),
        ..Interface::default()
    }
}

/// What routes a pod, by its result: one of the peer's plugin, or one of ours.
#[must_use]
pub fn remains(result: &AddResult, namespace: &str, pod: &str) -> Vec<Remains> {
    let name = names::dummy(namespace, pod);
    let Some(dummy) = result.interfaces.iter().find(|interface| interface.name == name) else {
        return vec![];
    };
    let number = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u32>().ok());
    let vlan = number(&dummy.mac).filter(|vlan| *vlan != 0);
    let device = number(&dummy.sandbox);
    let own = |table: u32| if table < FIRST_OWN_TABLE { MAIN_TABLE } else { table };
    let of_address = |ip: &crate::IpConfig| {
        let IpAddr::V4(address) = ip.address.ip() else { return None };
        let index = ip.interface?;
        let within = result.interfaces.get(index)?;
        let table = match vlan {
            Some(vlan) => vlan.saturating_add(VLAN_TABLES),
            // Without either nothing but the main table can be meant.
            None => number(&within.mac)
                .or_else(|| device.map(|device| device.saturating_add(1)))
                .map_or(MAIN_TABLE, own),
        };
        let outside = index.checked_sub(1).and_then(|index| result.interfaces.get(index));
        let host_name = outside.filter(|it| it.sandbox.is_none()).map(|it| it.name.clone());
        Some(Remains { address, table, host_name, vlan })
    };
    result.ips.iter().filter_map(of_address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;

    /// CNI requirement 42.
    #[test]
    fn what_the_peers_result_says_of_routing_is_understood() {
        // The example of the peer: a pod of the primary interface, then one of the second.
        check("254", "0", &[("10.0.70.5", 254, None)]);
        check("2", "1", &[("10.0.70.5", 2, None)]);
        // Tables 0 and 1 mean the main one; up to v1.19 there was only the device number.
        check("1", "0", &[("10.0.70.5", 254, None)]);
        check("", "0", &[("10.0.70.5", 254, None)]);
        check("", "3", &[("10.0.70.5", 4, None)]);
        check("", "", &[("10.0.70.5", 254, None)]);
    }

    #[test]
    fn a_pod_with_security_groups_of_its_own_has_a_vlan() {
        let mut result = result("0", "");
        result.interfaces[2].mac = Some("5".into());

        let remains = remains(&result, "default", "web-0");

        assert_eq!((remains[0].table, remains[0].vlan), (105, Some(5)));
    }

    #[test]
    fn every_address_of_a_pod_with_several_interfaces_is_found() {
        let json = r#"{"interfaces":[
            {"name":"eni1"},{"name":"eth0","mac":"2","sandbox":"/n"},
            {"name":"eni2"},{"name":"mNicIf1","mac":"10003","sandbox":"/n"},
            {"name":"dummy0d7763386da","mac":"0","sandbox":"1"}],
            "ips":[{"interface":1,"address":"10.0.0.5/32"},{"interface":3,"address":"10.0.0.6/32"},
                   {"interface":3,"address":"fd00::6/128"},{"address":"10.0.0.7/32"}]}"#;

        let remains =
            remains(&AddResult::parse(json, Version::V1_0_0).unwrap(), "default", "web-0");

        let found: Vec<_> = remains.iter().map(|it| (it.host_name.as_deref(), it.table)).collect();
        assert_eq!(found, [(Some("eni1"), 2), (Some("eni2"), 10003)]);
    }

    #[test]
    fn a_result_of_another_plugin_or_pod_says_nothing() {
        assert_eq!(remains(&result("2", "1"), "default", "web-1"), []);
        assert_eq!(remains(&AddResult::default(), "default", "web-0"), []);
    }

    /// CNI requirement 27.
    #[test]
    fn what_we_write_for_the_peer_we_read_ourselves() {
        let mut result = result("", "0");
        result.interfaces[2] = dummy("default", "web-0", 3);

        assert_eq!(result.interfaces[2].name, "dummy0d7763386da");
        assert_eq!(remains(&result, "default", "web-0")[0].table, 4);
    }

    fn result(mac: &str, device: &str) -> AddResult {
        let json = format!(
            r#"{{"cniVersion":"0.4.0","dns":{{}},"interfaces":[{{"name":"eni0d7763386da"}},
                {{"name":"eth0","mac":"{mac}","sandbox":"/var/run/netns/cni-x"}},
                {{"name":"dummy0d7763386da","mac":"0","sandbox":"{device}"}}],
                "ips":[{{"version":"4","interface":1,"address":"10.0.70.5/32"}}]}}"#
        );
        AddResult::parse(&json, Version::V0_4_0).unwrap()
    }

    #[track_caller]
    fn check(mac: &str, device: &str, want: &[(&str, u32, Option<u32>)]) {
        let remains = remains(&result(mac, device), "default", "web-0");

        let want: Vec<_> = want
            .iter()
            .map(|(address, table, vlan)| Remains {
                address: address.parse().unwrap(),
                table: *table,
                host_name: Some("eni0d7763386da".into()),
                vlan: *vlan,
            })
            .collect();
        assert_eq!(remains, want, "mac {mac:?}, device {device:?}");
    }
}
