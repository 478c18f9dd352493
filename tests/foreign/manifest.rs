//! A DaemonSet as Python's libraries write it, judged by `ipamd settings --check`.

use crate::python;
use std::{fs, path::Path, process::Command};
use tests::{command::run, repository};

/// Writes our DaemonSet with one more variable, as JSON or as YAML.
const CHANGE: &str = "
import json, sys, yaml
manifest, name, value, to = sys.argv[1:]
daemonset = yaml.safe_load(open(manifest))
env = daemonset['spec']['template']['spec']['containers'][0]['env']
env.append({'name': name, 'value': value})
with open(to, 'w') as file:
    if to.endswith('json'):
        json.dump({'kind': 'List', 'items': [daemonset]}, file, indent=4)
    else:
        yaml.safe_dump_all([{'kind': 'ServiceAccount'}, daemonset], file)
";

#[test]
fn what_libraries_write_of_a_daemonset_is_judged_with_the_line_of_what_is_wrong() {
    let manifest = repository().join("conf/daemonset.yaml");
    for (name, value, to, says) in [
        ("ENABLE_POD_ENI", "true", "ds.yaml", "security groups for pods are not supported"),
        ("WARM_IP_TARGET", "many", "ds.json", "must be a whole number"),
    ] {
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("judged-{to}"));
        let arguments = ["-c", CHANGE, manifest.to_str().unwrap(), name, value];
        python::run(&[&arguments[..], &[to.to_str().unwrap()]].concat(), &[]).unwrap();

        let mut check = Command::new(tests::binary("ipamd"));
        let judged = run(check.args(["settings", "--check"]).arg(&to), "");

        let said = String::from_utf8_lossy(&judged.stdout).into_owned();
        assert_eq!(judged.status.code(), Some(1), "{said}");
        let text = fs::read_to_string(&to).unwrap();
        let line = text.lines().position(|line| line.contains(name)).unwrap() + 1;
        let want = format!("{}:{line}: aws-node: refused: {name}=`{value}`: {says}", to.display());
        assert!(said.contains(&want), "{want}: {said}");
        assert!(said.ends_with("the daemon does not start: 1 refused, 1 warnings\n"), "{said}");
    }
}
