//! Active checks: a small request at an interval, over a connection of its own, so that what is tested is what a new
//! request would meet.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Uri, Version, header};
use tokio_util::sync::CancellationToken;

use super::connect::{Account, Dialled, dial};
use super::error::ForwardError;
use super::pool::Want;
use super::server::Server;
use super::upload::RequestBody;
use crate::config::HealthCheck;

/// Checks one server until told to stop.
pub(super) async fn watch(
    app: Arc<str>,
    server: Arc<Server>,
    check: HealthCheck,
    stop: CancellationToken,
) {
    let mut passed: u32 = 0;
    let mut failed: u32 = 0;
    loop {
        let well = tokio::select! {
            () = stop.cancelled() => return,
            answer = tokio::time::timeout(check.timeout, probe(&server, &check)) => {
                matches!(answer, Ok(Ok(true)))
            }
        };
        if well {
            passed = passed.saturating_add(1);
            failed = 0;
            if passed >= check.healthy_after.max(1) && server.set_healthy(true) {
                tracing::info!(app = %app, upstream = %server.authority(), "upstream server is healthy");
            }
        } else {
            failed = failed.saturating_add(1);
            passed = 0;
            if failed >= check.unhealthy_after.max(1) && server.set_healthy(false) {
                tracing::warn!(app = %app, upstream = %server.authority(), "upstream server is unhealthy");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(check.interval) => {}
        }
    }
}

async fn probe(server: &Arc<Server>, check: &HealthCheck) -> Result<bool, ForwardError> {
    // Not counted against the server's connections: a full server is not a sick one.
    let status = match dial(server, Want::Any, Account::Free).await? {
        Dialled::Http1(mut wire) => {
            let request = request(server, check, Version::HTTP_11)?;
            let response = wire.sender.try_send_request(request);
            let mut response = std::pin::pin!(response);
            std::future::poll_fn(|cx| {
                wire.drive(cx);
                response.as_mut().poll(cx)
            })
            .await
            .map_err(|failure| ForwardError::from_hyper(failure.into_error()))?
            .status()
        }
        Dialled::Http2(mut connection) => {
            let request = request(server, check, Version::HTTP_2)?;
            connection
                .sender
                .send_request(request)
                .await
                .map_err(ForwardError::from_hyper)?
                .status()
        }
    };
    let (from, to) = check.statuses;
    Ok((from..=to).contains(&status.as_u16()))
}

fn request(
    server: &Server,
    check: &HealthCheck,
    version: Version,
) -> Result<Request<RequestBody>, ForwardError> {
    let malformed = || ForwardError::Malformed("the health check's path");
    let uri = if version == Version::HTTP_2 {
        Uri::builder()
            .scheme(server.scheme().clone())
            .authority(server.uri_authority().clone())
            .path_and_query(check.path.as_str())
            .build()
            .map_err(|_| malformed())?
    } else {
        check.path.parse().map_err(|_| malformed())?
    };
    let mut request = Request::new(RequestBody::Empty);
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    let headers = request.headers_mut();
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static("masugata-health"),
    );
    if version != Version::HTTP_2 {
        headers.insert(header::HOST, server.host_header().clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(request)
}
