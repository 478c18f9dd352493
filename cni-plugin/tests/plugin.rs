//! The built executable as a runtime runs it, with and without a daemon.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod program;

use nix::sched::{CloneFlags, setns, unshare};
use record::spool;
use rpc::{Listener, Reply, Request};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    process::{self, Command, Output},
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

/// Long enough for a busy machine; no test waits for it to pass.
const LONG: Duration = Duration::from_secs(30);

const CONF: &str = r#"{"cniVersion":"1.1.0","name":"aws-cni","type":"aws-cni"}"#;

/// CNI requirement 19.
#[test]
fn version_needs_no_daemon() {
    let place = Place::new("version");

    let output = place.run(&[("CNI_COMMAND", "VERSION")], r#"{"cniVersion":"1.0.0"}"#);

    assert!(output.status.success());
    assert_eq!(document(&output)["cniVersion"], "1.0.0");
    assert_eq!(document(&output)["supportedVersions"].as_array().unwrap().len(), 7);
}

/// CNI requirement 4.
#[test]
fn run_by_hand_it_says_what_it_is() {
    let place = Place::new("about");

    let output = place.run(&[], "");

    assert!(output.status.success());
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("AWS CNI "), "{text}");
    assert!(text.contains("CNI protocol versions supported: 0.1.0, "), "{text}");
}

#[test]
fn what_is_wrong_with_a_request_is_said_without_a_daemon() {
    let place = Place::new("wrong");

    let output = place.run(&[("CNI_COMMAND", "ADD")], CONF);

    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        document(&output),
        json!({"cniVersion": "1.1.0", "code": 4,
            "msg": "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"})
    );
    let output = place.run(&place.verb("ADD", "/nonexistent"), CONF);
    assert_eq!(document(&output)["code"], 8);
    let output = place.run(&place.verb("DEL", ""), r#"{"cniVersion":"9.9.9","name":"n"}"#);
    assert_eq!(document(&output)["code"], 1);
}

/// CNI requirement 8.
#[test]
fn the_plugins_own_namespace_is_refused_before_anything_is_done() {
    let place = Place::new("own");
    let _listener = place.listen();

    for verb in ["ADD", "CHECK", "DEL"] {
        let output = place.run(&place.verb(verb, "/proc/self/ns/net"), CONF);

        assert_eq!(output.status.code(), Some(1), "{verb}");
        assert_eq!(document(&output)["code"], 8, "{verb}");
    }
}

#[test]
fn without_a_daemon_the_runtime_learns_what_to_look_at() {
    let (place, pod) = (&Place::new("down"), &Namespace::new());

    let verbs = [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)];
    // Side by side: most of them ask for a while.
    let ended = thread::scope(|scope| {
        let run = |verb| scope.spawn(move || place.run(&place.verb(verb, pod.path()), CONF));
        let running = verbs.map(|(verb, _)| run(verb));
        running.map(|it| it.join().unwrap())
    });

    for ((verb, code), output) in verbs.into_iter().zip(ended) {
        assert_eq!(output.status.code(), Some(1), "{verb}");
        let error = document(&output);
        assert_eq!(error["code"], code, "{verb}");
        let msg = error["msg"].as_str().unwrap();
        let tells = msg.contains("eni-cni.sock") && msg.contains("k8s-app=aws-node");
        assert!(tells, "{verb}: {msg}");
        assert!(!msg.contains('\n'), "{verb}: {msg}");
    }
}

#[test]
fn a_daemon_that_comes_late_or_ends_before_it_answers_is_asked_again() {
    for (verb, ends) in [("ADD", 2), ("CHECK", 1), ("STATUS", 1)] {
        let place = Place::new(&format!("again-{verb}"));
        let pod = Namespace::new();
        pod.within(|| {
            ip(&["link", "add", "only-in-pod", "type", "veth", "peer", "name", "its-peer"]);
        });

        let (output, request) = thread::scope(|scope| {
            let plugin = scope.spawn(|| place.run(&place.verb(verb, pod.path()), CONF));
            // It has found nobody by then, mostly.
            thread::sleep(Duration::from_millis(200));
            let listener = place.listen();
            for _ in 0..ends {
                let request = listener.accept().unwrap().receive(LONG).unwrap();
                // An answer that nobody reads any more.
                if verb == "ADD" {
                    ask_for_links(&request);
                }
            }
            let connection = listener.accept().unwrap();
            let request = connection.receive(LONG).unwrap();
            connection.reply(&Reply { exit_code: 0, stdout: "{\"a\":1}".into() }).unwrap();
            (plugin.join().unwrap(), request)
        });

        assert!(output.status.success(), "{verb}: {output:?}");
        assert_eq!(output.stdout, b"{\"a\":1}", "{verb}");
        assert!(verb != "ADD" || links(&request).contains("only-in-pod"));
    }
}

#[test]
fn on_a_node_that_was_handed_back_the_runtime_is_told_so() {
    let place = Place::new("handed-back");
    let pod = Namespace::new();
    fs::write(place.0.join(rpc::HANDED_BACK), "").unwrap();

    let output = place.run(&place.verb("ADD", pod.path()), CONF);

    let msg = document(&output)["msg"].as_str().unwrap().to_owned();
    assert!(msg.starts_with("this node was handed back"), "{msg}");
    assert!(msg.contains("start amazon-vpc-cni-k8s here, or run `ipamd take-over`"), "{msg}");
}

/// CNI requirements 31, 44.
#[test]
fn without_a_daemon_a_del_waits_and_succeeds() {
    let place = Place::new("spooled");
    let pod = Namespace::new();

    for netns in [pod.path(), "/nonexistent", ""] {
        let output = place.run(&place.verb("DEL", netns), CONF);

        assert!(output.status.success(), "{netns}: {output:?}");
        let silent = output.stdout.is_empty() && output.stderr.is_empty();
        assert!(silent, "{netns}: {output:?}");
    }

    let waiting = spool::drain(&place.0).unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].1.env["CNI_COMMAND"], "DEL");
    assert_eq!(waiting[0].1.env["CNI_CONTAINERID"], "c0ffee");
    assert_eq!(waiting[0].1.stdin, CONF.as_bytes());
}

/// CNI requirement 32.
#[test]
fn a_del_that_cannot_be_kept_fails_in_words_that_no_runtime_takes_for_a_success() {
    let place = Place::new("full");
    fs::write(place.0.join("del-spool"), "in the way").unwrap();

    let output = place.run(&place.verb("DEL", ""), CONF);

    assert_eq!(document(&output)["code"], 11);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("not found") && !text.contains("no such file"), "{text}");
}

/// CNI requirements 1, 11.
#[test]
fn the_daemons_answer_is_passed_on_as_it_is() {
    let place = Place::new("answer");
    let listener = place.listen();
    let pod = Namespace::new();

    let daemon = thread::spawn(move || {
        let connection = listener.accept().unwrap();
        let request = connection.receive(LONG).unwrap();
        connection.reply(&Reply { exit_code: 7, stdout: "{\"a\":1}".into() }).unwrap();
        request
    });
    let mut env = place.verb("ADD", pod.path());
    env.push(("SECRET", "do not pass"));
    let output = place.run(&env, CONF);

    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"{\"a\":1}");
    let request = daemon.join().unwrap();
    assert!(request.env.keys().all(|name| name.starts_with("CNI_")), "{:?}", request.env);
    assert_eq!(request.env["CNI_IFNAME"], "eth0");
    assert_eq!(request.stdin, CONF.as_bytes());
}

#[test]
fn the_daemon_gets_into_the_pods_namespace() {
    let place = Place::new("fds");
    let listener = place.listen();
    let pod = Namespace::new();
    // Two that this namespace does not have.
    pod.within(|| ip(&["link", "add", "only-in-pod", "type", "veth", "peer", "name", "its-peer"]));

    let daemon = thread::spawn(move || {
        let connection = listener.accept().unwrap();
        let request = connection.receive(LONG).unwrap();
        connection.reply(&Reply { exit_code: 0, stdout: String::new() }).unwrap();
        request
    });
    place.run(&place.verb("ADD", pod.path()), CONF);
    let request = daemon.join().unwrap();

    assert!(links(&request).contains("only-in-pod"));
    assert!(!here().contains("only-in-pod"));
    let passed = File::from(request.netns.unwrap()).metadata().unwrap();
    assert_eq!(passed.ino(), fs::metadata(pod.path()).unwrap().ino());
}

/// CNI requirement 41.
#[test]
fn del_of_a_pod_whose_namespace_is_gone_reaches_the_daemon() {
    let place = Place::new("gone");
    let listener = place.listen();
    let unmounted = place.0.join("unmounted");
    File::create(&unmounted).unwrap();

    for netns in ["", "/nonexistent", unmounted.to_str().unwrap()] {
        let output = thread::scope(|scope| {
            let daemon = scope.spawn(|| {
                let connection = listener.accept().unwrap();
                let request = connection.receive(LONG).unwrap();
                connection.reply(&Reply { exit_code: 0, stdout: String::new() }).unwrap();
                request
            });
            let output = place.run(&place.verb("DEL", netns), CONF);
            let request = daemon.join().unwrap();
            assert!(request.netns.is_none() && request.pod_netlink.is_none(), "{netns}");
            output
        });

        assert!(output.status.success(), "{netns}: {output:?}");
    }
    assert_eq!(spool::drain(&place.0).unwrap().len(), 0);
}

/// CNI requirement 48.
#[test]
fn a_long_gc_list_arrives_whole() {
    let place = Place::new("gc");
    let listener = place.listen();
    let valid: Vec<Value> = (0..5000)
        .map(|number| json!({"containerID": format!("{number:064}"), "ifname": "eth0"}))
        .collect();
    let conf = json!({"cniVersion": "1.1.0", "name": "n", "cni.dev/valid-attachments": valid});

    let daemon = thread::spawn(move || {
        let connection = listener.accept().unwrap();
        let request = connection.receive(LONG).unwrap();
        connection.reply(&Reply { exit_code: 0, stdout: String::new() }).unwrap();
        cni::Request::parse(&request.env, &request.stdin).unwrap().config.valid_attachments
    });
    let output = place.run(&[("CNI_COMMAND", "GC")], &conf.to_string());

    assert!(output.status.success());
    assert_eq!(daemon.join().unwrap().unwrap().len(), 5000);
}

fn document(output: &Output) -> Value {
    // Fails when there is more than one.
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Names of the links behind the socket that the daemon got, by `RTM_GETLINK`.
fn links(request: &Request) -> String {
    use nix::sys::socket::{MsgFlags, recv};
    ask_for_links(request);
    let socket = raw(request.pod_netlink.as_ref());
    let (mut links, mut answer) = (String::new(), vec![0; 64 << 10]);
    loop {
        let length = recv(socket, &mut answer, MsgFlags::empty()).unwrap();
        links += &String::from_utf8_lossy(&answer[..length]);
        // NLMSG_DONE
        if answer[4..6] == 3_u16.to_ne_bytes() {
            return links;
        }
    }
}

fn ask_for_links(request: &Request) {
    use nix::sys::socket::{MsgFlags, send};
    // nlmsghdr: length, type RTM_GETLINK, flags REQUEST|DUMP, sequence, port; then an ifinfomsg.
    let mut message = Vec::new();
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&18_u16.to_ne_bytes());
    message.extend_from_slice(&0x301_u16.to_ne_bytes());
    message.extend_from_slice(&[0; 24]);
    send(raw(request.pod_netlink.as_ref()), &message, MsgFlags::empty()).unwrap();
}

/// Names of the links where the test runs.
fn here() -> String {
    fs::read_to_string("/proc/self/net/dev").unwrap()
}

fn raw(fd: Option<&OwnedFd>) -> i32 {
    fd.unwrap().as_raw_fd()
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success());
}

/// A run folder of its own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("eni-plugin-{}-{name}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn listen(&self) -> Listener {
        Listener::bind(&self.0.join(rpc::SOCKET_NAME)).unwrap()
    }

    fn verb<'a>(&self, verb: &'a str, netns: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c0ffee"),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
        ]
    }

    fn run(&self, env: &[(&str, &str)], stdin: &str) -> Output {
        program::run(&self.0, env, stdin)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A network namespace that lives as long as a thread does, without a mount.
struct Namespace {
    path: String,
    file: File,
    /// Ends the thread when it is dropped.
    _alive: Sender<()>,
}

impl Namespace {
    fn new() -> Self {
        let (alive, end) = channel::<()>();
        let (tell, path) = channel();
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let thread = nix::unistd::gettid();
            tell.send(format!("/proc/{}/task/{thread}/ns/net", process::id())).unwrap();
            let _ = end.recv();
        });
        let path: String = path.recv().unwrap();
        let file = File::open(&path).unwrap();
        Self { path, file, _alive: alive }
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn within(&self, run: impl FnOnce() + Send) {
        thread::scope(|scope| {
            scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                run();
            });
        });
    }
}
