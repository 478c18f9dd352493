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

/// Where STS listens, and the credentials that it gives out: the key that every world knows.
const OF_STS: &str = "8444";
const KEY: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

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

// A pod of Kubernetes with a role of its own (IRSA), behind a proxy that asks who comes.
#[test]
fn credentials_of_a_role_come_through_a_proxy_and_nobody_reads_the_proxys_password() {
    const SECRET: &str = "s3cr3t-of-the-proxy";
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    let own = world.node("n1").address.to_string();
    let inside = world.status().summary.inside;
    let (notes, certificates) = (kept("role-notes"), kept("role-certificates"));
    let token = kept("token");
    fs::write(&token, "of a pod").unwrap();
    let (of_proxy, of_gate) = PORTS;
    let user = format!("user:{SECRET}");
    let _proxy = start(&world, &["proxy", &own, of_proxy, notes.to_str().unwrap(), &user]);
    let certificates = certificates.to_str().unwrap();
    let _gate = start(&world, &["tls", &own, of_gate, &inside.ec2, certificates]);
    let (key, secret) = KEY;
    let _sts = start(&world, &["sts", &own, OF_STS, key, secret, certificates]);
    let (ec2, sts) = (format!("{own}:{of_gate}"), format!("{own}:{OF_STS}"));
    let settings = [
        &format!("AWS_ENDPOINT_URL_EC2=https://{ec2}"),
        &format!("AWS_ENDPOINT_URL_STS=https://{sts}"),
        &format!("AWS_CA_BUNDLE={certificates}"),
        "AWS_ROLE_ARN=arn:aws:iam::123456789012:role/eni-cni",
        "AWS_REGION=us-west-2",
        &format!("AWS_WEB_IDENTITY_TOKEN_FILE={}", token.display()),
        &format!("HTTPS_PROXY=http://{user}@{own}:{of_proxy}"),
        &format!("HTTP_PROXY=http://{user}@{own}:{of_proxy}"),
        "AWS_VPC_K8S_CNI_LOGLEVEL=DEBUG",
        "WARM_IP_TARGET=1",
    ];

    world.daemon_start("n1", &[CUSTOM, &settings].concat());
    let pods: Vec<_> = ["a", "b"].map(|pod| world.pod_add("n1", pod)).into();

    world.everybody_reaches_everybody(&pods);
    let asked = fs::read_to_string(&notes).unwrap();
    let kubernetes = inside.kubernetes.trim_start_matches("http://");
    for server in [&ec2, &sts, kubernetes] {
        assert!(asked.contains(&format!("CONNECT {server}")), "{server} is not in {asked}");
    }
    assert!(!asked.contains("REFUSED"), "{asked}");
    let folder = world.node_folder("n1").log();
    let logs =
        fs::read_dir(folder).unwrap().map(|it| fs::read_to_string(it.unwrap().path()).unwrap());
    for said in logs.chain([world.sim(&["calls", "--log", "--node", "n1"])]) {
        assert!(!said.contains(SECRET), "{said}");
    }
    // Nor when the proxy refuses it.
    world.daemon_stop("n1");
    let wrong = format!("HTTPS_PROXY=http://user:other-{SECRET}@{own}:{of_proxy}");
    world.daemon_start("n1", &[CUSTOM, &settings, &["ENI_CNI_ADD_WAIT=5", &wrong]].concat());
    let refused = format!("https://{sts} through the proxy http://{own}:{of_proxy}: ");
    let mut number = 0;
    let said = until("an error that names the proxy", || {
        number += 1;
        let said = world.try_pod_add("n1", &format!("p{number}")).err().unwrap_or_default();
        if said.contains(&refused) { Ok(said) } else { Err(said) }
    });
    let log = world.log("n1");
    assert!(!said.contains(SECRET) && !log.contains(SECRET), "{said} {log}");
    assert!(fs::read_to_string(&notes).unwrap().contains(&format!("REFUSED {sts}")));
    world.daemon_stop("n1");
}

#[test]
fn a_proxy_that_is_spoken_to_encrypted_is_used_as_any() {
    let world = World::up();
    world.eniconfig_create(ZONES[0], "pods-a", &["pods"]);
    world.node_add("n1", ZONES[0], &[]);
    let own = world.node("n1").address.to_string();
    let inside = world.status().summary.inside;
    let (notes, certificates) = (kept("secret-notes"), kept("secret-certificates"));
    let (of_proxy, of_gate) = PORTS;
    let certificates = certificates.to_str().unwrap();
    let arguments = ["secret-proxy", &own, of_proxy, notes.to_str().unwrap(), certificates];
    let _proxy = start(&world, &arguments);
    let _gate = start(&world, &["tls", &own, of_gate, &inside.ec2, certificates]);
    let ec2 = format!("{own}:{of_gate}");
    let settings = [
        &format!("AWS_ENDPOINT_URL_EC2=https://{ec2}"),
        &format!("AWS_CA_BUNDLE={certificates}"),
        &format!("HTTPS_PROXY=https://{own}:{of_proxy}"),
        &format!("HTTP_PROXY=https://{own}:{of_proxy}"),
        // Kubernetes trusts what its own configuration says, or the system does.
        &format!("SSL_CERT_FILE={certificates}"),
        "WARM_IP_TARGET=1",
    ];

    world.daemon_start("n1", &[CUSTOM, &settings].concat());
    let pods: Vec<_> = ["a", "b"].map(|pod| world.pod_add("n1", pod)).into();

    world.everybody_reaches_everybody(&pods);
    let asked = fs::read_to_string(&notes).unwrap();
    for server in [&ec2, inside.kubernetes.trim_start_matches("http://")] {
        assert!(asked.contains(&format!("CONNECT {server}")), "{server} is not in {asked}");
    }
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
