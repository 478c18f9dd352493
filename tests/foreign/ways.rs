//! A daemon that reaches servers as companies' networks allow: through a proxy, with certificates of
//! their own, at addresses of their own.

use crate::{daemon::Proxy, python};
use std::{fs, path::PathBuf};
use tests::{
    command::until,
    world::{CUSTOM, World, ZONES},
};

/// Where the proxy and the gate to EC2 listen.
const PORTS: (&str, &str) = ("8098", "8443");

/// What the proxy notes, and the certificate of the company, among what the build makes.
fn kept(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ways-{name}"));
    // Of an earlier run.
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn behind_a_proxy_everybody_is_asked_through_it_but_the_metadata_service() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    let own = world.node("n1").address.to_string();
    let inside = world.status().summary.inside;
    let (notes, certificates) = (kept("notes"), kept("certificates"));
    let (of_proxy, of_gate) = PORTS;
    let _proxy = start(&world, &["proxy", &own, of_proxy, notes.to_str().unwrap()]);
    let certificates = certificates.to_str().unwrap();
    let _gate = start(&world, &["tls", &own, of_gate, &inside.ec2, certificates]);
    let ec2 = format!("{own}:{of_gate}");
    let proxy = format!("http://{own}:{of_proxy}");
    let of_company = [
        // What comes first is set and empty: the SDK panics where that is an address.
        "AWS_ENDPOINT_URL_EC2=",
        "AWS_ENDPOINT_URL=",
        &format!("AWS_EC2_ENDPOINT=https://{ec2}"),
        &format!("https_proxy={proxy}"),
        &format!("HTTP_PROXY={proxy}"),
        "NO_PROXY=example.com,",
        "WARM_IP_TARGET=1",
    ];

    // Without the company's certificate nobody is trusted, and the error says who is not.
    world.daemon_start("n1", &[CUSTOM, &of_company, &["ENI_CNI_ADD_WAIT=5"]].concat());
    let refused = format!("https://{ec2} through the proxy {proxy}: ");
    until("an error that names the server", || {
        let said = world.try_pod_add("n1", "distrustful").err().unwrap_or_default();
        if said.contains(&refused) && said.contains("UnknownIssuer") { Ok(()) } else { Err(said) }
    });
    world.daemon_stop("n1");
    let certificates = format!("AWS_CA_BUNDLE={certificates}");
    world.daemon_start("n1", &[CUSTOM, &of_company, &[&certificates]].concat());
    let pods: Vec<_> = ["a", "b"].map(|pod| world.pod_add("n1", pod)).into();

    world.everybody_reaches_everybody(&pods);
    let asked = fs::read_to_string(&notes).unwrap();
    let kubernetes = inside.kubernetes.trim_start_matches("http://");
    for server in [format!("CONNECT {ec2}"), format!("CONNECT {kubernetes}")] {
        assert!(asked.contains(&server), "{server} is not among what the proxy was asked: {asked}");
    }
    assert!(!asked.contains("169.254."), "{asked}");
    let others = asked.lines().find(|line| !line.contains(&ec2) && !line.contains(kubernetes));
    assert_eq!(others, None);
    // Before the proxy: its end would be an error in the daemon's log.
    world.daemon_stop("n1");
}

#[test]
fn an_address_of_ec2_that_is_set_and_empty_is_none_and_an_error_says_who_was_asked() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);

    world.daemon_start("n1", &[CUSTOM, &["AWS_ENDPOINT_URL_EC2=", "ENI_CNI_ADD_WAIT=5"]].concat());

    until("an error that names the server", || {
        let said = world.try_pod_add("n1", "p").err().unwrap_or_default();
        let names = said.contains("https://ec2.us-west-2.amazonaws.com: ");
        if names { Ok(()) } else { Err(said) }
    });
}

fn start(world: &World, arguments: &[&str]) -> Proxy {
    let program = python::folder().join("ways.py");
    Proxy::start(world, "n1", &[&[program.to_str().unwrap()], arguments].concat())
}
