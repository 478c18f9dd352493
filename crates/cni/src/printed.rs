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
            "msg": one_line(&self.msg, LONGEST_MSG),
        });
        if !self.details.is_empty() {
            document["details"] = one_line(&self.details, LONGEST_DETAILS).into();
        }
        document.to_string()
    }
}

/// The longest `msg` in bytes. The text ends up in an event of the pod, of which Kubernetes takes 1024
/// bytes (`NoteLengthLimit` of its validation of events) and cuts the end, where the remedy is; kubelet
/// and runtime put 200 bytes before it.
const LONGEST_MSG: usize = 640;

/// The longest `details`, which come after it.
const LONGEST_DETAILS: usize = 160;

/// Where something was left out.
const LEFT_OUT: &str = " … ";

/// A text in one line and in so many bytes: what is too much goes from the middle, as the cause is at the
/// beginning and the remedy at the end.
fn one_line(text: &str, longest: usize) -> String {
    let text: String = text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect();
    if text.len() <= longest {
        return text;
    }
    let room = longest - LEFT_OUT.len();
    let (mut head, mut tail) = (room / 2, text.len() - room / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}{LEFT_OUT}{}", &text[..head], &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    #[test]
    fn of_a_text_that_is_too_long_for_an_event_cause_and_remedy_stay() {
        let answer = "ä page of a proxy\n".repeat(1000);
        let msg = format!("no free address (28 in use): EC2 said {answer}; next try in 9 s");
        let error = Error::new(Code::TryAgainLater, msg).with_details(answer);

        let printed: serde_json::Value = serde_json::from_str(&error.to_json(None)).unwrap();

        let text = |key: &str| printed[key].as_str().unwrap().to_owned();
        let (msg, details) = (text("msg"), text("details"));
        assert!(msg.starts_with("no free address (28 in use): EC2 said ä page"), "{msg}");
        assert!(msg.ends_with("; next try in 9 s") && msg.contains(LEFT_OUT), "{msg}");
        assert!(msg.len() <= LONGEST_MSG && msg.len() > LONGEST_MSG - 8, "{}", msg.len());
        assert!(details.len() <= LONGEST_DETAILS, "{}", details.len());
        assert!(!msg.contains('\n') && !details.contains('\n'), "{msg} {details}");
    }

    #[test]
    fn a_text_that_fits_is_left_as_it_is() {
        let msg = "m".repeat(LONGEST_MSG);

        assert_eq!(one_line(&msg, LONGEST_MSG), msg);
        assert!(one_line(&format!("{msg}m"), LONGEST_MSG).len() <= LONGEST_MSG);
    }
}
