//! What this process was given: for our settings, and for libraries that read it themselves.

use anyhow::{Context, Result};
use std::{
    collections::BTreeMap, env, ffi::OsString, os::unix::process::CommandExt, process::Command,
};

/// First letters of variables that libraries read, in capitals.
const OF_LIBRARIES: &[&str] =
    &["AWS_", "KUBE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"];

/// The variables of this process, read once.
pub(super) fn variables() -> BTreeMap<String, String> {
    let text = |it: OsString| it.to_string_lossy().into_owned();
    env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// Makes libraries read what our settings read: a variable that is set and empty is not set, and
/// spaces around a value are not part of it. The libraries of AWS take the empty text for an address,
/// and panic. Where something is to change, this program starts anew in its own process: another
/// thread may read the environment at any time once there is one.
///
/// # Errors
/// It cannot start anew.
pub(super) fn tidy() -> Result<()> {
    let Some(tidied) = tidied(&variables()) else { return Ok(()) };
    let own =
        env::current_exe().context("find this program, to start it without empty variables")?;
    let mut arguments = env::args_os();
    let mut anew = Command::new(&own);
    if let Some(name) = arguments.next() {
        anew.arg0(name);
    }
    let failed = anew.args(arguments).env_clear().envs(tidied).exec();
    Err(failed).with_context(|| format!("start {} without empty variables", own.display()))
}

/// The environment as libraries should read it, if they would not read that already.
fn tidied(variables: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let tidied: BTreeMap<_, _> = variables
        .iter()
        .filter_map(|(name, value)| {
            let capitals = name.to_ascii_uppercase();
            if !OF_LIBRARIES.iter().any(|first| capitals.starts_with(first)) {
                return Some((name.clone(), value.clone()));
            }
            let value = if capitals == "NO_PROXY" { items(value) } else { value.trim().to_owned() };
            (!value.is_empty()).then(|| (name.clone(), value))
        })
        .collect();
    (tidied != *variables).then_some(tidied)
}

/// A list without items that are empty: the Kubernetes client refuses them.
fn items(list: &str) -> String {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_read_has_no_empty_variable_and_no_spaces() {
        let given = of(&[
            ("AWS_ENDPOINT_URL_EC2", ""),
            ("AWS_CA_BUNDLE", " /ca.pem\n"),
            ("KUBECONFIG", " "),
            ("https_proxy", ""),
            ("NO_PROXY", "10.0.0.0/8, .internal,,"),
            ("EMPTY", ""),
            ("WARM_IP_TARGET", " 5 "),
        ]);

        let tidied = tidied(&given).unwrap();

        let want = of(&[
            ("AWS_CA_BUNDLE", "/ca.pem"),
            ("NO_PROXY", "10.0.0.0/8,.internal"),
            ("EMPTY", ""),
            ("WARM_IP_TARGET", " 5 "),
        ]);
        assert_eq!(tidied, want);
        assert_eq!(super::tidied(&tidied), None, "it starts anew once");
    }

    fn of(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }
}
