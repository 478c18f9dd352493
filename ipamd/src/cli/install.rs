//! Puts the plugin and its configuration where the container runtime looks for them.

use crate::settings::Settings;
use anyhow::{Context, Result};
use cni::names::PLUGIN;
use serde_json::Value;
use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

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
    Ok(serde_json::to_string_pretty(&conflist)?)
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
    }
}
