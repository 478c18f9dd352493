//! Puts the plugin and its configuration where the container runtime looks for them.

use super::plugin;
use crate::settings::{RuntimeVerbs, Settings};
use anyhow::{Context, Result};
use cni::{Version, names::PLUGIN};
use serde_json::{Value, json};
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tracing::warn;

/// Name of its configuration.
const CONFLIST: &str = "10-aws.conflist";

/// The configuration with its defaults.
const TEMPLATE: &str = include_str!("../../../conf/10-aws.conflist");

/// Installs the plugin; it can be run while runtimes use the one before it.
pub(crate) fn plugin(settings: &Settings) -> Result<()> {
    let from = settings.plugin.clone().map_or_else(|| beside(PLUGIN), Ok)?;
    let bytes = fs::read(&from).with_context(|| format!("read the plugin {}", from.display()))?;
    put(&settings.cni_bin.join(PLUGIN), &bytes, 0o755)
}

/// What has a name in the folder of the daemon's executable.
pub(super) fn beside(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("find the daemon's own executable")?;
    Ok(own.with_file_name(name))
}

/// Whether a configuration of this name is there, whoever installed it: then the node is Ready already.
pub(super) fn has_conflist(settings: &Settings) -> bool {
    settings.cni_conf.join(CONFLIST).exists()
}

/// Installs the configuration: from then on the runtime starts pods.
pub(crate) fn conflist(settings: &Settings) -> Result<()> {
    put(&settings.cni_conf.join(CONFLIST), render(settings)?.as_bytes(), 0o644)
}

/// The template with the settings filled in, without chained plugins that are not installed: a
/// runtime cannot start any pod with those.
fn render(settings: &Settings) -> Result<String> {
    let mut conflist: Value =
        serde_json::from_str(TEMPLATE).context("understand the template of the conflist")?;
    let plugins = conflist["plugins"].as_array_mut().context("the template has no plugins")?;
    plugins.retain(|plugin| match plugin["type"].as_str() {
        Some(PLUGIN) | None => true,
        Some(chained) => settings.cni_bin.join(chained).exists(),
    });
    if let Some(own) = plugins.first_mut() {
        own["vethPrefix"] = settings.veth_prefix.as_str().into();
        own["mtu"] = settings.pod_mtu.to_string().into();
        own["pluginLogFile"] = settings.plugin_log_file.as_str().into();
        own["pluginLogLevel"] = settings.plugin_log_level.as_str().into();
    }
    if settings.verbs == RuntimeVerbs::WithStatus {
        offer_status(&mut conflist, &settings.cni_bin);
    }
    Ok(serde_json::to_string_pretty(&conflist)?)
}

/// Has runtimes that know CNI 1.1.0 ask for STATUS and GC, unless a chained plugin does not know them: it
/// would be asked as well, and fail, and the node be NotReady.
fn offer_status(conflist: &mut Value, folder: &Path) {
    let chained = conflist["plugins"].as_array().into_iter().flatten();
    let chained = chained.filter_map(|it| it["type"].as_str()).filter(|it| *it != PLUGIN);
    for name in chained {
        match plugin::knows_status(&folder.join(name)) {
            Ok(true) => {}
            Ok(false) => {
                warn!(
                    plugin = name,
                    "the network list asks for no STATUS: a chained plugin does not know it; update it in the folder of CNI plugins"
                );
                return;
            }
            Err(error) => {
                warn!(
                    plugin = name,
                    error = format!("{error:#}"),
                    "the network list asks for no STATUS: failed to learn whether a chained plugin knows it"
                );
                return;
            }
        }
    }
    // CNI 1.1.0, "Configuration format": cniVersions is the list of all versions that this configuration
    // supports. Runtimes from before it read `cniVersion` alone.
    let stated = conflist["cniVersion"].take();
    conflist["cniVersions"] = json!([&stated, Version::V1_1_0.as_str()]);
    conflist["cniVersion"] = stated;
}

/// Writes a file beside its place and renames it: nobody sees half a file, a running plugin is not
/// overwritten, and the runtime's watch of the folder notices (it ignores moves from elsewhere). A
/// file that is as it should be is left alone: a change makes runtimes wait for running plugins.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let fresh = path.with_extension("tmp");
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&fresh, bytes)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(mode))?;
        fs::rename(&fresh, path)
    };
    write().with_context(|| format!("install {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// CNI requirement 33.
    #[test]
    fn a_file_is_replaced_by_another_and_never_written_over() {
        use std::{io::Read, os::unix::fs::MetadataExt};
        let folder = env::temp_dir().join(format!("ipamd-install-{}", std::process::id()));
        let path = folder.join("aws-cni");
        let inode = || fs::metadata(&path).unwrap().ino();

        put(&path, b"old", 0o755).unwrap();
        let (first, mut running) = (inode(), fs::File::open(&path).unwrap());
        put(&path, b"old", 0o755).unwrap();
        let unchanged = inode();
        put(&path, b"new", 0o755).unwrap();
        let mut seen = String::new();
        running.read_to_string(&mut seen).unwrap();
        let (last, files) = (inode(), fs::read_dir(&folder).unwrap().count());
        let _ = fs::remove_dir_all(&folder);

        assert_eq!((unchanged, seen.as_str(), files), (first, "old", 1));
        assert_ne!(last, first);
    }

    #[test]
    fn the_configuration_is_json_with_the_settings_filled_in() {
        let environment = [
            ("AWS_VPC_K8S_CNI_VETHPREFIX", "pod"),
            ("POD_MTU", "1400"),
            ("AWS_VPC_K8S_PLUGIN_LOG_FILE", "/a\"b"),
        ];
        let environment: BTreeMap<String, String> =
            environment.map(|(name, value)| (name.into(), value.into())).into();

        let rendered = render(&Settings::read(&environment).unwrap()).unwrap();

        let conflist: serde_json::Value = serde_json::from_str(&rendered).unwrap();
        let plugin = &conflist["plugins"][0];
        assert_eq!(conflist["name"], "aws-cni");
        assert_eq!(plugin["type"], PLUGIN);
        assert_eq!((&plugin["vethPrefix"], &plugin["mtu"]), (&"pod".into(), &"1400".into()));
        assert_eq!(plugin["pluginLogFile"], "/a\"b");
        assert_eq!(conflist["plugins"][1], Value::Null, "portmap is not installed in this test");
        assert_eq!(conflist["cniVersion"], "0.4.0");
        assert_eq!(conflist["cniVersions"], Value::Null, "nobody asked for it");
    }

    /// CNI requirement 21.
    #[test]
    fn status_is_asked_for_where_it_is_set_and_every_chained_plugin_knows_it() {
        let knows =
            r#"echo '{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}'"#;
        let does_not = r#"echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'"#;

        check("true", knows, json!(["0.4.0", "1.1.0"]));
        check("true", does_not, Value::Null);
        check("true", "echo 'no such command' >&2; exit 1", Value::Null);
        check("false", knows, Value::Null);

        #[track_caller]
        fn check(set: &str, portmap: &str, want: Value) {
            let folder = env::temp_dir().join(format!("ipamd-status-{}", std::process::id()));
            let script =
                format!("#!/bin/sh\n[ \"$CNI_COMMAND\" = VERSION ] || exit 1\n{portmap}\n");
            put(&folder.join("portmap"), script.as_bytes(), 0o755).unwrap();
            let environment =
                [("HOST_CNI_BIN_PATH", folder.to_str().unwrap()), ("ENI_CNI_STATUS", set)];
            let environment: BTreeMap<String, String> =
                environment.map(|(name, value)| (name.into(), value.into())).into();

            let rendered = render(&Settings::read(&environment).unwrap()).unwrap();

            fs::remove_dir_all(&folder).unwrap();
            let list: Value = serde_json::from_str(&rendered).unwrap();
            assert_eq!(list["plugins"][1]["type"], "portmap");
            assert_eq!((&list["cniVersion"], &list["cniVersions"]), (&json!("0.4.0"), &want));
        }
    }
}
