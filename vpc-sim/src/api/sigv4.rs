//! AWS's signature of a request, version 4: what a client writes and the service computes again.
//!
//! "Create a signed AWS API request" in the IAM user guide names the steps.

use axum::http::{HeaderMap, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, time::SystemTime};

/// The only algorithm that is taken.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How a credential scope ends.
pub(crate) const TERMINATOR: &str = "aws4_request";

/// A payload hash that leaves the body out of the signature.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The header that names the hash of the body; EC2's clients leave it out.
const CONTENT_HASH: &str = "x-amz-content-sha256";

/// The parameter of a query that holds the signature over the others.
pub(crate) const QUERY_SIGNATURE: &str = "X-Amz-Signature";

/// The only path that EC2 has.
const PATH: &str = "/";

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// What follows the `?`, as it was sent.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// What a signature says about itself: key, scope, time and the headers that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) access_key_id: String,
    /// Eight digits.
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
    /// Lower case, in order.
    pub(crate) headers: Vec<String>,
    /// `YYYYMMDD'T'HHMMSS'Z'`.
    pub(crate) time: String,
}

impl Claim {
    fn scope(&self) -> String {
        [&self.date, &self.region, &self.service, TERMINATOR].join("/")
    }

    /// The signature of a request, in hexadecimal.
    pub(crate) fn signature(&self, secret: &str, request: &Signed<'_>) -> String {
        let canonical = canonical(request, &self.headers);
        let to_sign =
            [ALGORITHM, &self.time, &self.scope(), &hash(canonical.as_bytes())].join("\n");
        let parts = [&self.date, &self.region, &self.service, TERMINATOR];
        let key = parts
            .iter()
            .fold(format!("AWS4{secret}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
        hex(&hmac(&key, to_sign.as_bytes()))
    }
}

/// A moment as signatures write it.
pub(crate) fn basic_time(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Reads what [`basic_time`] writes.
pub(crate) fn parse_basic_time(text: &str) -> Option<SystemTime> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp().into())
}

/// Whether the hash of the body that a request names, if it does, is that of its body.
pub(crate) fn body_is_as_named(request: &Signed<'_>) -> bool {
    let named = request.headers.get(CONTENT_HASH).and_then(|it| it.to_str().ok());
    named.is_none_or(|named| named == UNSIGNED || named == hash(request.body))
}

/// The headers that sign a request by POST to EC2 with a form as its body.
///
/// `key` is an access key id, a secret access key, and the session token of temporary credentials.
#[must_use]
pub fn sign_form(
    key: (&str, &str, Option<&str>),
    region: &str,
    now: SystemTime,
    host: &str,
    form: &str,
) -> Vec<(&'static str, String)> {
    let (id, secret, token) = key;
    let time = basic_time(now);
    let mut headers = vec![(header::HOST.as_str(), host.to_owned()), ("x-amz-date", time.clone())];
    headers.extend(token.map(|token| ("x-amz-security-token", token.to_owned())));
    let claim = Claim {
        access_key_id: id.into(),
        date: time[..8].into(),
        region: region.into(),
        service: "ec2".into(),
        headers: headers.iter().map(|(name, _)| (*name).to_owned()).collect(),
        time,
    };
    let map = headers.iter().filter_map(|(name, value)| {
        Some((header::HeaderName::from_static(name), value.parse().ok()?))
    });
    let map = map.collect();
    let body = form.as_bytes();
    let request = Signed { method: "POST", query: "", headers: &map, body };
    let authorization = format!(
        "{ALGORITHM} Credential={id}/{}, SignedHeaders={}, Signature={}",
        claim.scope(),
        claim.headers.join(";"),
        claim.signature(secret, &request)
    );
    // Whoever sends it names the host by himself.
    headers.remove(0);
    headers.push((header::AUTHORIZATION.as_str(), authorization));
    headers
}

fn canonical(request: &Signed<'_>, signed: &[String]) -> String {
    let mut headers = String::new();
    for name in signed {
        let values = request.headers.get_all(name).iter();
        let values = values.map(|it| one_space(&String::from_utf8_lossy(it.as_bytes())));
        let values = values.collect::<Vec<_>>().join(",");
        headers += &format!("{name}:{values}\n");
    }
    let payload = match request.headers.get(CONTENT_HASH).and_then(|it| it.to_str().ok()) {
        Some(named) => Cow::Borrowed(named),
        None => Cow::Owned(hash(request.body)),
    };
    [request.method, PATH, &canonical_query(request.query), &headers, &signed.join(";"), &payload]
        .join("\n")
}

/// Sorted, every byte that is not unreserved encoded, without the signature itself.
fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (encoded(&decoded(name)), encoded(&decoded(value)))
    });
    let mut pairs: Vec<_> = pairs.filter(|(name, _)| name != QUERY_SIGNATURE).collect();
    pairs.sort();
    let pairs = pairs.into_iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}

/// The parameters of a query by name; of one given twice the last counts.
pub(crate) fn query_parameters(query: &str) -> BTreeMap<String, String> {
    serde_urlencoded::from_str(query).unwrap_or_default()
}

fn encoded(text: &[u8]) -> String {
    let mut result = String::with_capacity(text.len());
    for byte in text {
        // RFC 3986, 2.3: unreserved characters.
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            result.push(char::from(*byte));
        } else {
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().iter();
    let mut result = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let rest = bytes.as_slice();
        let pair = rest.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        match (byte, pair.and_then(|it| u8::from_str_radix(it, 16).ok())) {
            (b'%', Some(decoded)) => {
                result.push(decoded);
                bytes.nth(1);
            }
            (b'+', _) => result.push(b' '),
            _ => result.push(*byte),
        }
    }
    result
}

/// A header's value without spaces around it, and with one where there are several.
fn one_space(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    hmac.update(bytes);
    hmac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(headers: &[&str], service: &str) -> Claim {
        Claim {
            access_key_id: "AKIDEXAMPLE".into(),
            date: "20150830".into(),
            region: "us-east-1".into(),
            service: service.into(),
            headers: headers.iter().map(|it| (*it).to_owned()).collect(),
            time: "20150830T123600Z".into(),
        }
    }

    #[track_caller]
    fn check(
        (method, query, body): (&str, &str, &str),
        headers: &[(&'static str, &'static str)],
        service: &str,
        want: &str,
    ) {
        let signed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let header = |(name, value): &(&'static str, &'static str)| {
            (header::HeaderName::from_static(name), header::HeaderValue::from_static(value))
        };
        let headers: HeaderMap = headers.iter().map(header).collect();
        let body = body.as_bytes();
        let request = Signed { method, query, headers: &headers, body };

        let signature =
            claim(&signed, service).signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &request);

        assert_eq!(signature, want, "{}", canonical(&request, &claim(&signed, service).headers));
    }

    #[test]
    fn the_example_of_awss_documentation_has_its_signature() {
        check(
            ("GET", "Action=ListUsers&Version=2010-05-08", ""),
            &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            "iam",
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        );
    }

    #[test]
    fn vectors_of_awss_test_suite_have_their_signatures() {
        let host = ("host", "example.amazonaws.com");
        let date = ("x-amz-date", "20150830T123600Z");
        check(
            ("POST", "", "Param1=value1"),
            &[
                ("content-length", "13"),
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                host,
                (CONTENT_HASH, "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
                date,
            ],
            "service",
            "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422",
        );
        check(
            ("GET", "Param-3=Value3&Param=Value2&%E1%88%B4=Value1", ""),
            &[host, date],
            "service",
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        );
        check(
            ("GET", "", ""),
            &[host, ("my-header1", " value1"), ("my-header2", " \"a   b   c\""), date],
            "service",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        );
    }

    #[test]
    fn a_time_is_read_as_it_is_written() {
        let time = parse_basic_time("20150830T123600Z").unwrap();

        assert_eq!(basic_time(time), "20150830T123600Z");
        assert_eq!(parse_basic_time("2015-08-30T12:36:00Z"), None);
    }
}
