//! The result of an ADD: our interfaces, after those of plugins before ours.

use cni::{AddResult, Interface, IpConfig, peer};
use ipnetwork::{IpNetwork, Ipv4Network};
use net::{
    op::MAIN_TABLE,
    pod::{POD_GATEWAY, Pod, Role},
};
use std::net::Ipv4Addr;

/// The result of an ADD.
pub(super) fn result(request: &cni::Request, pod: &Pod) -> AddResult {
    // CNI 1.1.0, "ADD": if a prevResult is given, the plugin must pass it through or modify it.
    let mut result = request.config.prev_result.clone().unwrap_or_default();
    let first = result.interfaces.len();
    result.interfaces.extend(interfaces(request, pod));
    result.ips.push(IpConfig {
        interface: Some(first + 1),
        address: IpNetwork::V4(Ipv4Network::from(pod.address)),
        gateway: Some(POD_GATEWAY.into()),
    });
    if pod.role == Role::First {
        result.routes.push(default_route());
    }
    result
}

/// Host end, pod's end, and for pods of Kubernetes the interface by which the peer finds the routing
/// table after a rollback. The peer takes a hardware address of the pod's end for a number of a
/// table, so there is none; podman, which wants one of each interface of a container, is not
/// Kubernetes, and gets them.
fn interfaces(request: &cni::Request, pod: &Pod) -> Vec<Interface> {
    let end = |name: &str, mac: Option<net::Mac>, sandbox| Interface {
        name: name.into(),
        mac: mac.map(|mac| mac.to_string()),
        mtu: Some(pod.mtu),
        sandbox,
        ..Interface::default()
    };
    let host = end(&pod.host_name, Some(pod.host_mac()), None);
    let within = |mac| end(&pod.pod_name, mac, request.netns.clone());
    match (&request.args.namespace, &request.args.name) {
        (Some(namespace), Some(name)) => {
            vec![host, within(None), peer::dummy(namespace, name, device_number(pod.table))]
        }
        _ => vec![host, within(Some(pod.pod_mac()))],
    }
}

/// The interface that a table is of; the peer's DEL adds one to it, or takes the main table.
fn device_number(table: u32) -> u32 {
    if table == MAIN_TABLE { 0 } else { table.saturating_sub(1) }
}

fn default_route() -> cni::Route {
    let all = Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length");
    cni::Route {
        dst: IpNetwork::V4(all),
        gw: Some(POD_GATEWAY.into()),
        mtu: None,
        advmss: None,
        priority: None,
        table: None,
        scope: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const POD: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0";

    /// CNI requirements 26, 35.
    #[test]
    fn a_pod_of_kubernetes_can_be_deleted_by_the_peer() {
        let result = answer(POD, None, 2);

        assert_eq!(
            result["interfaces"],
            json!([
                {"name": "eni0d7763386da", "mac": "0e:10:0a:00:46:05", "mtu": 9001},
                {"name": "eth0", "sandbox": "/run/netns/p", "mtu": 9001},
                {"name": "dummy0d7763386da", "mac": "0", "sandbox": "1"},
            ])
        );
        assert_eq!(result["ips"][0]["interface"], 1);
        assert_eq!(answer(POD, None, MAIN_TABLE)["interfaces"][2]["sandbox"], "0");
    }

    /// CNI requirement 9.
    #[test]
    fn a_container_outside_of_kubernetes_has_hardware_addresses_and_no_dummy() {
        let result = answer("IgnoreUnknown=1;K8S_POD_NAME=c1", None, 2);

        assert_eq!(
            result["interfaces"],
            json!([
                {"name": "eni0d7763386da", "mac": "0e:10:0a:00:46:05", "mtu": 9001},
                {"name": "eth0", "sandbox": "/run/netns/p", "mac": "0e:11:0a:00:46:05", "mtu": 9001},
            ])
        );
    }

    /// CNI requirement 36.
    #[test]
    fn what_plugins_before_us_made_is_passed_on() {
        let before = json!({
            "interfaces": [{"name": "net1", "sandbox": "/run/netns/p"}],
            "ips": [{"interface": 0, "address": "192.0.2.5/24"}],
            "routes": [{"dst": "192.0.2.0/24"}],
            "dns": {"nameservers": ["192.0.2.1"]},
        });

        let result = answer(POD, Some(before), 2);

        assert_eq!(result["cniVersion"], "1.1.0");
        assert_eq!(result["interfaces"][0]["name"], "net1");
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
        assert_eq!(result["ips"][0], json!({"interface": 0, "address": "192.0.2.5/24"}));
        assert_eq!(result["ips"][1]["interface"], 2);
        assert_eq!(result["interfaces"][2]["name"], "eth0");
        assert_eq!(result["routes"][0], json!({"dst": "192.0.2.0/24"}));
        assert_eq!(result["routes"][1], json!({"dst": "0.0.0.0/0", "gw": "169.254.1.1"}));
        assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.1"]}));
    }

    fn answer(args: &str, before: Option<Value>, table: u32) -> Value {
        let env = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", "/run/netns/p"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", args),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let conf = json!({"cniVersion": "1.1.0", "name": "aws-cni", "prevResult": before});
        let request = cni::Request::parse(&env.into(), conf.to_string().as_bytes()).unwrap();
        let pod = Pod {
            host_name: "eni0d7763386da".into(),
            pod_name: "eth0".into(),
            address: [10, 0, 70, 5].into(),
            table,
            egress: net::EgressSelector::Marked,
            mtu: 9001,
            host_mac: None,
            role: net::pod::Role::First,
        };
        result(&request, &pod).to_value(request.config.cni_version).unwrap()
    }
}
