//! The caller of a request, and the check of its signature.

use crate::api::{
    cloud::Cloud,
    sigv4::{
        ALGORITHM, Claim, QUERY_SIGNATURE, Signed, TERMINATOR, basic_time, body_is_as_named,
        parse_basic_time, query_parameters,
    },
};
use axum::http::{HeaderMap, header};
use std::time::{Duration, SystemTime};
use vpc::{Ec2Error, access::Signatures, admit::OUTSIDE};

/// How far a client's clock may be from EC2's, both ways ("`RequestExpired`" in the list of EC2's
/// error codes).
const SKEW: Duration = Duration::from_secs(15 * 60);

/// The longest that a signed query may say it is good: a week ("Authenticating requests: using
/// query parameters" of S3's reference, the only place where AWS writes it down).
const LONGEST_EXPIRY: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The service's name in credential scopes.
const SERVICE: &str = "ec2";

/// The node that a request names by its access key, or [`OUTSIDE`]; and whether it may call.
pub(super) fn of(
    cloud: &Cloud,
    request: &Signed<'_>,
    now: SystemTime,
) -> (String, Result<(), Ec2Error>) {
    let found = found(request);
    let key = match &found {
        Ok(Some((claim, _))) => claim.access_key_id.as_str(),
        Ok(None) | Err(_) => "",
    };
    let node = cloud.with(|vpc, _| vpc.instance_by_access_key(key).map(|it| it.node.clone()));
    let result = match (cloud.with(|vpc, _| vpc.access().signatures), found) {
        (Signatures::Ignored, _) | (Signatures::Optional, Ok(None)) => Ok(()),
        (Signatures::Required, Ok(None)) => Err(Ec2Error::known("MissingAuthenticationToken")),
        (_, Ok(Some((claim, signature)))) => verify(cloud, request, &claim, &signature, now),
        (_, Err(error)) => Err(error),
    };
    (node.unwrap_or_else(|| OUTSIDE.into()), result)
}

fn verify(
    cloud: &Cloud,
    request: &Signed<'_>,
    claim: &Claim,
    signature: &str,
    now: SystemTime,
) -> Result<(), Ec2Error> {
    check_time(request, claim, now)?;
    let region = cloud.with(|vpc, _| vpc.region().to_owned());
    if claim.region != region {
        let region = &claim.region;
        return Err(mismatch(format!(
            "Credential should be scoped to a valid region, not '{region}'."
        )));
    }
    if claim.service != SERVICE {
        let service = &claim.service;
        return Err(mismatch(format!(
            "Credential should be scoped to correct service: '{SERVICE}', not '{service}'."
        )));
    }
    if !claim.headers.iter().any(|name| name == header::HOST.as_str()) {
        let message = "'Host' must be a 'SignedHeader' in the AWS Authorization.";
        return Err(mismatch(message));
    }
    let wanted = cloud.with(|vpc, _| {
        let credentials = vpc.credentials_of(&claim.access_key_id)?;
        let token = credentials.token.is_none_or(|token| token_of(request) == Some(token.into()));
        token.then(|| claim.signature(credentials.secret, request))
    });
    match wanted {
        None => Err(Ec2Error::known("AuthFailure")),
        Some(wanted) if wanted == signature && body_is_as_named(request) => Ok(()),
        Some(_) => Err(Ec2Error::known("SignatureDoesNotMatch")),
    }
}

fn check_time(request: &Signed<'_>, claim: &Claim, now: SystemTime) -> Result<(), Ec2Error> {
    let Some(time) = parse_basic_time(&claim.time) else {
        let message = "Date must be in ISO-8601 'basic format'. Got";
        return Err(incomplete(format!("{message} '{}'.", claim.time)));
    };
    let day = claim.time.get(..8).unwrap_or_default();
    if claim.date != day {
        let date = &claim.date;
        return Err(mismatch(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
             HTTP: '{date}' != '{day}', from '{}'.",
            claim.time
        )));
    }
    // A query that is signed says itself how long it is good.
    let expires = query_parameters(request.query).get("X-Amz-Expires").cloned();
    let expires = expires.and_then(|text| text.parse().ok()).map_or(SKEW, Duration::from_secs);
    let expires = expires.min(LONGEST_EXPIRY);
    if time > now + SKEW || time + expires < now {
        let message = format!(
            "Request has expired. Timestamp date is {}, current date is {}.",
            claim.time,
            basic_time(now)
        );
        return Err(Ec2Error { message, ..Ec2Error::known("RequestExpired") });
    }
    Ok(())
}

/// The signature of a request and what it says about itself: in a header, or in the query.
fn found(request: &Signed<'_>) -> Result<Option<(Claim, String)>, Ec2Error> {
    let in_header = text(request.headers, header::AUTHORIZATION.as_str());
    let query = query_parameters(request.query);
    match in_header {
        Some(value) => in_authorization(request.headers, &value).map(Some),
        None if query.contains_key(QUERY_SIGNATURE) => {
            let part = |name: &str| {
                let missing =
                    || incomplete(format!("AWS query-string parameters must include '{name}'."));
                query.get(name).cloned().ok_or_else(missing)
            };
            check_algorithm(&part("X-Amz-Algorithm")?)?;
            let credential = part("X-Amz-Credential")?;
            let headers = part("X-Amz-SignedHeaders")?;
            let claim = claim(&credential, &headers, part("X-Amz-Date")?)?;
            Ok(Some((claim, part(QUERY_SIGNATURE)?)))
        }
        None => Ok(None),
    }
}

fn in_authorization(headers: &HeaderMap, value: &str) -> Result<(Claim, String), Ec2Error> {
    let (algorithm, parts) = value.split_once(' ').unwrap_or((value, ""));
    check_algorithm(algorithm)?;
    let parts: Vec<(&str, &str)> =
        parts.split(',').filter_map(|part| part.trim().split_once('=')).collect();
    let part = |wanted: &str| {
        let missing = || {
            let message = format!("Authorization header requires '{wanted}' parameter.");
            incomplete(format!("{message} Authorization={value}"))
        };
        parts.iter().find(|(name, _)| *name == wanted).map(|(_, it)| *it).ok_or_else(missing)
    };
    let Some(time) = text(headers, "x-amz-date") else {
        return Err(incomplete(
            "Authorization header requires existence of a 'X-Amz-Date' header.",
        ));
    };
    let claim = claim(part("Credential")?, part("SignedHeaders")?, time)?;
    Ok((claim, part("Signature")?.to_owned()))
}

fn check_algorithm(algorithm: &str) -> Result<(), Ec2Error> {
    match algorithm {
        ALGORITHM => Ok(()),
        other => Err(incomplete(format!("Unsupported AWS 'algorithm': '{other}'."))),
    }
}

fn claim(credential: &str, headers: &str, time: String) -> Result<Claim, Ec2Error> {
    let parts: Vec<&str> = credential.split('/').collect();
    let [key, date, region, service, TERMINATOR] = parts[..] else {
        let message = "Credential must have exactly 5 slash-delimited elements, e.g. \
                       keyid/date/region/service/aws4_request, got";
        return Err(incomplete(format!("{message} '{credential}'.")));
    };
    Ok(Claim {
        access_key_id: key.into(),
        date: date.into(),
        region: region.into(),
        service: service.into(),
        headers: headers.split(';').map(str::to_ascii_lowercase).collect(),
        time,
    })
}

/// The session token of a request.
fn token_of(request: &Signed<'_>) -> Option<String> {
    text(request.headers, "x-amz-security-token")
        .or_else(|| query_parameters(request.query).remove("X-Amz-Security-Token"))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|it| it.to_str().ok()).map(ToOwned::to_owned)
}

fn mismatch(message: impl Into<String>) -> Ec2Error {
    Ec2Error { message: message.into(), ..Ec2Error::known("SignatureDoesNotMatch") }
}

fn incomplete(message: impl Into<String>) -> Ec2Error {
    Ec2Error::new("IncompleteSignature", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::sigv4::sign_form;
    use std::sync::Arc;
    use vpc::{Launch, Role, Spec, Vpc};

    const HOST: &str = "ec2:80";
    const FORM: &str = "Action=DescribeVpcs&Version=2016-11-15";
    const KEY: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

    /// A call of somebody with [`KEY`], to be made wrong in one way.
    struct Call {
        cloud: Arc<Cloud>,
        headers: HeaderMap,
        body: String,
        now: SystemTime,
    }

    impl Call {
        fn new(signatures: Signatures) -> Self {
            let mut spec = Spec::default();
            spec.access.signatures = signatures;
            let cloud = Cloud::new(Vpc::new(spec).unwrap());
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            let mut call = Self { cloud, headers: HeaderMap::new(), body: FORM.into(), now };
            call.sign((KEY.0, KEY.1, None), "us-west-2");
            call
        }

        fn sign(&mut self, key: (&str, &str, Option<&str>), region: &str) {
            let signed = sign_form(key, region, self.now, HOST, FORM);
            self.headers = HeaderMap::from_iter([(header::HOST, HOST.parse().unwrap())]);
            for (name, value) in signed {
                self.headers.insert(name, value.parse().unwrap());
            }
        }

        fn outcome(&self) -> (String, String, u16) {
            let Self { cloud, headers, body, now } = self;
            let request = Signed { method: "POST", query: "", headers, body: body.as_bytes() };
            let (who, result) = of(cloud, &request, *now);
            match result {
                Ok(()) => (who, "OK".into(), 200),
                Err(error) => (who, error.code.into_owned(), error.status),
            }
        }

        /// Launches a node and returns its credentials.
        fn role(&self) -> Role {
            self.cloud.with(|vpc, now| {
                let subnet = vpc.subnets().values().next().unwrap();
                let launch = Launch {
                    node: "n1".into(),
                    instance_type: "m5.large".into(),
                    subnet_id: subnet.id.clone(),
                    groups: Vec::new(),
                    role: Some("node".into()),
                };
                vpc.run_instance(now, &launch).unwrap();
                vpc.instance_by_node("n1").unwrap().role.clone().unwrap()
            })
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Call), code: &str, status: u16) {
        let mut call = Call::new(Signatures::Required);

        change(&mut call);

        let (_, found, found_status) = call.outcome();
        assert_eq!((found.as_str(), found_status), (code, status));
    }

    fn replace(call: &mut Call, name: &'static str, old: &str, new: &str) {
        let value = call.headers[name].to_str().unwrap().replace(old, new);
        call.headers.insert(name, value.parse().unwrap());
    }

    #[test]
    fn a_call_that_is_signed_rightly_is_taken() {
        check(|_| (), "OK", 200);
        check(|call| call.now += SKEW, "OK", 200);
        check(|call| call.now -= SKEW, "OK", 200);
        check(|call| drop(call.headers.insert("user-agent", "any".parse().unwrap())), "OK", 200);
    }

    #[test]
    fn whatever_is_wrong_with_a_signature_has_its_code() {
        let authorization = "authorization";
        check(|call| call.headers.clear(), "MissingAuthenticationToken", 403);
        check(|call| call.sign((KEY.0, "wrong", None), "us-west-2"), "SignatureDoesNotMatch", 403);
        check(|call| call.sign(("AKIANOBODY", KEY.1, None), "us-west-2"), "AuthFailure", 401);
        check(|call| call.body += "&X=1", "SignatureDoesNotMatch", 403);
        check(|call| call.now += SKEW + Duration::from_secs(1), "RequestExpired", 400);
        check(|call| call.now -= SKEW + Duration::from_secs(1), "RequestExpired", 400);
        check(|call| call.sign((KEY.0, KEY.1, None), "eu-west-1"), "SignatureDoesNotMatch", 403);
        check(|call| replace(call, "host", "ec2", "ec3"), "SignatureDoesNotMatch", 403);
        check(|call| replace(call, authorization, "/ec2/", "/s3/"), "SignatureDoesNotMatch", 403);
        check(|call| replace(call, authorization, "host;", ""), "SignatureDoesNotMatch", 403);
        check(|call| replace(call, authorization, "SHA256", "SHA1"), "IncompleteSignature", 400);
        check(|call| replace(call, authorization, "Signature=", "S="), "IncompleteSignature", 400);
        check(|call| replace(call, authorization, "/aws4", "/aws5"), "IncompleteSignature", 400);
        check(|call| replace(call, authorization, "/2027", "/2026"), "SignatureDoesNotMatch", 403);
        check(|call| replace(call, "x-amz-date", "T", " "), "IncompleteSignature", 400);
        check(|call| drop(call.headers.remove("x-amz-date")), "IncompleteSignature", 400);
    }

    #[test]
    fn a_body_that_is_not_the_one_that_was_hashed_is_refused() {
        let named = |call: &mut Call, hash: &'static str| {
            call.headers.insert("x-amz-content-sha256", hash.parse().unwrap());
            replace(call, "authorization", "host;", "host;x-amz-content-sha256;");
            let (claim, old) = signature_of(call);
            let request = Signed {
                method: "POST",
                query: "",
                headers: &call.headers,
                body: call.body.as_bytes(),
            };
            let right = claim.signature(KEY.1, &request);
            replace(call, "authorization", &old, &right);
        };
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

        check(|call| named(call, of_nothing), "SignatureDoesNotMatch", 403);
        check(|call| named(call, "UNSIGNED-PAYLOAD"), "OK", 200);
    }

    #[test]
    fn a_query_that_claims_to_be_good_for_ever_is_good_for_a_week() {
        let call = Call::new(Signatures::Required);
        let time = basic_time(call.now);
        let query = format!(
            "X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}/{}/us-west-2/ec2/{TERMINATOR}\
             &X-Amz-Date={time}&X-Amz-Expires={}&X-Amz-SignedHeaders=host&X-Amz-Signature=0",
            KEY.0,
            &time[..8],
            u64::MAX
        );
        let outcome = |now| {
            let headers = HeaderMap::new();
            let request = Signed { method: "GET", query: &query, headers: &headers, body: b"" };
            of(&call.cloud, &request, now).1.map_err(|error| error.code.into_owned())
        };

        assert_eq!(outcome(call.now), Err("SignatureDoesNotMatch".into()));
        assert_eq!(
            outcome(call.now + LONGEST_EXPIRY + Duration::from_secs(1)),
            Err("RequestExpired".into())
        );
    }

    fn signature_of(call: &Call) -> (Claim, String) {
        let value = call.headers["authorization"].to_str().unwrap();
        in_authorization(&call.headers, value).unwrap()
    }

    #[test]
    fn a_node_calls_with_the_credentials_of_its_role_and_their_token() {
        let mut call = Call::new(Signatures::Required);
        let role = call.role();
        let (id, secret) = (role.access_key_id.as_str(), role.secret_access_key.as_str());
        let mut outcome = |token| {
            call.sign((id, secret, token), "us-west-2");
            call.outcome()
        };

        assert_eq!(outcome(Some(&role.token)), ("n1".into(), "OK".into(), 200));
        assert_eq!(outcome(None), ("n1".into(), "AuthFailure".into(), 401));
        assert_eq!(outcome(Some("other")), ("n1".into(), "AuthFailure".into(), 401));
    }

    #[test]
    fn a_world_may_take_calls_that_nobody_has_signed_or_look_at_no_signature() {
        for (signatures, unsigned, wrong) in [
            (Signatures::Optional, "OK", "SignatureDoesNotMatch"),
            (Signatures::Ignored, "OK", "OK"),
        ] {
            let mut call = Call::new(signatures);

            call.sign((KEY.0, "wrong", None), "us-west-2");
            assert_eq!(call.outcome().1, wrong, "{signatures:?}");
            call.headers.clear();
            assert_eq!(call.outcome().1, unsigned, "{signatures:?}");
        }
    }
}
