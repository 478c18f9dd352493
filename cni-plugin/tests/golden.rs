//! The built executable beside what the reference library answers to the same wrong requests.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod program;

use serde_json::{Value, json};
use std::process::Output;

const CONF: &str = r#"{"cniVersion":"1.1.0","name":"aws-cni","type":"aws-cni"}"#;

/// Supported versions as the reference library lists them.
const SPOKEN: &str = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;

/// CNI requirements 3, 4.
#[test]
fn variables_that_are_missing_are_named_all_at_once() {
    let output = run(&[("CNI_COMMAND", "FOO")], CONF);
    assert_eq!(failure(&output), (4, "unknown CNI_COMMAND: FOO".into(), String::new()));
    // CNI_PATH is not among them: the specification calls it optional, and nothing is delegated.
    let missing = |verb, names: &str| {
        let said = format!("required env variables [{names}] missing");
        assert_eq!(failure(&run(&[("CNI_COMMAND", verb)], CONF)), (4, said, String::new()));
    };
    missing("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME");
    missing("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME");
    missing("DEL", "CNI_CONTAINERID,CNI_IFNAME");
}

/// CNI requirements 5, 6.
#[test]
fn names_that_cannot_be_are_refused_in_the_librarys_words() {
    let id = "invalid characters in containerID";
    for wrong in ["a b", "-a"] {
        check(&[("CNI_CONTAINERID", wrong)], CONF, 4, id, wrong);
    }
    let long = "interface name should be less than 16 characters";
    check(&[("CNI_IFNAME", "a234567890123456")], CONF, 4, "interface name is too long", long);
    let characters = "interface name contains / or : or whitespace characters";
    check(&[("CNI_IFNAME", "et/0")], CONF, 4, characters, "");
    check(&[("CNI_IFNAME", "..")], CONF, 4, "interface name is . or ..", "");
}

/// CNI requirements 7, 12.
#[test]
fn a_configuration_that_is_none_is_refused_in_the_librarys_words() {
    for stdin in ["", "garbage"] {
        let (code, msg, _) = failure(&run(&call("ADD"), stdin));
        assert_eq!(code, 6, "{stdin:?}");
        assert!(msg.starts_with("error unmarshall network config: "), "{stdin:?}: {msg}");
    }
    check(&[], r#"{"cniVersion":"1.0.0"}"#, 7, "missing network name", "");
    let characters = "invalid characters found in network name";
    check(&[], r#"{"name":"a/b"}"#, 7, characters, "a/b");
}

/// CNI requirements 17, 18.
#[test]
fn versions_and_verbs_that_do_not_fit_are_refused_in_the_librarys_words() {
    let conf = |version: &str| format!(r#"{{"cniVersion":"{version}","name":"n"}}"#);
    for version in ["9.9.9", "1.2.0", "abc"] {
        let details = format!("config is {version:?}, plugin supports {SPOKEN}");
        check(&[], &conf(version), 1, "incompatible CNI versions", &details);
    }
    for (verb, version) in [("CHECK", "0.3.1"), ("STATUS", "1.0.0"), ("GC", "1.0.0")] {
        let said = format!("config version does not allow {verb}");
        check(&[("CNI_COMMAND", verb)], &conf(version), 1, &said, "");
    }
    let (code, ..) = failure(&run(&call("CHECK"), &conf("abc")));
    assert_eq!(code, 6);
}

/// CNI requirement 8.
#[test]
fn a_namespace_that_cannot_be_opened_is_named() {
    let env = [&call("ADD")[..], &[("CNI_NETNS", "/nonexistent")]].concat();

    let (code, msg, _) = failure(&run(&env, CONF));

    assert_eq!(code, 8);
    assert!(msg.starts_with("failed to open netns \"/nonexistent\": "), "{msg}");
}

/// CNI requirements 2, 19.
#[test]
fn version_answers_whatever_the_environment_and_stdin() {
    let dummies = [("CNI_CONTAINERID", ""), ("CNI_NETNS", "dummy"), ("CNI_IFNAME", "dummy/dummy")];
    for (stdin, version) in
        [(r#"{"cniVersion":"1.0.0"}"#, "1.0.0"), ("garbage", "1.1.0"), ("", "1.1.0")]
    {
        let output = run(&[&[("CNI_COMMAND", "VERSION")][..], &dummies].concat(), stdin);

        assert!(output.status.success(), "{stdin:?}");
        assert_eq!(
            document(&output),
            json!({"cniVersion": version, "supportedVersions":
                ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]}),
            "{stdin:?}"
        );
    }
}

/// CNI requirements 28, 29.
#[test]
fn an_error_is_one_document_on_stdout_with_its_version() {
    let output = run(&call("CHECK"), r#"{"cniVersion":"0.3.1","name":"n"}"#);

    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.is_empty());
    assert_eq!(
        document(&output),
        json!({"cniVersion": "0.3.1", "code": 1, "msg": "config version does not allow CHECK"})
    );
}

/// CNI requirement 32.
#[test]
fn no_del_is_refused_in_words_that_runtimes_take_for_a_success() {
    let taken = "not found: no such file or directory";
    let with = |changes: &[(&'static str, &'static str)]| [&call("DEL")[..], changes].concat();
    let refused = [
        run(&with(&[("CNI_CONTAINERID", taken)]), CONF),
        run(&with(&[("CNI_IFNAME", taken)]), CONF),
        run(&with(&[]), &format!(r#"{{"name":"{taken}"}}"#)),
        run(&with(&[]), &format!(r#"{{"name":"n","cniVersion":"{taken}"}}"#)),
        run(&with(&[]), &format!(r#"{{"name":"n","mtu":"{taken}""#)),
        run(&with(&[("CNI_NETNS", "/proc/self/ns/net")]), CONF),
        // The run folder is a file: neither daemon nor spool.
        run(&with(&[("ENI_CNI_RUN_DIR", "/dev/null")]), CONF),
        run(&with(&[("ENI_CNI_RUN_DIR", "/nonexistent/not found")]), "[]"),
    ];

    for (row, output) in refused.iter().enumerate() {
        let (_, msg, details) = failure(output);
        let text = format!("{msg}; {details}").to_lowercase();
        let taken = text.contains("not found") || text.contains("no such file");
        assert!(!taken, "row {row}: {text}");
    }
}

#[track_caller]
fn check(changes: &[(&str, &str)], conf: &str, code: u64, msg: &str, details: &str) {
    let env = [&call("ADD")[..], changes].concat();
    assert_eq!(failure(&run(&env, conf)), (code, msg.into(), details.into()));
}

fn call(verb: &'static str) -> [(&'static str, &'static str); 4] {
    [
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", "c0ffee"),
        ("CNI_NETNS", "/nonexistent"),
        ("CNI_IFNAME", "eth0"),
    ]
}

/// Code, message and details of a call that failed.
#[track_caller]
fn failure(output: &Output) -> (u64, String, String) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let document = document(output);
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    (document["code"].as_u64().unwrap(), text("msg"), text("details"))
}

fn document(output: &Output) -> Value {
    // Fails when there is more than one.
    serde_json::from_slice(&output.stdout).unwrap()
}

fn run(env: &[(&str, &str)], stdin: &str) -> Output {
    program::run("/nonexistent", env, stdin)
}
