//! What the plugin prints of a call that failed.

use crate::{Error, Version};
use serde_json::json;

impl Error {
    /// The document for stdout, in the configuration's version when it is known.
    #[must_use]
    pub fn to_json(&self, version: Option<&str>) -> String {
        // CNI 1.1.0, "Error": A plugin should output a JSON object with the following keys if they
        // encounter an error: cniVersion, code, msg, details.
        let mut document = json!({
            "cniVersion": version.unwrap_or(Version::LATEST.as_str()),
            "code": self.code.number(),
            "msg": self.msg,
        });
        if !self.details.is_empty() {
            document["details"] = self.details.as_str().into();
        }
        document.to_string()
    }
}
