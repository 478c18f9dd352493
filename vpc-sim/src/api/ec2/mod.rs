//! EC2's API: one form-encoded request, one XML answer.

mod answer;
mod describe;
mod params;
mod request;
#[cfg(test)]
mod tests;
mod xml;

use super::cloud::Cloud;
use crate::vpc::Ec2Error;
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Method, Response, header},
    routing::get,
};
use params::Params;
use request::Request;
use std::sync::Arc;

/// The API version, the last one that EC2 has had.
const VERSION: &str = "2016-11-15";

/// Who called when no instance did.
const OUTSIDE: &str = "outside";

/// Serves EC2's API at `/`, by GET and by POST.
pub fn router(cloud: Arc<Cloud>) -> Router {
    Router::new().route("/", get(handle).post(handle)).with_state(cloud)
}

/// An answer, before it is HTTP.
struct Answer {
    action: String,
    result: Result<String, Ec2Error>,
}

async fn handle(
    State(cloud): State<Arc<Cloud>>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let form = match method {
        Method::POST => body.to_vec(),
        _ => query.unwrap_or_default().into_bytes(),
    };
    let who = caller(&cloud, &headers, &form);
    let request_id = request_id();
    let Answer { action, result } = answer(&cloud, &form, &request_id).await;
    let (outcome, status, body) = match result {
        Ok(body) => ("OK", 200, body),
        Err(error) => (error.code, error.status, xml::error(&error, &request_id)),
    };
    tracing::debug!(who, action, outcome, "EC2 call");
    cloud.record(who, &action, outcome, status);
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/xml;charset=UTF-8")
        .header("x-amzn-requestid", request_id)
        .header(header::SERVER, "AmazonEC2")
        .body(Body::from(body))
        .expect("all headers are made of digits and letters")
}

async fn answer(cloud: &Cloud, form: &[u8], request_id: &str) -> Answer {
    let mut params = match Params::parse(form) {
        Ok(params) => params,
        Err(error) => return Answer { action: String::new(), result: Err(error) },
    };
    let action = params.required("Action");
    let name = action.clone().unwrap_or_default();
    let request = action.and_then(|action| {
        check_version(&mut params)?;
        Request::parse(&action, params)
    });
    let result = match request {
        Ok(request) => carry_out(cloud, request, &name, request_id).await,
        Err(error) => Err(error),
    };
    Answer { action: name, result }
}

async fn carry_out(
    cloud: &Cloud,
    request: Request,
    action: &str,
    request_id: &str,
) -> Result<String, Ec2Error> {
    // Neither the world nor its other callers wait while this call is on its way.
    let latency = cloud.with(|vpc, _| match request.changes() {
        true => vpc.latency().change,
        false => vpc.latency().read,
    });
    tokio::time::sleep(latency).await;
    let clock = cloud.clock();
    let content = cloud.with(|vpc, now| answer::content(vpc, now, &clock, &request))?;
    if request.changes() {
        cloud.settled().await;
    }
    Ok(xml::answer(action, request_id, &content))
}

fn check_version(params: &mut Params) -> Result<(), Ec2Error> {
    let version = params.required("Version")?;
    if version == VERSION {
        return Ok(());
    }
    let message = format!("The requested version ({version}) of service AmazonEC2 does not exist");
    Err(Ec2Error::new("NoSuchVersion", message))
}

/// The node whose credentials a request is signed with. The signature itself is not checked.
fn caller(cloud: &Cloud, headers: &HeaderMap, form: &[u8]) -> String {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let credential = match signed {
        Some(signed) => signed.split("Credential=").nth(1).map(ToOwned::to_owned),
        // A request by GET may carry its signature in the query.
        None => serde_urlencoded::from_bytes::<Vec<(String, String)>>(form)
            .ok()
            .and_then(|pairs| pairs.into_iter().find(|(name, _)| name == "X-Amz-Credential"))
            .map(|(_, value)| value),
    };
    let credential = credential.unwrap_or_default();
    let key = credential.split('/').next().unwrap_or_default();
    let node = cloud.with(|vpc, _| vpc.instance_by_access_key(key).map(|found| found.node.clone()));
    node.unwrap_or_else(|| OUTSIDE.into())
}

/// A fresh id in the form of a UUID.
fn request_id() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
