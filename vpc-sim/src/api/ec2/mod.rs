//! EC2's API: one form-encoded request, one XML answer.

mod actions;
mod addresses;
mod attachments;
mod call;
mod caller;
mod groups;
mod instances;
mod interfaces;
mod params;
mod subnets;
mod tags;
#[cfg(test)]
mod tests;
mod vpcs;
mod write;
mod xml;

use super::{cloud::Cloud, hangup, sigv4::Signed};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::{HeaderMap, Method, Response, header},
    routing::get,
};
use call::{Call, Mode, Scene};
use params::Params;
use std::{sync::Arc, time::SystemTime};
use vpc::{
    Ec2Error,
    calls::{self, CallRecord},
    fault::Reply,
};
use xml::VERSION;

/// Serves EC2's API at `/`, by GET and by POST.
pub fn router(cloud: Arc<Cloud>) -> Router {
    Router::new().route("/", get(handle).post(handle)).with_state(cloud)
}

/// What comes of a call.
enum Outcome {
    Answered(String),
    Refused(Ec2Error),
    /// It took effect, and nobody is told.
    Lost,
}

impl From<Result<String, Ec2Error>> for Outcome {
    fn from(result: Result<String, Ec2Error>) -> Self {
        match result {
            Ok(body) => Self::Answered(body),
            Err(error) => Self::Refused(error),
        }
    }
}

async fn handle(
    State(cloud): State<Arc<Cloud>>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let began = cloud.now();
    let query = query.unwrap_or_default();
    let signed = Signed { method: method.as_str(), query: &query, headers: &headers, body: &body };
    let (who, may_call) = caller::of(&cloud, &signed, SystemTime::now());
    let form = match method {
        Method::POST => body.to_vec(),
        _ => query.into_bytes(),
    };
    let request_id = request_id();
    let (action, asked) = understand(&form);
    let outcome = match may_call.and(asked) {
        Ok(call) => carry_out(&cloud, &who, call, &request_id).await,
        Err(error) => Outcome::Refused(error),
    };
    let (code, status) = match &outcome {
        Outcome::Answered(_) => (calls::OK, 200),
        Outcome::Refused(error) => (error.code.as_ref(), error.status),
        Outcome::Lost => (calls::LOST, 0),
    };
    tracing::debug!(who, action, outcome = code, "EC2 call");
    cloud.with_calls(|log, now| {
        log.record(CallRecord {
            at: now,
            who,
            action,
            outcome: code.into(),
            status,
            latency: now.0.saturating_sub(began.0),
            parameters: params::describe(&form),
        });
    });
    let body = match outcome {
        Outcome::Answered(body) => body,
        Outcome::Refused(error) => xml::error(&error, &request_id),
        Outcome::Lost => return hangup::no_answer(),
    };
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "text/xml;charset=UTF-8")
        .header("x-amzn-requestid", request_id)
        .header(header::SERVER, "AmazonEC2")
        .body(Body::from(body))
        .expect("a status from 400 to 599 or 200, and headers of digits and letters")
}

/// The name of the action, and what is asked.
fn understand(form: &[u8]) -> (String, Result<Call, Ec2Error>) {
    let mut params = match Params::parse(form) {
        Ok(params) => params,
        Err(error) => return (String::new(), Err(error)),
    };
    let action = match params.required("Action") {
        Ok(action) => action,
        Err(error) => return (String::new(), Err(error)),
    };
    let asked = check_version(&mut params).and_then(|()| actions::read(&action, params));
    (action, asked)
}

async fn carry_out(cloud: &Cloud, who: &str, call: Call, request_id: &str) -> Outcome {
    let Call { action, asked, mode } = call;
    let course = match cloud.with(|vpc, now| {
        let course = vpc.admit(now, who, action, asked.breadth)?;
        vpc.authorize(who, action, &asked.ask).map(|()| course)
    }) {
        Ok(course) => course,
        Err(error) => return Outcome::Refused(error),
    };
    // Neither the world nor its other callers wait while this call is on its way.
    tokio::time::sleep(course.latency).await;
    if mode == Mode::DryRun {
        return Outcome::Refused(Ec2Error::dry_run());
    }
    let clock = cloud.clock();
    let content = cloud.with(|vpc, now| {
        (asked.carry_out)(&mut Scene { vpc, now, clock: &clock, lag: course.lag })
    });
    if content.is_ok() && action.changes() {
        cloud.settled().await;
    }
    match course.reply {
        Reply::Lost => Outcome::Lost,
        Reply::Sent => {
            content.map(|content| xml::answer(action.as_str(), request_id, &content)).into()
        }
    }
}

fn check_version(params: &mut Params) -> Result<(), Ec2Error> {
    let version = params.required("Version")?;
    if version == VERSION {
        return Ok(());
    }
    let message = format!("The requested version ({version}) of service AmazonEC2 does not exist");
    Err(Ec2Error::new("NoSuchVersion", message))
}

/// A fresh id in the form of a UUID.
fn request_id() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
