//! The plugin's own lines of its log: of requests that no daemon answers.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod program;

use rpc::{Listener, Reply};
use std::{fs, path::PathBuf, process, thread, time::Duration};

/// Long enough for a busy machine; no test waits for it to pass.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn a_request_that_no_daemon_answers_is_one_line() {
    for (row, verb, netns, want) in [
        (
            "add",
            "ADD",
            "/nowhere",
            Some("ERROR aws-cni: failed to carry out a request verb=\"ADD\""),
        ),
        ("del", "DEL", "/nowhere", Some("WARN aws-cni: kept a DEL for the next daemon")),
        ("gc", "GC", "", Some("ERROR aws-cni: failed to carry out a request verb=\"GC\"")),
        ("status", "STATUS", "", None),
    ] {
        let place = Place::new(row);

        place.run(verb, netns);

        let log = place.log();
        assert_eq!(log.lines().count(), usize::from(want.is_some()), "{row}: {log}");
        assert!(want.is_none_or(|want| log.contains(want)), "{row}: {log}");
    }
}

/// The daemon has written it down itself.
#[test]
fn what_the_daemon_answers_costs_the_plugin_no_line() {
    for exit_code in [0, 1] {
        let place = Place::new(&format!("answered-{exit_code}"));
        let listener = Listener::bind(&place.0.join(rpc::SOCKET_NAME)).unwrap();
        let daemon = thread::spawn(move || {
            let connection = listener.accept().unwrap();
            connection.receive(LONG).unwrap();
            connection.reply(&Reply { exit_code, stdout: String::new() }).unwrap();
        });

        place.run("DEL", "/nowhere");

        daemon.join().unwrap();
        assert_eq!(place.log(), "", "{exit_code}");
    }
}

/// A run folder of its own, with the log in it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("eni-plugin-log-{}-{name}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn run(&self, verb: &str, netns: &str) {
        let env = [
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c0ffee"),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
        ];
        let log = self.0.join("plugin.log");
        let conf = format!(
            r#"{{"cniVersion":"1.1.0","name":"aws-cni","type":"aws-cni","cni.dev/valid-attachments":[],"pluginLogFile":"{}"}}"#,
            log.display()
        );
        program::run(&self.0, &env, &conf);
    }

    fn log(&self) -> String {
        fs::read_to_string(self.0.join("plugin.log")).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
