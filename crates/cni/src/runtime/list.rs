//! A network list, as a file in the runtime's configuration folder describes it.

use crate::{AddResult, Command, Error, Version, config::valid_name, version::numbers};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A network: the plugins that are run one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkList {
    /// The network's name.
    pub name: String,
    /// The version that every plugin of the chain is spoken to in.
    pub version: Version,
    /// `disableCheck`: the runtime does not call CHECK.
    pub disable_check: bool,
    /// `disableGC`: the runtime does not call GC.
    pub disable_gc: bool,
    /// The chain.
    pub plugins: Vec<PluginConf>,
    /// The file's text.
    pub text: String,
}

/// One plugin of a network list.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConf {
    /// `type`: the name of the executable.
    pub kind: String,
    /// All its keys.
    pub keys: Map<String, Value>,
}

/// Why a file describes no network. The runtime goes on with the next file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse network list: {0}")]
pub struct ListError(String);

impl NetworkList {
    /// Reads a `.conflist`.
    ///
    /// # Errors
    /// What is wrong, for the log.
    pub fn parse(text: &str) -> Result<Self, ListError> {
        let keys = object(text)?;
        let plugins = keys
            .get("plugins")
            .ok_or_else(|| ListError("no 'plugins' key".into()))?
            .as_array()
            .ok_or_else(|| ListError("'plugins' is no list".into()))?;
        if plugins.is_empty() {
            return Err(ListError("no plugins in list".into()));
        }
        let flag = |key: &str| match keys.get(key) {
            Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
            Some(value) => value.as_bool().unwrap_or_default(),
            None => false,
        };
        Ok(Self {
            name: name(&keys)?,
            version: chosen_version(&keys)?,
            disable_check: flag("disableCheck"),
            disable_gc: flag("disableGC"),
            plugins: plugins.iter().map(PluginConf::parse).collect::<Result<_, _>>()?,
            text: text.to_owned(),
        })
    }

    /// Reads a `.conf` or `.json`: a single plugin, which becomes a list of one.
    ///
    /// # Errors
    /// What is wrong, for the log.
    pub fn parse_plain(text: &str) -> Result<Self, ListError> {
        let keys = object(text)?;
        let plugin = PluginConf::parse(&Value::Object(keys.clone()))?;
        let (name, version) = (name(&keys)?, chosen_version(&keys)?);
        let text = serde_json::json!({
            "name": name, "cniVersion": version.as_str(), "plugins": [keys],
        })
        .to_string();
        Ok(Self {
            name,
            version,
            disable_check: false,
            disable_gc: false,
            plugins: vec![plugin],
            text,
        })
    }

    /// The plugins in the order in which the verb calls them.
    #[must_use]
    pub fn chain(&self, command: Command) -> Vec<&PluginConf> {
        // CNI 1.1.0, "Lifecycle & Ordering": the DEL action must be in reverse order of ADD.
        match command {
            Command::Del => self.plugins.iter().rev().collect(),
            Command::Add | Command::Check | Command::Gc | Command::Status | Command::Version => {
                self.plugins.iter().collect()
            }
        }
    }

    /// DEL and CHECK of this network get the result of ADD.
    #[must_use]
    pub fn keeps_results(&self) -> bool {
        self.version >= Version::V0_4_0
    }

    /// What a plugin of the chain reads from stdin. `capabilities` is what the runtime could give
    /// to plugins that declare it.
    ///
    /// # Errors
    /// The earlier result cannot be said in the network's version.
    pub fn stdin(
        &self,
        plugin: &PluginConf,
        prev_result: Option<&AddResult>,
        capabilities: &BTreeMap<String, Value>,
    ) -> Result<String, Error> {
        let mut keys = plugin.keys.clone();
        keys.insert("name".into(), self.name.as_str().into());
        keys.insert("cniVersion".into(), self.version.as_str().into());
        if let Some(result) = prev_result {
            keys.insert("prevResult".into(), result.to_value(self.version)?);
        }
        // CNI 1.1.0, "Deriving runtimeConfig": the intersection of what the plugin declares with
        // true and what the runtime provides; nothing is inserted when that is empty.
        let declared = keys.get("capabilities").and_then(Value::as_object);
        let given: Map<String, Value> = capabilities
            .iter()
            .filter(|(name, _)| declared.is_some_and(|d| d.get(*name) == Some(&Value::Bool(true))))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !given.is_empty() {
            keys.insert("runtimeConfig".into(), Value::Object(given));
        }
        Ok(Value::Object(keys).to_string())
    }
}

impl PluginConf {
    fn parse(value: &Value) -> Result<Self, ListError> {
        let keys = value.as_object().ok_or_else(|| ListError("a plugin is no object".into()))?;
        let kind = keys.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind.is_empty() || kind.contains('/') {
            return Err(ListError(format!("plugin type {kind:?} is no file name")));
        }
        Ok(Self { kind: kind.to_owned(), keys: keys.clone() })
    }
}

fn object(text: &str) -> Result<Map<String, Value>, ListError> {
    serde_json::from_str(text).map_err(|cause| ListError(cause.to_string()))
}

fn name(keys: &Map<String, Value>) -> Result<String, ListError> {
    let name = keys.get("name").and_then(Value::as_str).unwrap_or_default();
    if !valid_name(name) {
        return Err(ListError(format!("network name {name:?} is not allowed")));
    }
    Ok(name.to_owned())
}

/// The highest that we speak of `cniVersion` and `cniVersions`, as libcni does since 1.2.0.
fn chosen_version(keys: &Map<String, Value>) -> Result<Version, ListError> {
    let text = |value: &Value| {
        let version = value.as_str().map(str::to_owned);
        version.ok_or_else(|| ListError(format!("version {value} is no text")))
    };
    let mut stated: Vec<String> = keys
        .get("cniVersion")
        .filter(|v| !v.is_null())
        .map(text)
        .transpose()?
        .into_iter()
        .collect();
    if let Some(list) = keys.get("cniVersions") {
        let list = list.as_array().ok_or_else(|| ListError("'cniVersions' is no list".into()))?;
        for version in list {
            stated.push(text(version)?);
        }
        for version in stated.iter().filter(|version| !version.is_empty()) {
            numbers(version).ok_or_else(|| ListError(format!("{version:?} is no version")))?;
        }
        stated.retain(|version| numbers(version) <= numbers(Version::LATEST.as_str()));
        stated.sort_by_key(|version| numbers(version));
    }
    let chosen = stated.pop().unwrap_or_default();
    Version::parse(&chosen).map_err(|error| ListError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const CHAIN: &str = r#"{"cniVersion":"1.0.0","name":"aws-cni","disableCheck":true,"plugins":[
        {"type":"aws-cni","name":"other","mtu":"9001",
         "capabilities":{"io.kubernetes.cri.pod-annotations":true,"ips":false}},
        {"type":"portmap","capabilities":{"portMappings":true},"snat":true}]}"#;

    #[test]
    fn a_list_is_read() {
        let list = NetworkList::parse(CHAIN).unwrap();

        assert_eq!((list.name.as_str(), list.version), ("aws-cni", Version::V1_0_0));
        assert_eq!((list.disable_check, list.disable_gc), (true, false));
        let kinds: Vec<_> = list.plugins.iter().map(|plugin| plugin.kind.as_str()).collect();
        assert_eq!(kinds, ["aws-cni", "portmap"]);
    }

    #[test]
    fn del_goes_backwards_through_the_chain() {
        let list = NetworkList::parse(CHAIN).unwrap();

        assert_eq!(list.chain(Command::Add)[0].kind, "aws-cni");
        assert_eq!(list.chain(Command::Check)[0].kind, "aws-cni");
        assert_eq!(list.chain(Command::Del)[0].kind, "portmap");
    }

    #[test]
    fn a_plugin_gets_the_networks_name_and_version() {
        let list = NetworkList::parse(CHAIN).unwrap();

        let stdin = stdin(&list, 0, None, &BTreeMap::new());

        assert_eq!(
            stdin,
            json!({"type": "aws-cni", "name": "aws-cni", "cniVersion": "1.0.0", "mtu": "9001",
                "capabilities": {"io.kubernetes.cri.pod-annotations": true, "ips": false}})
        );
    }

    /// CNI requirement 13.
    #[test]
    fn a_plugin_gets_only_what_it_declares() {
        let list = NetworkList::parse(CHAIN).unwrap();
        let offered = BTreeMap::from([
            ("io.kubernetes.cri.pod-annotations".to_owned(), Value::Null),
            ("ips".to_owned(), json!(["10.0.0.1"])),
            ("portMappings".to_owned(), json!([])),
        ]);

        assert_eq!(
            stdin(&list, 0, None, &offered)["runtimeConfig"],
            json!({"io.kubernetes.cri.pod-annotations": null})
        );
        assert_eq!(stdin(&list, 1, None, &offered)["runtimeConfig"], json!({"portMappings": []}));
    }

    #[test]
    fn the_result_before_is_said_in_the_networks_version() {
        let list = NetworkList::parse(CHAIN).unwrap();
        let result = AddResult::parse(r#"{"ip4":{"ip":"10.0.0.5/32"}}"#, Version::V0_2_0).unwrap();

        assert_eq!(
            stdin(&list, 1, Some(&result), &BTreeMap::new())["prevResult"],
            json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.5/32"}]})
        );
    }

    /// CNI requirement 21.
    #[test]
    fn the_highest_version_that_both_speak_is_chosen() {
        version("", Some(Version::V0_1_0));
        version(r#""cniVersion":"0.4.0","#, Some(Version::V0_4_0));
        version(
            r#""cniVersion":"1.0.0","cniVersions":["0.4.0","1.1.0","1.2.0"],"#,
            Some(Version::V1_1_0),
        );
        version(r#""cniVersion":"1.0.0","cniVersions":["0.4.0"],"#, Some(Version::V1_0_0));
        version(r#""cniVersions":["0.3.1","0.4.0"],"#, Some(Version::V0_4_0));
        version(r#""cniVersion":"9.9.9","#, None);
        version(r#""cniVersions":["soon"],"#, None);
        version(r#""cniVersions":"1.0.0","#, None);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "[]",
            r#"{"name":"n"}"#,
            r#"{"name":"n","plugins":[]}"#,
            r#"{"plugins":[{"type":"p"}]}"#,
            r#"{"name":"n","plugins":[{}]}"#,
            r#"{"name":"n","plugins":[{"type":"../p"}]}"#,
        ] {
            assert!(NetworkList::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_list_that_we_install_is_one_that_we_accept() {
        let list = NetworkList::parse(include_str!("../../../../conf/10-aws.conflist")).unwrap();
        let env = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c"),
            ("CNI_NETNS", "/n"),
            ("CNI_IFNAME", "eth0"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));

        let stdin = list.stdin(&list.plugins[0], None, &BTreeMap::new()).unwrap();
        let request = crate::Request::parse(&env.into(), stdin.as_bytes()).unwrap();

        assert_eq!(list.plugins[0].kind, "aws-cni");
        assert_eq!(request.config.name, "aws-cni");
        assert_eq!(request.config.mtu, Some(9001));
        assert_eq!(request.config.veth_prefix, "eni");
    }

    /// CNI requirement 21.
    #[test]
    fn the_list_that_we_install_asks_no_chained_plugin_for_status() {
        // At 1.1.0 runtimes ask every plugin of the chain, and reference plugins before 1.6 do not
        // know the version: then no pod starts on the node.
        let list = NetworkList::parse(include_str!("../../../../conf/10-aws.conflist")).unwrap();

        assert_eq!(list.version, Version::V0_4_0);
        assert!(list.plugins.len() > 1);
    }

    #[test]
    fn a_plain_file_is_a_list_of_one() {
        let list = NetworkList::parse_plain(
            r#"{"cniVersion":"0.3.1","name":"n","type":"ptp","mtu":1500}"#,
        )
        .unwrap();

        assert_eq!((list.name.as_str(), list.version), ("n", Version::V0_3_1));
        assert_eq!(list.plugins[0].kind, "ptp");
        assert!(!list.keeps_results());
        assert_eq!(NetworkList::parse(&list.text).unwrap().plugins, list.plugins);
        assert!(NetworkList::parse_plain(CHAIN).is_err());
    }

    fn stdin(
        list: &NetworkList,
        plugin: usize,
        prev_result: Option<&AddResult>,
        capabilities: &BTreeMap<String, Value>,
    ) -> Value {
        let text = list.stdin(&list.plugins[plugin], prev_result, capabilities).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    fn version(keys: &str, want: Option<Version>) {
        let text = format!(r#"{{{keys}"name":"n","plugins":[{{"type":"p"}}]}}"#);
        assert_eq!(NetworkList::parse(&text).ok().map(|list| list.version), want);
    }
}
