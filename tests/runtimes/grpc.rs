//! One call of a gRPC service at a unix socket.

use std::{fmt, io::Cursor, path::Path, time::Duration};
use tokio::{net::UnixStream, time::timeout};

/// What the service is given beyond the deadline, to say that it has passed.
const GRACE: Duration = Duration::from_secs(20);

/// A message's prefix: a byte that says whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Why a call failed, in the words of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A code of gRPC, or what went wrong below it.
    pub(crate) code: String,
    /// Its text.
    pub(crate) message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}: {}", self.code, self.message)
    }
}

/// Calls `/SERVICE/METHOD` with a message. The service ends the call at the deadline.
pub(crate) fn call(
    socket: &Path,
    method: &str,
    message: &[u8],
    deadline: Duration,
) -> Result<Vec<u8>, Refusal> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(broken)?;
    let answer =
        async { timeout(deadline + GRACE, unary(socket, method, message, deadline)).await };
    match runtime.block_on(answer) {
        Ok(answer) => answer,
        Err(_) => {
            Err(broken(format!("no answer to {method} {} s after its deadline", GRACE.as_secs())))
        }
    }
}

async fn unary(
    socket: &Path,
    method: &str,
    message: &[u8],
    deadline: Duration,
) -> Result<Vec<u8>, Refusal> {
    let stream = UnixStream::connect(socket).await.map_err(broken)?;
    let (client, connection) =
        h2::client::Builder::new().handshake(stream).await.map_err(broken)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!("http://localhost{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", deadline.as_millis()))
        .body(())
        .map_err(broken)?;
    let mut client = client.ready().await.map_err(broken)?;
    let (answer, mut body) = client.send_request(request, false).map_err(broken)?;
    body.send_data(Cursor::new(framed(message)), true).map_err(broken)?;
    let (head, mut body) = answer.await.map_err(broken)?.into_parts();
    let mut received = vec![];
    while let Some(bytes) = body.data().await {
        let bytes = bytes.map_err(broken)?;
        // The service may send as much again.
        body.flow_control().release_capacity(bytes.len()).map_err(broken)?;
        received.extend_from_slice(&bytes);
    }
    let trailers = body.trailers().await.map_err(broken)?;
    connection.abort();
    // A refusal without a message has its status in the head.
    let text = |name: &str| {
        let headers = trailers.as_ref().into_iter().chain([&head.headers]);
        let value = headers.filter_map(|it| it.get(name)).find_map(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let code = text("grpc-status");
    if code != "0" {
        return Err(Refusal { code, message: decoded(&text("grpc-message")) });
    }
    received.get(PREFIX..).map(<[u8]>::to_vec).ok_or_else(|| broken("an answer without a message"))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("our messages are short").to_be_bytes();
    [&[0], &length[..], message].concat()
}

fn broken(error: impl fmt::Display) -> Refusal {
    Refusal { code: "none".into(), message: error.to_string() }
}

/// Undoes percent encoding.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.split_at_checked(2) {
            Some((hex, rest)) if u8::from_str_radix(hex, 16).is_ok() => {
                bytes.extend(u8::from_str_radix(hex, 16));
                bytes.extend(rest.as_bytes());
            }
            _ => bytes.extend([b"%", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn a_text_with_percent_signs_is_decoded() {
    assert_eq!(decoded("100%25 of %22pods%22"), "100% of \"pods\"");
    assert_eq!(decoded("%zz %"), "%zz %");
}
