//! The network configuration on stdin, as far as it concerns us.

use crate::{AddResult, Code, Command, Error, Version, lenient::null_is_default};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// MTU of a pod when the configuration has none: what EC2 carries within a VPC.
/// From amazon-vpc-cni-k8s v1.23.1, `cmd/routed-eni-cni-plugin/cni.go`.
pub const DEFAULT_MTU: u32 = 9001;

/// How names of devices on the node's side begin when the configuration does not say.
pub const DEFAULT_VETH_PREFIX: &str = "eni";

/// The smallest MTU that IPv4 allows every link to have.
const SMALLEST_MTU: u32 = 576;

/// With eleven digits of a hash behind it a name must fit into the kernel's 15 bytes.
const LONGEST_VETH_PREFIX: usize = 4;

/// Where containerd puts the pod's annotations in `runtimeConfig`.
const POD_ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";

/// The network configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct NetConf {
    /// The version in which results are written and `prevResult` is read.
    pub cni_version: Version,
    /// The network's name: attachments of other networks are not ours.
    pub name: String,
    /// `mtu`, bytes: [`DEFAULT_MTU`] when it makes no sense, `None` when it is absent.
    pub mtu: Option<u32>,
    /// `vethPrefix`
    pub veth_prefix: String,
    /// `podSGEnforcingMode`
    pub pod_sg_enforcing_mode: EnforcingMode,
    /// The pod's annotations; only for a network list that declares the capability.
    pub pod_annotations: BTreeMap<String, String>,
    /// `prevResult`: of the plugin before us (ADD), or of the whole chain (DEL, CHECK).
    pub prev_result: Option<AddResult>,
    /// `cni.dev/valid-attachments` of GC. `None` when the key is absent: then nothing is known, and
    /// nothing may be removed.
    pub valid_attachments: Option<Vec<Attachment>>,
}

impl Default for NetConf {
    fn default() -> Self {
        Self {
            cni_version: Version::LATEST,
            name: String::new(),
            mtu: None,
            veth_prefix: DEFAULT_VETH_PREFIX.to_owned(),
            pod_sg_enforcing_mode: EnforcingMode::Strict,
            pod_annotations: BTreeMap::new(),
            prev_result: None,
            valid_attachments: None,
        }
    }
}

/// How traffic of pods with security groups of their own travels within the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnforcingMode {
    /// Out to the VPC and back, past the security groups.
    #[default]
    Strict,
    /// Straight between pods of the node.
    Standard,
}

/// One interface of one container, as GC names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// The container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface's name in it.
    pub ifname: String,
}

/// The document with its values as they came; keys that it does not name are accepted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RawConf {
    #[serde(deserialize_with = "null_is_default")]
    pub(crate) cni_version: String,
    #[serde(deserialize_with = "null_is_default")]
    name: String,
    mtu: Option<Value>,
    #[serde(deserialize_with = "null_is_default")]
    veth_prefix: String,
    #[serde(rename = "podSGEnforcingMode", deserialize_with = "null_is_default")]
    pod_sg_enforcing_mode: String,
    #[serde(deserialize_with = "null_is_default")]
    runtime_config: BTreeMap<String, Value>,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
    // libcni from 1.2.3 on also sends the list under this name.
    #[serde(rename = "cni.dev/attachments")]
    attachments: Option<Vec<Attachment>>,
}

impl RawConf {
    /// Decodes the document and checks the network's name.
    pub(crate) fn parse(stdin: &[u8]) -> Result<Self, Error> {
        // By way of a map: serde would also take an array for a struct.
        let raw: Self = serde_json::from_slice::<Map<String, Value>>(stdin)
            .and_then(|keys| serde_json::from_value(Value::Object(keys)))
            .map_err(|cause| {
                Error::new(Code::Decode, format!("error unmarshall network config: {cause}"))
            })?;
        // CNI 1.1.0, "name": Must start with an alphanumeric character, optionally followed by any
        // combination of one or more alphanumeric characters, underscore, dot or hyphen.
        if raw.name.is_empty() {
            return Err(Error::new(Code::InvalidConfig, "missing network name"));
        }
        if !valid_name(&raw.name) {
            let msg = "invalid characters found in network name";
            return Err(Error::new(Code::InvalidConfig, msg).with_details(raw.name));
        }
        Ok(raw)
    }

    /// The values checked. For DEL one that is wrong counts as absent: an ADD with it never
    /// succeeded, or it was changed since, and the container must be able to go in both cases.
    pub(crate) fn check(self, command: Command, version: Version) -> Result<NetConf, Error> {
        let del = command == Command::Del;
        let veth_prefix = match veth_prefix(self.veth_prefix) {
            Err(_) if del => DEFAULT_VETH_PREFIX.to_owned(),
            checked => checked?,
        };
        let pod_sg_enforcing_mode = match enforcing_mode(&self.pod_sg_enforcing_mode) {
            Err(_) if del => EnforcingMode::Strict,
            checked => checked?,
        };
        // CNI 1.1.0, "DEL": prevResult may be absent; the state on record says what to release.
        let prev_result = match self.prev_result.map(|prev| AddResult::from_value(prev, version)) {
            Some(Err(_)) if del => None,
            read => read.transpose().map_err(|error| Error {
                msg: format!("parse prevResult: {}", error.msg),
                ..error
            })?,
        };
        let annotations = self.runtime_config.get(POD_ANNOTATIONS).and_then(Value::as_object);
        Ok(NetConf {
            cni_version: version,
            name: self.name,
            mtu: self.mtu.as_ref().and_then(mtu),
            veth_prefix,
            pod_sg_enforcing_mode,
            pod_annotations: annotations
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            prev_result,
            valid_attachments: self.valid_attachments.or(self.attachments),
        })
    }
}

/// A name as the specification allows it for containers and networks.
pub(crate) fn valid_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// The peer writes it as a string; one that cannot be is replaced without a word, as there.
fn mtu(value: &Value) -> Option<u32> {
    let number = match value {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
        Value::Null => return None,
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    Some(number.filter(|mtu| (SMALLEST_MTU..=DEFAULT_MTU).contains(mtu)).unwrap_or(DEFAULT_MTU))
}

fn veth_prefix(stated: String) -> Result<String, Error> {
    if stated.is_empty() {
        return Ok(DEFAULT_VETH_PREFIX.to_owned());
    }
    if stated.len() > LONGEST_VETH_PREFIX {
        let msg = "conf.VethPrefix can be at most 4 characters long";
        return Err(Error::new(Code::InvalidConfig, msg).with_details(stated));
    }
    if !valid_name(&stated) {
        let msg = "conf.VethPrefix can only be letters, digits and _ . -";
        return Err(Error::new(Code::InvalidConfig, msg).with_details(stated));
    }
    Ok(stated)
}

fn enforcing_mode(stated: &str) -> Result<EnforcingMode, Error> {
    match stated {
        "" | "strict" => Ok(EnforcingMode::Strict),
        "standard" => Ok(EnforcingMode::Standard),
        // CNI 1.1.0, code 2: The error message must contain the key and value of the unsupported
        // field.
        _ => Err(Error::new(
            Code::UnsupportedField,
            format!("podSGEnforcingMode {stated:?} must be \"strict\" or \"standard\""),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CNI requirements 13, 14, 15.
    #[test]
    fn the_peers_keys_are_read() {
        let conf = parse(
            r#"{"cniVersion":"0.4.0","name":"aws-cni","type":"aws-cni","mtu":"1500",
                "vethPrefix":"eni","podSGEnforcingMode":"standard","pluginLogLevel":"Debug",
                "pluginLogFile":"/var/log/aws-routed-eni/plugin.log","ipMasq":true,
                "ipam":{"type":"host-local"},"dns":{"nameservers":["10.0.0.2"]},"unheardOf":[1.5],
                "capabilities":{"io.kubernetes.cri.pod-annotations":true},
                "runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"a":"b"}}}"#,
        )
        .unwrap();

        assert_eq!(conf.mtu, Some(1500));
        assert_eq!(conf.veth_prefix, "eni");
        assert_eq!(conf.pod_sg_enforcing_mode, EnforcingMode::Standard);
        assert_eq!(conf.pod_annotations, BTreeMap::from([("a".into(), "b".into())]));
    }

    /// CNI requirement 16.
    #[test]
    fn null_is_the_same_as_absent() {
        let conf = parse(
            r#"{"cniVersion":null,"name":"n","mtu":null,"vethPrefix":null,"prevResult":null,
                "runtimeConfig":{"io.kubernetes.cri.pod-annotations":null}}"#,
        )
        .unwrap();

        assert_eq!(
            conf,
            NetConf { cni_version: Version::V0_1_0, name: "n".into(), ..NetConf::default() }
        );
    }

    /// CNI requirement 13.
    #[test]
    fn an_mtu_that_cannot_be_is_the_default() {
        for (text, want) in [
            (r#""9001""#, 9001),
            (r#""576""#, 576),
            (r#""575""#, 9001),
            (r#""9002""#, 9001),
            (r#""jumbo""#, 9001),
            ("1500", 1500),
            ("-1", 9001),
        ] {
            let conf = parse(&format!(r#"{{"name":"n","mtu":{text}}}"#)).unwrap();

            assert_eq!(conf.mtu, Some(want), "{text}");
        }
    }

    #[test]
    fn a_prefix_leaves_room_for_the_hash() {
        let error = parse(r#"{"name":"n","vethPrefix":"abcde"}"#).unwrap_err();

        assert_eq!(error.code, Code::InvalidConfig);
        assert_eq!(error.msg, "conf.VethPrefix can be at most 4 characters long");
        assert!(parse(r#"{"name":"n","vethPrefix":"a/b"}"#).is_err());
    }

    /// CNI requirement 14.
    #[test]
    fn a_value_that_is_not_supported_is_named_with_its_key() {
        let error = parse(r#"{"name":"n","podSGEnforcingMode":"lax"}"#).unwrap_err();

        assert_eq!(error.code, Code::UnsupportedField);
        assert!(error.msg.starts_with(r#"podSGEnforcingMode "lax""#), "{}", error.msg);
    }

    /// CNI requirement 42.
    #[test]
    fn del_gets_along_with_a_configuration_that_add_refuses() {
        let conf = r#"{"cniVersion":"1.0.0","name":"n","vethPrefix":"abcde",
                       "podSGEnforcingMode":"lax","prevResult":{"ips":[{"address":"x"}]}}"#;

        let parsed = RawConf::parse(conf.as_bytes()).unwrap().check(Command::Del, Version::V1_0_0);

        assert_eq!(
            parsed.unwrap(),
            NetConf { cni_version: Version::V1_0_0, name: "n".into(), ..NetConf::default() }
        );
        assert!(parse(conf).is_err());
    }

    /// CNI requirement 27.
    #[test]
    fn prev_result_is_read_in_the_configurations_version() {
        let conf = parse(
            r#"{"cniVersion":"0.2.0","name":"n","prevResult":{"ip4":{"ip":"10.0.0.5/32"},"dns":{}}}"#,
        )
        .unwrap();

        assert_eq!(conf.prev_result.unwrap().ips[0].address.to_string(), "10.0.0.5/32");
    }

    /// CNI requirement 48.
    #[test]
    fn gc_tells_no_list_from_an_empty_one() {
        let list = |key: &str, value: &str| {
            let conf = format!(r#"{{"cniVersion":"1.1.0","name":"n","{key}":{value}}}"#);
            parse(&conf).unwrap().valid_attachments
        };
        let one = r#"[{"containerID":"c","ifname":"eth0"}]"#;
        let attachment = Attachment { container_id: "c".into(), ifname: "eth0".into() };

        assert_eq!(list("other", "1"), None);
        assert_eq!(list("cni.dev/valid-attachments", "[]"), Some(vec![]));
        assert_eq!(list("cni.dev/valid-attachments", one), Some(vec![attachment.clone()]));
        assert_eq!(list("cni.dev/attachments", one), Some(vec![attachment]));
    }

    fn parse(conf: &str) -> Result<NetConf, Error> {
        let raw = RawConf::parse(conf.as_bytes())?;
        let version = Version::parse(&raw.cni_version)?;
        raw.check(Command::Add, version)
    }
}
