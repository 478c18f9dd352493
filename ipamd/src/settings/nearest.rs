//! Names that look like settings and are none.

use super::table::TABLE;

/// First letters of settings' names.
const PREFIXES: &[&str] = &[
    "ADDITIONAL_ENI_",
    "ANNOTATE_POD",
    "AWS_EXTERNAL_",
    "AWS_MANAGE_",
    "AWS_VPC_",
    "DISABLE_",
    "ENABLE_",
    "ENI_",
    "HOST_CNI_",
    "INTROSPECTION_",
    "IP_COOLDOWN",
    "MANAGE_UNTAGGED",
    "MAX_ENI",
    "MINIMUM_",
    "NETWORK_POLICY_",
    "POD_SECURITY_GROUP_",
    "WARM_",
];

/// A shorter name is near to too many others.
const SHORTEST: usize = 7;

/// What to say of a name that is no setting, if it looks like one.
pub(super) fn unknown(name: &str) -> Option<String> {
    let capitals = name.to_ascii_uppercase();
    if is_of_a_service(&capitals) {
        return None;
    }
    let distances = TABLE.iter().map(|line| (distance(&capitals, line.name), line.name));
    let (distance, near) = distances.min()?;
    let looks_like_one = PREFIXES.iter().any(|prefix| capitals.starts_with(prefix));
    let is_slip = distance <= 1 && name.len() >= SHORTEST;
    (looks_like_one || is_slip).then(|| format!("no setting has that name; the nearest is {near}"))
}

/// Kubernetes tells containers about services in such variables.
fn is_of_a_service(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

/// How many letters have to be put in, left out or changed (Levenshtein). Whether they are capitals
/// counts for nothing.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<u8> = other.bytes().map(|byte| byte.to_ascii_uppercase()).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, of_other) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *of_other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_looks_like_a_setting_gets_the_nearest_one() {
        for (name, near) in [
            ("ENABLE_IPV6", "ENABLE_IPv6"),
            ("ENABLE_POD_ENIS", "ENABLE_POD_ENI"),
            ("WARM_IP_TARGETS", "WARM_IP_TARGET"),
            ("AWS_VPC_K8S_CNI_EXTERNAL_SNAT", "AWS_VPC_K8S_CNI_EXTERNALSNAT"),
            ("CLUSTERNAME", "CLUSTER_NAME"),
            ("max_enis", "MAX_ENI"),
        ] {
            let said = unknown(name).unwrap_or_default();
            assert!(said.ends_with(&format!(" {near}")), "{name}: {said}");
        }
    }

    #[test]
    fn names_of_others_are_theirs() {
        for name in [
            "PATH",
            "HOSTNAME",
            "AWS_REGION",
            "AWS_ROLE_ARN",
            "AWS_ENDPOINT_URL_STS",
            "FTP_PROXY",
            "KUBERNETES_SERVICE_HOST",
            "ENABLE_X_SERVICE_HOST",
            "ENABLE_X_PORT_80_TCP",
            "POD_IP",
        ] {
            assert_eq!(unknown(name), None);
        }
    }
}
