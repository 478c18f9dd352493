//! The runtime's side: which network a file describes, and what each plugin of its chain gets.
//!
//! Pure; written after libcni, which containerd, cri-o and podman share.

mod cache;
mod list;

pub use cache::CachedResult;
pub use list::{ListError, NetworkList, PluginConf};

use crate::{AddResult, Command, Error, Version};
use serde_json::Value;
use std::collections::BTreeMap;

/// One interface of one container, as the runtime calls for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The container.
    pub container_id: String,
    /// Path of its network namespace; empty when it is gone.
    pub netns: String,
    /// The interface's name in it.
    pub ifname: String,
    /// `CNI_ARGS` in the order in which they are sent.
    pub args: Vec<(String, String)>,
    /// Folders in which plugins are looked for, with colons between.
    pub path: String,
}

impl Call {
    /// The CNI variables of a plugin's environment.
    #[must_use]
    pub fn env(&self, command: Command) -> BTreeMap<String, String> {
        let args: Vec<_> = self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        [
            ("CNI_COMMAND", command.as_str()),
            ("CNI_CONTAINERID", &self.container_id),
            ("CNI_NETNS", &self.netns),
            ("CNI_ARGS", &args.join(";")),
            ("CNI_IFNAME", &self.ifname),
            ("CNI_PATH", &self.path),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }
}

/// Reads what a plugin printed for ADD: in the version that the document states, or else in the
/// configuration's.
///
/// # Errors
/// The text is no result.
pub fn parse_output(stdout: &str, version: Version) -> Result<AddResult, Error> {
    let value: Value =
        serde_json::from_str(stdout).map_err(|cause| crate::wire::undecodable(&cause))?;
    let version = match value.get("cniVersion").and_then(Value::as_str) {
        Some(stated) if !stated.is_empty() => Version::parse(stated)?,
        Some(_) | None => version,
    };
    AddResult::from_value(value, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_gets_six_variables() {
        let call = Call {
            container_id: "c0ffee".into(),
            netns: String::new(),
            ifname: "eth0".into(),
            args: vec![
                ("IgnoreUnknown".into(), "1".into()),
                ("K8S_POD_NAME".into(), "web-0".into()),
            ],
            path: "/opt/cni/bin".into(),
        };

        let env = call.env(Command::Del);

        let want = [
            ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=web-0"),
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c0ffee"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", ""),
            ("CNI_PATH", "/opt/cni/bin"),
        ];
        assert!(env.iter().map(|(name, value)| (&**name, &**value)).eq(want));
    }

    /// CNI requirement 20.
    #[test]
    fn output_is_read_in_the_version_it_states() {
        let stated = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.5/32"}}"#;
        let silent = r#"{"ips":[{"address":"10.0.0.5/32"}]}"#;

        for output in [stated, silent] {
            let read = parse_output(output, Version::V1_0_0).unwrap();
            assert_eq!(read.ips.len(), 1, "{output}");
        }
        for output in ["", "not json", r#"{"cniVersion":"9.9.9"}"#] {
            assert!(parse_output(output, Version::V1_0_0).is_err(), "{output}");
        }
    }
}
