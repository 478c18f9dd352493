//! The instance metadata service, with the tokens of IMDSv2.

#[cfg(test)]
mod tests;
mod tokens;
mod tree;

use super::{cloud::Cloud, hangup};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method, Response, StatusCode, Uri, header},
};
use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokens::Tokens;
use tree::Tree;
use vpc::{
    InstanceId, Time,
    fault::{Listing, Reply},
};

/// The path that hands out tokens, by PUT.
pub const TOKEN_PATH: &str = "/latest/api/token";

/// Says for how many seconds a token shall be good.
const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// Carries a token.
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// Seconds that a token may be good for: up to six hours.
const TTLS: RangeInclusive<u64> = 1..=21_600;

const NOT_FOUND: &str = concat!(
    "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n",
    "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n",
    "\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n",
    "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n",
    " <head>\n  <title>404 - Not Found</title>\n </head>\n",
    " <body>\n  <h1>404 - Not Found</h1>\n </body>\n</html>\n"
);

/// TTL that the socket's packets must have when it answers to [`TOKEN_PATH`]. The router cannot
/// set it: whoever accepts the connection can.
#[must_use]
pub fn token_hop_limit(cloud: &Cloud) -> u8 {
    cloud.with(|vpc, _| vpc.imds().hop_limit)
}

struct Service {
    cloud: Arc<Cloud>,
    tokens: Tokens,
}

/// Serves the metadata of every instance: who asks is told by the address that the connection
/// comes from. Needs `into_make_service_with_connect_info::<SocketAddr>()`.
pub fn router(cloud: Arc<Cloud>) -> Router {
    let service = Arc::new(Service { cloud, tokens: Tokens::default() });
    Router::new().fallback(handle).with_state(service)
}

async fn handle(
    State(service): State<Arc<Service>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let caller = service.cloud.with(|vpc, now| {
        let IpAddr::V4(from) = from.ip() else { return None };
        Some((vpc.instance_by_address(from)?.id.clone(), now))
    });
    let Some((instance, now)) = caller else {
        tracing::debug!(%from, "metadata asked for by nobody's address");
        return refused(StatusCode::NOT_FOUND);
    };
    if service.arrives(&instance) == Reply::Lost {
        return hangup::no_answer();
    }
    // "Configure the instance metadata service": with `HttpEndpoint=disabled`.
    if !service.cloud.with(|vpc, _| vpc.imds().enabled) {
        return refused(StatusCode::FORBIDDEN);
    }
    if uri.path() == TOKEN_PATH {
        return service.token(&method, &headers, instance, now);
    }
    if method != Method::GET && method != Method::HEAD {
        return refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    if !service.may_read(&headers, &instance, now) {
        return refused(StatusCode::UNAUTHORIZED);
    }
    match service.read(&instance, uri.path()) {
        Some(text) => answer(StatusCode::OK, "text/plain", text),
        None => refused(StatusCode::NOT_FOUND),
    }
}

impl Service {
    /// Counts a request, and says whether it is answered.
    fn arrives(&self, instance: &InstanceId) -> Reply {
        let (node, reply) = self.cloud.with(|vpc, now| {
            let node = vpc.node_of_instance(instance).unwrap_or_default().to_owned();
            let reply = vpc.metadata_read(now, &node);
            (node, reply)
        });
        self.cloud.with_calls(|log, _| log.count_metadata(&node));
        reply
    }

    fn token(
        &self,
        method: &Method,
        headers: &HeaderMap,
        instance: InstanceId,
        now: Time,
    ) -> Response<Body> {
        if method != Method::PUT {
            let mut response = refused(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = header::HeaderValue::from_static("OPTIONS, PUT");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        // A request that went through a proxy gets none: IMDSv2's guard against open proxies.
        if headers.contains_key("x-forwarded-for") {
            return refused(StatusCode::FORBIDDEN);
        }
        let ttl = headers.get(TTL_HEADER).and_then(|ttl| ttl.to_str().ok()?.parse().ok());
        let Some(ttl) = ttl.filter(|ttl| TTLS.contains(ttl)) else {
            return refused(StatusCode::BAD_REQUEST);
        };
        let token = self.tokens.issue(instance, now, Duration::from_secs(ttl));
        let mut response = answer(StatusCode::OK, "text/plain", token);
        response.headers_mut().insert(TTL_HEADER, ttl.into());
        response
    }

    fn may_read(&self, headers: &HeaderMap, instance: &InstanceId, now: Time) -> bool {
        match headers.get(TOKEN_HEADER) {
            Some(token) => {
                token.to_str().is_ok_and(|token| self.tokens.is_good(token, instance, now))
            }
            None => self.cloud.with(|vpc, _| vpc.imds().v1),
        }
    }

    fn read(&self, instance: &InstanceId, path: &str) -> Option<String> {
        let clock = self.cloud.clock();
        let tree = self.cloud.with(|vpc, now| {
            let listing = match Tree::lists_interfaces(path) {
                true => {
                    let node = vpc.node_of_instance(instance)?.to_owned();
                    vpc.metadata_listing(now, &node)
                }
                false => Listing::Whole,
            };
            let found = vpc.instances().get(instance)?;
            let view = vpc.metadata(now, instance)?;
            let tree = Tree::of(vpc, found, &view, &clock);
            Some((tree.with_ghosts(vpc.ghosts(now, instance)), listing))
        });
        let (tree, listing) = tree?;
        tree.read(path)
            .map(|text| if Tree::lists_interfaces(path) { spoil(&text, listing) } else { text })
    }
}

/// The list of interfaces, as a fault leaves it.
fn spoil(list: &str, listing: Listing) -> String {
    let mut entries: Vec<&str> = list.lines().collect();
    match listing {
        Listing::Whole => {}
        Listing::Short(_) if entries.is_empty() => {}
        Listing::Short(number) => {
            entries.remove(number as usize % entries.len());
        }
        Listing::Empty => entries.clear(),
    }
    entries.join("\n")
}

fn refused(status: StatusCode) -> Response<Body> {
    let text = match status {
        StatusCode::NOT_FOUND => NOT_FOUND.to_owned(),
        _ => NOT_FOUND.replace("404 - Not Found", &status.to_string().replacen(' ', " - ", 1)),
    };
    answer(status, "text/html", text)
}

fn answer(status: StatusCode, content_type: &str, body: String) -> Response<Body> {
    let modified = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT_RANGES, "none")
        .header(header::LAST_MODIFIED, modified.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
        .header(header::SERVER, "EC2ws")
        .header(header::CONNECTION, "close")
        .body(Body::from(body))
        .expect("all headers are plain text")
}
