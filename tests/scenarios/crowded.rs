//! More pods wait for an address than are answered side by side: nobody else waits with them.

use serde_json::json;
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};
use tests::{
    by_hand::{Container, ended},
    command::until,
    world::{World, ZONES},
};

/// Plugins that wait.
const WAITING: usize = 300;

#[test]
fn while_hundreds_wait_for_an_address_others_are_answered_and_a_del_gives_one_of_them_its_own() {
    let world = World::up();
    // One address for pods.
    world.node_add("n1", ZONES[0], &["--type", "t3.nano"]);
    let tight = ["MAX_ENI=1", "IP_COOLDOWN_PERIOD=0", "ENI_CNI_ADD_WAIT=80"];
    world.daemon_start("n1", &tight);
    let [holder, waits] = [(); 2].map(|()| Container::new(&world));
    let added = world.plugin("n1", "ADD", &holder, "1.1.0");
    assert!(added.success, "{added:?}");
    let mut waiting = Waiting((0..WAITING).map(|nth| wait(&world, &waits, nth)).collect());
    until("all of them wait", || match world.metrics("n1").get("eni_cni_waiting_pods") {
        Some(waiting) if *waiting == WAITING.to_string() => Ok(()),
        waiting => Err(format!("{waiting:?}")),
    });

    let keys = json!({ "prevResult": added.printed });
    let check = world.plugin_with("n1", "CHECK", &holder, "1.1.0", &keys);
    let status = world.plugin("n1", "STATUS", &holder, "1.1.0");
    let keys =
        json!({ "cni.dev/valid-attachments": [{ "containerID": holder.id, "ifname": "eth0" }] });
    let gc = world.plugin_with("n1", "GC", &holder, "1.1.0", &keys);
    let asked_beside = waiting.count();
    let del = world.plugin("n1", "DEL", &holder, "1.1.0");

    assert_eq!(asked_beside, WAITING, "some do not wait any more");
    assert!(check.success && gc.success && del.success, "{check:?} {gc:?} {del:?}");
    // There is no address, and that is told at once.
    assert!(!status.success && status.printed["msg"].is_string(), "{status:?}");
    until("one of them has the address", || match waiting.count() {
        WAITING => Err("all of them wait".into()),
        left => Ok(left),
    });
    let got = waiting.ended();
    assert!(got.success, "{got:?}");
}

/// More than are answered side by side.
const SILENT: usize = 900;

#[test]
fn clients_that_say_nothing_or_half_of_it_keep_nobody_waiting() {
    const CLIENTS: &str = "import socket, sys\n\
        clients = []\n\
        for nth in range(int(sys.argv[2])):\n\
        \x20 client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        \x20 client.connect(sys.argv[1])\n\
        \x20 if nth % 9 == 0: client.send(b'{\"env\":{\"CNI_COMMAND\":\"ADD\"')\n\
        \x20 clients.append(client)\n\
        print('connected', flush=True)\n\
        sys.stdin.readline()\n";
    let world = World::with_node("n1", &[]);
    let container = Container::new(&world);
    let socket = world.node_folder("n1").run().join(rpc::SOCKET_NAME);
    let mut clients = Command::new("python3");
    clients.args(["-c", CLIENTS]).arg(&socket).arg(SILENT.to_string());
    let clients = clients.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut clients = Waiting(vec![clients]);
    let mut said = BufReader::new(clients.0[0].stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "connected");

    // It waits for two seconds at most.
    let status = world.plugin("n1", "STATUS", &container, "1.1.0");
    let add = world.plugin("n1", "ADD", &container, "1.1.0");
    let del = world.plugin("n1", "DEL", &container, "1.1.0");

    assert_eq!(clients.count(), 1, "they have hung up");
    assert!(status.success && add.success && del.success, "{status:?} {add:?} {del:?}");
    logged_at_least_once(&world, "failed to receive a request error=malformed request");
    logged_at_least_once(&world, "failed to receive a request error=no request within");
}

fn logged_at_least_once(world: &World, words: &str) {
    until(words, || {
        let log = world.log("n1");
        if log.contains(words) { Ok(()) } else { Err(log) }
    });
}

/// Plugins that are ended with the test.
struct Waiting(Vec<Child>);

impl Waiting {
    /// How many wait still.
    fn count(&mut self) -> usize {
        self.0
            .iter_mut()
            .filter_map(|child| child.try_wait().unwrap().is_none().then_some(()))
            .count()
    }

    /// What the first one that has ended said.
    fn ended(&mut self) -> tests::by_hand::Ended {
        let at = self.0.iter_mut().position(|child| child.try_wait().unwrap().is_some()).unwrap();
        ended(&self.0.remove(at).wait_with_output().unwrap())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts the plugin for a container of its own.
fn wait(world: &World, container: &Container, nth: usize) -> Child {
    let mut plugin = world.plugin_command("n1");
    let mut child = plugin
        .envs(container.env("ADD"))
        .env("CNI_CONTAINERID", format!("waits-{nth}"))
        .env(
            "CNI_ARGS",
            format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=waits-{nth}"),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let conf = world.plugin_conf("n1", "1.1.0");
    child.stdin.take().unwrap().write_all(conf.as_bytes()).unwrap();
    child
}
