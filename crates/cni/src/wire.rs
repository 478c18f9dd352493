//! The written forms of a result: three families of versions, and reading them back.

use crate::{
    AddResult, Code, Dns, Error, Interface, IpConfig, Route, Version,
    lenient::{empty_is_none, null_is_default},
};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

impl AddResult {
    /// The document for stdout.
    ///
    /// # Errors
    /// Versions before 0.3.0 cannot say that there is no address.
    pub fn to_json(&self, version: Version) -> Result<String, Error> {
        self.to_value(version).map(|value| value.to_string())
    }

    /// The same as a value.
    ///
    /// # Errors
    /// As [`Self::to_json`].
    pub fn to_value(&self, version: Version) -> Result<Value, Error> {
        write(self, version)
    }

    /// Reads a document of the version; its own `cniVersion` does not matter.
    ///
    /// # Errors
    /// [`crate::Code::Decode`]
    pub fn parse(json: &str, version: Version) -> Result<Self, Error> {
        read(serde_json::from_str(json).map_err(|cause| undecodable(&cause))?, version)
    }

    /// The same from a value.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_value(value: Value, version: Version) -> Result<Self, Error> {
        read(value, version)
    }
}

/// Since 0.3.0: lists of interfaces, addresses and routes.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Lists {
    cni_version: String,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<Interface>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    ips: Vec<Ip>,
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<Dns>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ip {
    /// `"4"` or `"6"`, before 1.0.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interface: Option<i64>,
    address: IpNetwork,
    #[serde(default, deserialize_with = "empty_is_none", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

/// 0.1.0 and 0.2.0: one address of each family.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Pair {
    cni_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<PairIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<PairIp>,
    #[serde(deserialize_with = "null_is_default")]
    dns: Dns,
}

#[derive(Debug, Serialize, Deserialize)]
struct PairIp {
    ip: IpNetwork,
    #[serde(default, deserialize_with = "empty_is_none", skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

/// The result in the words of the version.
fn write(result: &AddResult, version: Version) -> Result<Value, Error> {
    if version < Version::V0_3_0 {
        let pair = pair(result, version)?;
        return serde_json::to_value(pair).map_err(|cause| unwritable(&cause));
    }
    let old = version < Version::V1_0_0;
    let lists = Lists {
        cni_version: version.to_string(),
        interfaces: result
            .interfaces
            .iter()
            .cloned()
            .map(|interface| if old { without_new_keys(interface) } else { interface })
            .collect(),
        ips: result
            .ips
            .iter()
            .map(|ip| Ip {
                version: old.then(|| if is_ipv4(ip.address) { "4" } else { "6" }.to_owned()),
                interface: ip.interface.and_then(|index| i64::try_from(index).ok()),
                address: ip.address,
                gateway: ip.gateway,
            })
            .collect(),
        routes: result.routes.clone(),
        dns: (old || result.dns != Dns::default()).then(|| result.dns.clone()),
    };
    serde_json::to_value(lists).map_err(|cause| unwritable(&cause))
}

/// Reads what a plugin of the version wrote.
fn read(value: Value, version: Version) -> Result<AddResult, Error> {
    // serde would also take an array for a struct.
    if !value.is_object() {
        return Err(Error::new(Code::Decode, "could not parse result: it is no JSON object"));
    }
    if version < Version::V0_3_0 {
        return serde_json::from_value::<Pair>(value)
            .map(from_pair)
            .map_err(|cause| undecodable(&cause));
    }
    let lists: Lists = serde_json::from_value(value).map_err(|cause| undecodable(&cause))?;
    Ok(AddResult {
        interfaces: lists.interfaces,
        ips: lists
            .ips
            .into_iter()
            .map(|ip| IpConfig {
                interface: ip.interface.and_then(|index| usize::try_from(index).ok()),
                address: ip.address,
                gateway: ip.gateway,
            })
            .collect(),
        routes: lists.routes,
        dns: lists.dns.unwrap_or_default(),
    })
}

/// What to say of a document that is no result.
pub(crate) fn undecodable(cause: &serde_json::Error) -> Error {
    Error::new(Code::Decode, format!("could not parse result: {cause}"))
}

fn pair(result: &AddResult, version: Version) -> Result<Pair, Error> {
    let first = |ipv4: bool| {
        result.ips.iter().find(|ip| is_ipv4(ip.address) == ipv4).map(|ip| PairIp {
            ip: ip.address,
            gateway: ip.gateway,
            routes: result
                .routes
                .iter()
                .filter(|route| is_ipv4(route.dst) == ipv4)
                .map(|route| Route {
                    dst: route.dst,
                    gw: route.gw,
                    mtu: None,
                    advmss: None,
                    priority: None,
                    table: None,
                    scope: None,
                })
                .collect(),
        })
    };
    let (ip4, ip6) = (first(true), first(false));
    if ip4.is_none() && ip6.is_none() {
        return Err(Error::new(Code::Internal, "cannot convert: no valid IP addresses"));
    }
    Ok(Pair { cni_version: version.to_string(), ip4, ip6, dns: result.dns.clone() })
}

fn from_pair(pair: Pair) -> AddResult {
    let mut result = AddResult { dns: pair.dns, ..AddResult::default() };
    for one in [pair.ip4, pair.ip6].into_iter().flatten() {
        result.ips.push(IpConfig { interface: None, address: one.ip, gateway: one.gateway });
        result.routes.extend(one.routes);
    }
    result
}

fn without_new_keys(interface: Interface) -> Interface {
    Interface { mtu: None, socket_path: None, pci_id: None, ..interface }
}

/// An IPv4 address, also when it is written as an IPv6 one.
fn is_ipv4(network: IpNetwork) -> bool {
    match network {
        IpNetwork::V4(_) => true,
        IpNetwork::V6(network) => network.ip().to_ipv4_mapped().is_some(),
    }
}

fn unwritable(cause: &serde_json::Error) -> Error {
    Error::new(Code::Internal, format!("write result: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// CNI requirements 22, 23.
    #[test]
    fn results_look_like_those_of_the_stock_plugins() {
        check(
            Version::V0_2_0,
            &json!({"cniVersion": "0.2.0", "dns": {},
                "ip4": {"ip": "10.88.80.5/24", "gateway": "10.88.80.1",
                        "routes": [{"dst": "0.0.0.0/0"}]}}),
        );
        check(
            Version::V0_4_0,
            &json!({"cniVersion": "0.4.0", "dns": {},
                "interfaces": [{"name": "veth1", "mac": "02:00:00:00:00:01"},
                               {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/n"}],
                "ips": [{"version": "4", "interface": 1, "address": "10.88.80.5/24",
                         "gateway": "10.88.80.1"}],
                "routes": [{"dst": "0.0.0.0/0"}]}),
        );
        for version in [Version::V1_0_0, Version::V1_1_0] {
            check(
                version,
                &json!({"cniVersion": version.as_str(),
                    "interfaces": [{"name": "veth1", "mac": "02:00:00:00:00:01"},
                                   {"name": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1500,
                                    "sandbox": "/n"}],
                    "ips": [{"interface": 1, "address": "10.88.80.5/24",
                             "gateway": "10.88.80.1"}],
                    "routes": [{"dst": "0.0.0.0/0"}]}),
            );
        }
    }

    /// CNI requirement 25.
    #[test]
    fn every_version_since_0_3_reads_what_it_wrote() {
        for version in Version::ALL.into_iter().filter(|version| *version >= Version::V0_3_0) {
            let mut want = ptp();
            if version < Version::V1_0_0 {
                want.interfaces[1].mtu = None;
            }

            let read = AddResult::parse(&ptp().to_json(version).unwrap(), version);

            assert_eq!(read.unwrap(), want, "{version}");
        }
    }

    /// CNI requirement 25.
    #[test]
    fn a_pair_becomes_lists_with_ipv4_first() {
        let json = r#"{"ip6":{"ip":"fd00::5/64","routes":[{"dst":"::/0","gw":"fd00::1"}]},
                       "ip4":{"ip":"10.0.0.5/24","routes":[{"dst":"0.0.0.0/0"}]},
                       "dns":{"nameservers":["10.0.0.2"]}}"#;

        let result = AddResult::parse(json, Version::V0_1_0).unwrap();

        let addresses: Vec<_> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.5/24", "fd00::5/64"]);
        let routes: Vec<_> = result.routes.iter().map(|route| route.dst.to_string()).collect();
        assert_eq!(routes, ["0.0.0.0/0", "::/0"]);
        assert_eq!(result.dns.nameservers, ["10.0.0.2"]);
    }

    /// CNI requirement 24.
    #[test]
    fn a_pair_has_routes_only_of_its_families() {
        let mut result = ptp();
        result.routes.push(Route { dst: "::/0".parse().unwrap(), ..result.routes[0].clone() });

        let value = result.to_value(Version::V0_1_0).unwrap();

        assert_eq!(value["ip4"]["routes"], json!([{"dst": "0.0.0.0/0"}]));
        assert_eq!(value.get("ip6"), None);
    }

    /// CNI requirement 24.
    #[test]
    fn a_pair_needs_an_address() {
        let error = AddResult::default().to_json(Version::V0_2_0).unwrap_err();

        assert_eq!(error.msg, "cannot convert: no valid IP addresses");
        assert!(AddResult::default().to_json(Version::V0_3_0).is_ok());
    }

    /// CNI requirement 26.
    #[test]
    fn a_mapped_address_counts_as_ipv4() {
        let mut result = ptp();
        result.ips[0].address = "::ffff:10.0.0.5/120".parse().unwrap();

        assert_eq!(result.to_value(Version::V0_4_0).unwrap()["ips"][0]["version"], "4");
    }

    #[test]
    fn what_other_plugins_say_of_an_interface_is_kept() {
        let json = r#"{"interfaces":[{"name":"net1","socketPath":"/s","pciID":"0000:00:01.0"}],
                       "ips":null,"routes":[{"dst":"10.0.0.0/8","gw":"","table":5,"scope":253}]}"#;

        let value = AddResult::parse(json, Version::V1_1_0).unwrap();

        let written = value.to_value(Version::V1_1_0).unwrap();
        assert_eq!(
            written["interfaces"][0],
            json!({"name": "net1", "socketPath": "/s", "pciID": "0000:00:01.0"})
        );
        assert_eq!(written["routes"][0], json!({"dst": "10.0.0.0/8", "table": 5, "scope": 253}));
    }

    #[test]
    fn nonsense_is_refused() {
        for json in
            ["", "garbage", "[]", r#"{"ips":[{"address":"10.0.0.300/24"}]}"#, r#"{"ips":3}"#]
        {
            let error = AddResult::parse(json, Version::V1_0_0).unwrap_err();

            assert_eq!(error.code, Code::Decode, "{json}");
        }
    }

    fn ptp() -> AddResult {
        let interface = |name: &str, mac: &str| Interface {
            name: name.into(),
            mac: Some(mac.into()),
            ..Interface::default()
        };
        AddResult {
            interfaces: vec![
                interface("veth1", "02:00:00:00:00:01"),
                Interface {
                    sandbox: Some("/n".into()),
                    mtu: Some(1500),
                    ..interface("eth0", "02:00:00:00:00:02")
                },
            ],
            ips: vec![IpConfig {
                interface: Some(1),
                address: "10.88.80.5/24".parse().unwrap(),
                gateway: Some("10.88.80.1".parse().unwrap()),
            }],
            routes: vec![Route {
                dst: "0.0.0.0/0".parse().unwrap(),
                gw: None,
                mtu: None,
                advmss: None,
                priority: None,
                table: None,
                scope: None,
            }],
            dns: Dns::default(),
        }
    }

    #[track_caller]
    fn check(version: Version, want: &Value) {
        assert_eq!(&ptp().to_value(version).unwrap(), want, "{version}");
    }
}
