//! httpGet probes and hooks (`pkg/probe/http`, `pkg/kubelet/lifecycle/handlers.go`): one GET on a fresh connection,
//! TLS not verified, same-host redirects followed.

use std::time::Duration;

use bytes::Bytes;
use client::trust::Trust;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Outcome, tcp, timed_out, within};

/// Redirects followed.
const MAX_REDIRECTS: usize = 10;
/// Bytes of a body that are read.
const MAX_BODY: usize = 10 << 10;

/// What to get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Get {
    /// `http` or `https`.
    pub scheme: String,
    /// Where to connect, the Pod's address by default.
    pub host: String,
    /// Port.
    pub port: u16,
    /// With its query.
    pub path: String,
    /// As the Pod gives them; `Host` replaces the header, `User-Agent` and `Accept` the defaults.
    pub headers: Vec<(String, String)>,
    /// `kube-probe/1.36` or `kube-lifecycle/1.36`.
    pub user_agent: String,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GetError(String);

/// Probes: 200 to 399 is a success.
pub async fn probe(get: &Get, limit: Duration) -> Outcome {
    let url = url(get);
    within(limit, || timed_out(&format!("Get \"{url}\"")), attempt(get, &url)).await
}

/// Performs the GET of a hook; any answer is a success. HTTPS is tried again as HTTP if the server speaks plain: then
/// the answer is `true`.
///
/// # Errors
/// If there is no answer within the limit.
pub async fn hook(get: &Get, limit: Duration) -> Result<bool, GetError> {
    let request = async {
        match request(get, &get.path).await {
            Err(_) if get.scheme.eq_ignore_ascii_case("https") => {
                let plain = Get { scheme: "http".to_owned(), ..get.clone() };
                request(&plain, &get.path).await.map(|_| true)
            }
            other => other.map(|_| false),
        }
    };
    let late = || Err(GetError(format!("Get \"{}\": context deadline exceeded", url(get))));
    tokio::time::timeout(limit, request).await.unwrap_or_else(|_| late())
}

fn url(get: &Get) -> String {
    let slash = if get.path.starts_with('/') { "" } else { "/" };
    let host = if get.host.contains(':') { format!("[{}]", get.host) } else { get.host.clone() };
    format!("{}://{host}:{}{slash}{}", get.scheme.to_lowercase(), get.port, get.path)
}

async fn attempt(get: &Get, url: &str) -> Outcome {
    let mut path = get.path.clone();
    for _ in 0..=MAX_REDIRECTS {
        let (status, headers, body) = match request(get, &path).await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failure(format!("Get \"{url}\": {error}")),
        };
        if status.is_redirection()
            && let Some(location) = headers.get(LOCATION).and_then(|v| v.to_str().ok())
        {
            match same_host(get, location) {
                Some(next) => {
                    path = next;
                    continue;
                }
                None => {
                    return Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"));
                }
            }
        }
        return match status.as_u16() {
            200..=399 => Outcome::Success,
            code => Outcome::Failure(format!("HTTP probe failed with statuscode: {code}")),
        };
    }
    Outcome::Failure(format!("Get \"{url}\": stopped after {MAX_REDIRECTS} redirects"))
}

/// The path of a redirect to the same host; `None` if it leads elsewhere.
fn same_host(get: &Get, location: &str) -> Option<String> {
    let uri: Uri = location.parse().ok()?;
    match uri.host() {
        Some(host) if host != get.host => None,
        _ => uri.path_and_query().map(|p| p.as_str().to_owned()),
    }
}

async fn request(get: &Get, path: &str) -> Result<(StatusCode, HeaderMap, String), GetError> {
    let fail = |error: &dyn std::fmt::Display| GetError(error.to_string());
    let tcp = tcp::connect(&get.host, get.port)
        .await
        .map_err(|e| GetError(format!("dial tcp {}:{}: connect: {}", get.host, get.port, tcp::words(&e))))?;
    let response = if get.scheme.eq_ignore_ascii_case("https") {
        let name = ServerName::try_from(get.host.clone()).map_err(|e| fail(&e))?;
        // A probe asks whether the container answers, not who it is (upstream's choice).
        let anyone = Trust { insecure: true, ..Trust::default() }.tls().map_err(GetError)?;
        let tls =
            tokio_rustls::TlsConnector::from(anyone.config).connect(name, tcp).await.map_err(|e| fail(&e))?;
        send(TokioIo::new(tls), get, path).await?
    } else {
        send(TokioIo::new(tcp), get, path).await?
    };
    let (parts, body) = response.into_parts();
    // A body that is too long or breaks off is still an answer.
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    Ok((parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned()))
}

async fn send<I>(io: TokioIo<I>, get: &Get, path: &str) -> Result<Response<hyper::body::Incoming>, GetError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let fail = |error: &dyn std::fmt::Display| GetError(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        // As Go writes them, for servers that compare letters.
        .title_case_headers(true)
        .handshake(io)
        .await
        .map_err(|e| fail(&e))?;
    // The connection ends with the request; its errors show in the response.
    tokio::spawn(async move { drop(connection.await) });
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(|e| fail(&e))?;
    *request.headers_mut() = headers(get).ok_or_else(|| GetError("a header is not valid".to_owned()))?;
    sender.send_request(request).await.map_err(|e| fail(&e))
}

fn headers(get: &Get) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let host = if get.host.contains(':') {
        format!("[{}]:{}", get.host, get.port)
    } else {
        format!("{}:{}", get.host, get.port)
    };
    headers.insert(HOST, HeaderValue::from_str(&host).ok()?);
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &get.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_str(value).ok()?;
        if name == HOST {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, HeaderValue::from_str(&get.user_agent).ok()?);
    }
    if !headers.contains_key(ACCEPT) {
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    }
    Some(headers)
}
