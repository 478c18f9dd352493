//! Environment and stdin of one call, checked: what the plugin is asked to do.

use crate::{
    Code, Command, Error, NetConf, Version,
    command::{missing, variable},
    config::{RawConf, valid_name},
    version::numbers,
};
use std::collections::BTreeMap;

/// One call of the runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What to do.
    pub command: Command,
    /// The container; empty for GC, STATUS and VERSION.
    pub container_id: String,
    /// Path of its network namespace. On DEL it may be absent, or gone.
    pub netns: Option<String>,
    /// `CNI_NETNS_OVERRIDE`: the namespace may be the plugin's own.
    pub netns_override: bool,
    /// Name of the interface in the container; empty for GC, STATUS and VERSION.
    pub ifname: String,
    /// The pod, as far as the runtime tells.
    pub args: PodArgs,
    /// The network.
    pub config: NetConf,
}

impl Request {
    /// Checks everything that can be checked without looking at the machine, in the order of the
    /// reference library. VERSION takes any environment and any stdin.
    ///
    /// # Errors
    /// What to print; [`Error::to_json`].
    pub fn parse(env: &BTreeMap<String, String>, stdin: &[u8]) -> Result<Self, Error> {
        let command = Command::parse(env)?;
        let parsed = Self::parse_for(command, env, stdin);
        if command == Command::Del { parsed.map_err(Error::for_del) } else { parsed }
    }

    fn parse_for(
        command: Command,
        env: &BTreeMap<String, String>,
        stdin: &[u8],
    ) -> Result<Self, Error> {
        // CNI 1.1.0, code 4: the error message must contain the names of invalid variables.
        let absent: Vec<&str> = command
            .required()
            .iter()
            .copied()
            .filter(|name| variable(env, name).is_none())
            .collect();
        if !absent.is_empty() {
            return Err(missing(&absent));
        }
        if command == Command::Version {
            return Ok(Self::version());
        }

        let raw = RawConf::parse(stdin)?;
        let container_id = variable(env, "CNI_CONTAINERID").unwrap_or_default();
        let ifname = variable(env, "CNI_IFNAME").unwrap_or_default();
        if command.is_about_an_attachment() {
            check_container_id(container_id)?;
            check_ifname(ifname)?;
        }
        let version = version_for(command, &raw.cni_version)?;

        Ok(Self {
            command,
            container_id: container_id.to_owned(),
            netns: variable(env, "CNI_NETNS").map(str::to_owned),
            netns_override: variable(env, "CNI_NETNS_OVERRIDE")
                .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true")),
            ifname: ifname.to_owned(),
            args: pod_args(command, variable(env, "CNI_ARGS").unwrap_or_default())?,
            config: raw.check(command, version)?,
        })
    }

    fn version() -> Self {
        Self {
            command: Command::Version,
            container_id: String::new(),
            netns: None,
            netns_override: false,
            ifname: String::new(),
            args: PodArgs::default(),
            config: NetConf::default(),
        }
    }
}

/// What `CNI_ARGS` tells about the pod. Runtimes outside Kubernetes send none or few of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodArgs {
    /// `K8S_POD_NAMESPACE`
    pub namespace: Option<String>,
    /// `K8S_POD_NAME`
    pub name: Option<String>,
    /// `K8S_POD_UID`
    pub uid: Option<String>,
    /// `K8S_POD_INFRA_CONTAINER_ID`
    pub infra_container_id: Option<String>,
}

impl PodArgs {
    /// Reads `K=V;K=V` as the reference library's `LoadArgs` does: unknown keys are an error
    /// unless `IgnoreUnknown` is true, wherever it stands.
    ///
    /// # Errors
    /// [`Code::InvalidEnvironment`]
    pub fn parse(args: &str) -> Result<Self, Error> {
        let wrong = |msg: String| Error::new(Code::InvalidEnvironment, msg);
        let (mut pod, mut unknown, mut ignore_unknown) = (Self::default(), Vec::new(), false);
        for pair in args.split(';').filter(|_| !args.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| wrong(format!("ARGS: invalid pair {pair:?}")))?;
            let value = value.to_owned();
            match key {
                "K8S_POD_NAMESPACE" => pod.namespace = Some(value),
                "K8S_POD_NAME" => pod.name = Some(value),
                "K8S_POD_UID" => pod.uid = Some(value),
                "K8S_POD_INFRA_CONTAINER_ID" => pod.infra_container_id = Some(value),
                "IgnoreUnknown" => {
                    ignore_unknown = match value.to_ascii_lowercase().as_str() {
                        "1" | "true" => true,
                        "0" | "false" => false,
                        _ => {
                            return Err(wrong(format!(
                                "ARGS: error parsing value of pair {pair:?}"
                            )));
                        }
                    }
                }
                _ => unknown.push(pair),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(wrong(format!("ARGS: unknown args {unknown:?}")));
        }
        for field in [&mut pod.namespace, &mut pod.name, &mut pod.uid, &mut pod.infra_container_id]
        {
            field.take_if(|value| value.is_empty());
        }
        Ok(pod)
    }
}

fn pod_args(command: Command, args: &str) -> Result<PodArgs, Error> {
    match command {
        Command::Add | Command::Check => PodArgs::parse(args),
        // CNI 1.1.0, "DEL": Plugins should generally complete a DEL action without error even if
        // some resources are missing. The container id alone says what to release.
        Command::Del => Ok(PodArgs::parse(args).unwrap_or_default()),
        Command::Gc | Command::Status | Command::Version => Ok(PodArgs::default()),
    }
}

/// The configuration's version, and that it has the verb. An unknown version is refused after the
/// verb was found to exist in it, as the reference library does.
fn version_for(command: Command, stated: &str) -> Result<Version, Error> {
    let since = match command {
        Command::Check => Some(Version::V0_4_0),
        Command::Gc | Command::Status => Some(Version::V1_1_0),
        Command::Add | Command::Del | Command::Version => None,
    };
    if let Some(since) = since {
        let stated = if stated.is_empty() { Version::V0_1_0.as_str() } else { stated };
        let found = numbers(stated).ok_or_else(|| {
            Error::new(Code::Decode, format!("cniVersion {stated:?} of the config is no version"))
        })?;
        if Some(found) < numbers(since.as_str()) {
            let msg = format!("config version does not allow {command}");
            return Err(Error::new(Code::IncompatibleVersion, msg));
        }
    }
    Version::parse(stated)
}

fn check_container_id(id: &str) -> Result<(), Error> {
    // CNI 1.1.0, CNI_CONTAINERID: Must start with an alphanumeric character, optionally followed
    // by any combination of one or more alphanumeric characters, underscore, dot or hyphen.
    if valid_name(id) {
        return Ok(());
    }
    Err(Error::new(Code::InvalidEnvironment, "invalid characters in containerID").with_details(id))
}

fn check_ifname(name: &str) -> Result<(), Error> {
    /// Bytes of a name in the kernel, without the final zero (`IFNAMSIZ`).
    const LONGEST: usize = 15;
    let wrong = |msg: &str| Err(Error::new(Code::InvalidEnvironment, msg));
    if name.len() > LONGEST {
        return wrong("interface name is too long")
            .map_err(|e| e.with_details("interface name should be less than 16 characters"));
    }
    if name == "." || name == ".." {
        return wrong("interface name is . or ..");
    }
    if name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        return wrong("interface name contains / or : or whitespace characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"{"cniVersion":"1.1.0","name":"aws-cni","type":"aws-cni"}"#;

    /// CNI requirement 1.
    #[test]
    fn an_add_of_containerd_is_understood() {
        let mut env = env("ADD");
        env.insert(
            "CNI_ARGS".into(),
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;\
             K8S_POD_INFRA_CONTAINER_ID=c0ffee;K8S_POD_UID=u-1"
                .into(),
        );

        let request = Request::parse(&env, CONF.as_bytes()).unwrap();

        assert_eq!(request.command, Command::Add);
        assert_eq!(request.container_id, "c0ffee");
        assert_eq!(request.netns.as_deref(), Some("/run/netns/p"));
        assert_eq!(request.ifname, "eth0");
        assert!(!request.netns_override);
        assert_eq!(request.args.namespace.as_deref(), Some("default"));
        assert_eq!(request.args.name.as_deref(), Some("web-0"));
        assert_eq!(request.args.infra_container_id.as_deref(), Some("c0ffee"));
        assert_eq!(request.args.uid.as_deref(), Some("u-1"));
        assert_eq!(request.config.cni_version, Version::V1_1_0);
        assert_eq!(request.config.name, "aws-cni");
    }

    /// CNI requirements 2, 3.
    #[test]
    fn every_missing_variable_is_named_at_once() {
        refused(&[("CNI_COMMAND", "")], CONF, 4, "required env variables [CNI_COMMAND] missing");
        refused(&[("CNI_COMMAND", "FOO")], CONF, 4, "unknown CNI_COMMAND: FOO");
        refused(
            &[("CNI_CONTAINERID", ""), ("CNI_NETNS", ""), ("CNI_IFNAME", "")],
            CONF,
            4,
            "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing",
        );
        refused(
            &[("CNI_COMMAND", "DEL"), ("CNI_NETNS", ""), ("CNI_IFNAME", "")],
            CONF,
            4,
            "required env variables [CNI_IFNAME] missing",
        );
    }

    /// CNI requirements 5, 6.
    #[test]
    fn container_and_interface_names_are_checked() {
        for id in ["a b", "-a", "ü", "a/b"] {
            refused(&[("CNI_CONTAINERID", id)], CONF, 4, "invalid characters in containerID");
        }
        refused(&[("CNI_IFNAME", "abcdefghijklmnop")], CONF, 4, "interface name is too long");
        refused(&[("CNI_IFNAME", "..")], CONF, 4, "interface name is . or ..");
        for name in ["et/0", "et:0", "et 0", "et\u{a0}0"] {
            let msg = "interface name contains / or : or whitespace characters";
            refused(&[("CNI_IFNAME", name)], CONF, 4, msg);
        }
    }

    /// CNI requirement 5.
    #[test]
    fn a_container_id_may_be_of_any_length() {
        let mut env = env("ADD");
        env.insert("CNI_CONTAINERID".into(), "k8s.io-c1_x".repeat(40));

        assert!(Request::parse(&env, CONF.as_bytes()).is_ok());
    }

    /// CNI requirement 7.
    #[test]
    fn a_configuration_needs_a_network_name() {
        for conf in ["{}", r#"{"name":null}"#, r#"{"name":""}"#] {
            refused(&[], conf, 7, "missing network name");
        }
        refused(&[], r#"{"name":"a/b"}"#, 7, "invalid characters found in network name");
        for conf in ["", "garbage", "[]", r#"{"name":1}"#] {
            let error = Request::parse(&env("ADD"), conf.as_bytes()).unwrap_err();

            assert_eq!(error.code.number(), 6, "{conf}");
            let refused = "error unmarshall network config: ";
            assert!(error.msg.starts_with(refused), "{conf}: {}", error.msg);
        }
    }

    #[test]
    fn a_version_that_nobody_speaks_is_refused() {
        for version in ["9.9.9", "1.2.0", "abc"] {
            let conf = format!(r#"{{"cniVersion":"{version}","name":"n"}}"#);

            refused(&[], &conf, 1, "incompatible CNI versions");
        }
    }

    /// CNI requirement 18.
    #[test]
    fn a_verb_needs_a_version_that_has_it() {
        let conf = |version| format!(r#"{{"cniVersion":"{version}","name":"n"}}"#);
        let verb = |command| [("CNI_COMMAND", command)];

        let msg = "config version does not allow CHECK";
        refused(&verb("CHECK"), &conf("0.3.1"), 1, msg);
        refused(&verb("CHECK"), r#"{"name":"n"}"#, 1, msg);
        refused(&verb("GC"), &conf("1.0.0"), 1, "config version does not allow GC");
        refused(&verb("STATUS"), &conf("1.0.0"), 1, "config version does not allow STATUS");
        refused(&verb("CHECK"), &conf("9.9.9"), 1, "incompatible CNI versions");
        refused(&verb("CHECK"), &conf("abc"), 6, "cniVersion \"abc\" of the config is no version");
        assert!(Request::parse(&env("CHECK"), conf("0.4.0").as_bytes()).is_ok());
    }

    /// CNI requirement 12.
    #[test]
    fn version_takes_any_environment_and_stdin() {
        let env = BTreeMap::from([
            ("CNI_COMMAND".to_owned(), "VERSION".to_owned()),
            ("CNI_IFNAME".to_owned(), "not/a/name".to_owned()),
        ]);

        assert_eq!(Request::parse(&env, b"garbage").unwrap().command, Command::Version);
    }

    /// CNI requirement 2.
    #[test]
    fn status_needs_nothing_but_the_network() {
        let env = BTreeMap::from([
            ("CNI_COMMAND".to_owned(), "STATUS".to_owned()),
            ("CNI_CONTAINERID".to_owned(), String::new()),
        ]);

        assert_eq!(Request::parse(&env, CONF.as_bytes()).unwrap().command, Command::Status);
    }

    /// CNI requirement 8.
    #[test]
    fn the_own_namespace_can_be_allowed() {
        for (value, want) in [("1", true), ("TRUE", true), ("true", true), ("yes", false)] {
            let mut env = env("ADD");
            env.insert("CNI_NETNS_OVERRIDE".into(), value.into());

            let request = Request::parse(&env, CONF.as_bytes()).unwrap();
            assert_eq!(request.netns_override, want, "{value}");
        }
    }

    /// CNI requirement 9.
    #[test]
    fn args_follow_load_args() {
        let good = |args| PodArgs::parse(args).unwrap();
        let bad = |args| PodArgs::parse(args).unwrap_err().msg;

        assert_eq!(good(""), PodArgs::default());
        assert_eq!(good("FOO=1;IgnoreUnknown=True;K8S_POD_NAME=a").name.as_deref(), Some("a"));
        assert_eq!(good("K8S_POD_NAME=").name, None);
        assert_eq!(bad("K8S_POD_NAME=a;"), r#"ARGS: invalid pair """#);
        assert_eq!(
            bad("IgnoreUnknown=1;K8S_POD_NAME=a=b"),
            r#"ARGS: invalid pair "K8S_POD_NAME=a=b""#
        );
        assert_eq!(bad("IP=1;MAC=2"), r#"ARGS: unknown args ["IP=1", "MAC=2"]"#);
        assert_eq!(
            bad("IgnoreUnknown=0;k8s_pod_name=a"),
            r#"ARGS: unknown args ["k8s_pod_name=a"]"#
        );
        assert!(bad("IgnoreUnknown=maybe").contains("IgnoreUnknown=maybe"));
    }

    /// CNI requirement 41.
    #[test]
    fn del_needs_neither_namespace_nor_readable_args() {
        let mut env = env("DEL");
        env.remove("CNI_NETNS");
        env.insert("CNI_ARGS".into(), "what=is=this".into());

        let request = Request::parse(&env, CONF.as_bytes()).unwrap();

        assert_eq!((request.netns, request.args), (None, PodArgs::default()));
    }

    fn env(command: &str) -> BTreeMap<String, String> {
        [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", "c0ffee"),
            ("CNI_NETNS", "/run/netns/p"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    #[track_caller]
    fn refused(changes: &[(&str, &str)], conf: &str, code: u32, msg: &str) {
        let mut env = env("ADD");
        for (name, value) in changes {
            env.insert((*name).to_owned(), (*value).to_owned());
        }

        let error = Request::parse(&env, conf.as_bytes()).unwrap_err();

        assert_eq!((error.code.number(), error.msg.as_str()), (code, msg));
    }
}
