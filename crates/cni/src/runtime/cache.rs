//! The result that a runtime keeps until DEL, in libcni's format.

use super::{Call, NetworkList};
use crate::{AddResult, Error};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// libcni's name of the format.
const KIND: &str = "cniCacheV1";

/// What ADD got and made: the file `<network>-<container>-<interface>` in the runtime's folder of
/// results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CachedResult {
    kind: String,
    /// The container.
    #[serde(rename = "containerId")]
    pub container_id: String,
    /// The network list's text, in base64.
    config: String,
    /// The interface's name in the container.
    #[serde(rename = "ifName")]
    pub ifname: String,
    /// The network's name.
    #[serde(rename = "networkName")]
    pub network: String,
    /// Path of the container's network namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub netns: String,
    /// `CNI_ARGS`
    #[serde(rename = "cniArgs", default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<(String, String)>,
    /// What the runtime offered to plugins that declare it.
    #[serde(rename = "capabilityArgs", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capabilities: BTreeMap<String, Value>,
    /// The result of the chain in the network's version.
    result: Value,
}

impl CachedResult {
    /// What to keep of an ADD.
    ///
    /// # Errors
    /// The result cannot be said in the network's version.
    pub fn new(
        list: &NetworkList,
        call: &Call,
        capabilities: &BTreeMap<String, Value>,
        result: &AddResult,
    ) -> Result<Self, Error> {
        Ok(Self {
            kind: KIND.to_owned(),
            container_id: call.container_id.clone(),
            config: BASE64_STANDARD.encode(&list.text),
            ifname: call.ifname.clone(),
            network: list.name.clone(),
            netns: call.netns.clone(),
            args: call.args.clone(),
            capabilities: capabilities.clone(),
            result: result.to_value(list.version)?,
        })
    }

    /// Name of the file.
    #[must_use]
    pub fn file_name(network: &str, container_id: &str, ifname: &str) -> String {
        format!("{network}-{container_id}-{ifname}")
    }

    /// Reads a file. `None` when it is not one of ours: libcni then goes on without.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().filter(|cached: &Self| cached.kind == KIND)
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_value(self).map(|value| value.to_string()).unwrap_or_default()
    }

    /// The network list of that time.
    #[must_use]
    pub fn list(&self) -> Option<NetworkList> {
        let text = String::from_utf8(BASE64_STANDARD.decode(&self.config).ok()?).ok()?;
        NetworkList::parse(&text).ok()
    }

    /// The result. `None` when it cannot be read.
    #[must_use]
    pub fn result(&self) -> Option<AddResult> {
        super::parse_output(&self.result.to_string(), self.list()?.version).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;
    use serde_json::json;

    #[test]
    fn a_result_is_kept_as_libcni_keeps_it() {
        let (list, call, result) = add();

        let cached = CachedResult::new(&list, &call, &BTreeMap::new(), &result).unwrap();

        let file: Value = serde_json::from_str(&cached.to_json()).unwrap();
        assert_eq!(
            file,
            json!({"kind": "cniCacheV1", "containerId": "c", "ifName": "eth0",
                "networkName": "n", "netns": "/n", "cniArgs": [["IgnoreUnknown", "1"]],
                "config": BASE64_STANDARD.encode(&list.text),
                "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/32"}]}})
        );
        assert_eq!(CachedResult::file_name("n", "c", "eth0"), "n-c-eth0");
    }

    #[test]
    fn what_was_kept_can_be_read() {
        let (list, call, result) = add();
        let cached = CachedResult::new(&list, &call, &BTreeMap::new(), &result).unwrap();

        let read = CachedResult::parse(&cached.to_json()).unwrap();

        assert_eq!(read.result(), Some(result));
        assert_eq!(read.list(), Some(list));
    }

    #[test]
    fn a_file_of_another_kind_is_none() {
        assert_eq!(CachedResult::parse(""), None);
        assert_eq!(CachedResult::parse(r#"{"kind":"cniCacheV2"}"#), None);
    }

    fn add() -> (NetworkList, Call, AddResult) {
        let list =
            NetworkList::parse(r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"p"}]}"#)
                .unwrap();
        let call = Call {
            container_id: "c".into(),
            netns: "/n".into(),
            ifname: "eth0".into(),
            args: vec![("IgnoreUnknown".into(), "1".into())],
            path: "/bin".into(),
        };
        let result =
            AddResult::parse(r#"{"ips":[{"address":"10.0.0.5/32"}]}"#, Version::V1_0_0).unwrap();
        (list, call, result)
    }
}
