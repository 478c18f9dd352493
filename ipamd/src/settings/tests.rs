//! What settings say, and what becomes of those that are wrong, unknown or not acted on.

use super::{table::TABLE, *};

#[test]
fn without_any_variable_every_setting_has_the_peers_default() {
    let settings = Settings::read(&BTreeMap::new()).unwrap();

    assert_eq!(settings.networking, Networking::Node);
    assert_eq!(settings.targets.warm_enis, 1);
    assert_eq!(settings.targets.warm_addresses, None);
    assert_eq!((settings.eni_mtu, settings.pod_mtu, settings.mark), (9001, 9001, 0x80));
    assert_eq!(settings.snat, Snat::FullyRandom);
    assert_eq!(settings.not_acted_on, []);
}

#[test]
fn every_bad_value_is_reported_with_its_name_and_what_is_legal() {
    let bad = refused(&[
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", "yes"),
        ("AWS_VPC_ENI_MTU", "12000"),
        ("AWS_VPC_K8S_CNI_VETHPREFIX", "eth"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.0.0.0/8,wrong"),
        ("ADDITIONAL_ENI_TAGS", r#"{"node.k8s.amazonaws.com/x":"y"}"#),
        ("WARM_IP_TARGET", "five"),
        ("IP_COOLDOWN_PERIOD", "-1"),
        ("AWS_VPC_K8S_PLUGIN_LOG_FILE", "stdout"),
        ("ANNOTATE_POD_IP", "on"),
        ("https_proxy", "socks5://10.0.0.1:1080"),
        ("AWS_ENDPOINT_URL_EC2", "ec2.test"),
    ]);

    assert_eq!(bad.len(), 11, "{bad:?}");
    let text = bad.join("\n");
    for says in [
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=`yes`: must be true or false",
        "AWS_VPC_ENI_MTU=`12000`: must be a whole number from 576 to 9001",
        "IP_COOLDOWN_PERIOD=`-1`: must be a whole number from 0 to",
        "WARM_IP_TARGET=`five`: must be a whole number",
        "https_proxy=`socks5://10.0.0.1:1080`: must be the address of an HTTP proxy",
    ] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn what_safety_depends_on_stops_the_start_and_says_what_to_do() {
    for (name, value) in [
        ("ENABLE_IPv4", "false"),
        ("ENABLE_IPv6", "true"),
        ("ENABLE_POD_ENI", "True"),
        ("NETWORK_POLICY_ENFORCING_MODE", "Strict"),
        ("ENABLE_IMDS_ONLY_MODE", "1"),
        ("DISABLE_NETWORK_RESOURCE_PROVISIONING", "t"),
        ("MANAGE_UNTAGGED_ENI", "0"),
    ] {
        let bad = refused(&[(name, value)]);

        assert_eq!(bad.len(), 1, "{bad:?}");
        assert!(bad[0].starts_with(&format!("{name}=`{value}`: ")), "{bad:?}");
        assert!(bad[0].contains(": set it to "), "{bad:?}");
    }
}

#[test]
fn values_that_the_peer_takes_are_legal_and_mean_what_they_mean_there() {
    let settings = read(&[
        ("WARM_ENI_TARGET", "-1"),
        ("WARM_IP_TARGET", "-5"),
        ("MINIMUM_IP_TARGET", " 7 "),
        ("WARM_PREFIX_TARGET", "-2"),
        ("MAX_ENI", "-1"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", " 10.1.2.3/16, 192.168.0.0/16 ,"),
        ("AWS_EXTERNAL_SERVICE_CIDRS", ","),
        ("AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG", " True "),
        ("AWS_VPC_K8S_CNI_EXTERNALSNAT", "F"),
        ("AWS_VPC_CNI_NODE_PORT_SUPPORT", ""),
        ("AWS_VPC_K8S_CNI_CONNMARK", "0X1_00"),
        ("AWS_VPC_K8S_CNI_LOGLEVEL", "Warn"),
        ("AWS_VPC_K8S_PLUGIN_LOG_LEVEL", "Debug"),
        ("NETWORK_POLICY_ENFORCING_MODE", "Standard"),
        ("POD_SECURITY_GROUP_ENFORCING_MODE", "standard"),
        ("HTTP_TIMEOUT", "3"),
        ("ENABLE_POD_ENI", "f"),
    ]);

    let targets = settings.targets;
    assert_eq!((targets.warm_enis, targets.warm_prefixes), (1, 0));
    assert_eq!((targets.warm_addresses, targets.minimum_addresses), (None, Some(7)));
    assert_eq!((settings.max_enis, settings.mark), (None, 0x100));
    let excluded: Vec<_> = settings.exclude_snat.iter().map(ToString::to_string).collect();
    assert_eq!(excluded, ["10.1.0.0/16", "192.168.0.0/16"]);
    assert_eq!((settings.external, settings.networking), (vec![], Networking::Custom));
    assert_eq!(settings.node_port, NodePort::Supported);
    assert_eq!(settings.servers.call, Duration::from_secs(10));
    assert_eq!(settings.not_acted_on, []);
}

#[test]
fn what_is_not_acted_on_is_told_once_for_each() {
    let settings = read(&[
        ("ANNOTATE_POD_IP", "true"),
        ("ENABLE_BANDWIDTH_PLUGIN", "true"),
        ("ENABLE_V6_EGRESS", "false"),
        ("ENABLE_IPV6", "true"),
        ("AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "10.0.0.0/8,2001:db8::/32"),
        ("PATH", "/bin"),
    ]);

    let told: Vec<_> = settings.not_acted_on.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "ANNOTATE_POD_IP=`true`: not acted on: pods are not annotated with their addresses",
            "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS=`10.0.0.0/8,2001:db8::/32`: not acted on: CIDRs of IPv6 are left out: pods have IPv4 addresses",
            "ENABLE_BANDWIDTH_PLUGIN=`true`: not acted on: annotations that limit a pod's bandwidth are without effect",
            "ENABLE_IPV6=`true`: no setting has that name; the nearest is ENABLE_IPv6",
        ]
    );
}

#[test]
fn the_address_of_ec2_is_the_one_that_says_the_most() {
    let urls = [
        ("AWS_ENDPOINT_URL", "http://any.test"),
        ("AWS_EC2_ENDPOINT", "http://peer.test"),
        ("AWS_ENDPOINT_URL_EC2", "http://ec2.test:8080/x"),
    ];

    for (set, address) in
        [(1, "http://any.test"), (2, "http://peer.test"), (3, "http://ec2.test:8080")]
    {
        let settings = read(&urls[..set]);
        assert_eq!(settings.servers.ec2.map(|it| it.to_string()).as_deref(), Some(address));
    }
}

#[test]
fn a_setting_that_is_set_and_empty_is_not_set() {
    let environment = TABLE.iter().map(|line| (line.name.into(), " ".into())).collect();

    let settings = Settings::read(&environment).unwrap();

    let plain = Settings::read(&BTreeMap::new()).unwrap();
    assert_eq!(format!("{settings:?}"), format!("{plain:?}"));
}

#[test]
fn a_password_of_a_proxy_is_not_told() {
    let verdicts = judge(&environment(&[("HTTPS_PROXY", "http://user:secret@proxy:3128")]));

    assert_eq!(verdicts[0].to_string(), "HTTPS_PROXY=`http://…@proxy:3128`: works");
}

#[test]
fn every_setting_that_is_read_is_in_the_table() {
    let source = concat!(include_str!("mod.rs"), include_str!("reader.rs"));
    let named = source.split('"').filter(|word| {
        word.len() > 6
            && word.contains('_')
            && word.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
    });

    for name in named {
        assert!(TABLE.iter().any(|line| line.name == name), "{name}");
    }
}

#[test]
fn the_readme_has_the_table_of_settings() {
    let readme = include_str!("../../../README.md");

    assert!(readme.contains(&table()), "README.md: put in what `ipamd settings` prints");
}

fn environment(set: &[(&str, &str)]) -> BTreeMap<String, String> {
    set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

#[track_caller]
fn read(set: &[(&str, &str)]) -> Settings {
    Settings::read(&environment(set)).unwrap()
}

#[track_caller]
fn refused(set: &[(&str, &str)]) -> Vec<String> {
    let bad = Settings::read(&environment(set)).unwrap_err();
    bad.iter().map(ToString::to_string).collect()
}
