//! The file that tells clients where the API is.

use serde_json::json;

/// A kubeconfig (JSON is YAML) for an API without authentication.
///
/// `world` names cluster, context and user; `server` is a URL such as `http://10.0.0.10:80`.
pub fn kubeconfig(world: &str, server: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": world, "cluster": { "server": server } }],
        "users": [{ "name": world, "user": {} }],
        "contexts": [{ "name": world, "context": { "cluster": world, "user": world } }],
        "current-context": world,
    });
    format!("{config:#}\n")
}
