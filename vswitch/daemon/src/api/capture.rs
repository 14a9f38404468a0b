//! Answers without an end: captured frames, and what is dropped.

use axum::{
    Json,
    body::{Body as Response, Bytes},
    extract::State,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
};
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use weft_config::api::{Capture, CaptureRequest, DropNews, Error};

use super::{
    access::Client,
    error::ApiError,
    extract::{Asked, Body, Named},
    routes::Answer,
};
use crate::control::{self, Asker, Shared, Stream};

const PCAPNG: &str = "application/x-pcapng";
/// One JSON document a line.
const LINES: &str = "application/x-ndjson";
/// Lines a second when nobody says.
const FEW: usize = 20;
/// Lines a second at most.
const MANY: usize = 1000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(capture))
        .routes(routes!(list_captures))
        .routes(routes!(stop_capture))
        .routes(routes!(follow_drops))
}

/// How much is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct HowMuch {
    /// Lines a second at most, 1 to 1000; 20 when absent. What has no line is counted.
    lines: Option<usize>,
}

#[utoipa::path(post, path = "/v1/capture", request_body = CaptureRequest,
    responses((status = 200, content_type = "application/x-pcapng", body = Vec<u8>),
        (status = 400, body = Error), (status = 403, body = Error), (status = 404, body = Error), (status = 409, body = Error)))]
async fn capture(
    State(control): State<Shared>,
    client: Client,
    Body(request): Body<CaptureRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let stream = control::capture(&control, request, asker(&client)).await?;
    Ok(answer(&client, PCAPNG, stream))
}

#[utoipa::path(get, path = "/v1/captures", responses((status = 200, body = Vec<Capture>), (status = 403, body = Error)))]
async fn list_captures(State(control): State<Shared>) -> Answer<Vec<Capture>> {
    Ok(Json(control.lock().await.view_captures()))
}

#[utoipa::path(delete, path = "/v1/captures/{id}", params(("id" = u64, Path)),
    responses((status = 204), (status = 403, body = Error), (status = 404, body = Error)))]
async fn stop_capture(
    State(control): State<Shared>,
    Named(id): Named<u64>,
) -> Result<StatusCode, ApiError> {
    if control.lock().await.stop_capture(id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::not_found(format!("there is no capture {id}")))
}

#[utoipa::path(get, path = "/v1/drops", params(HowMuch),
    responses((status = 200, content_type = "application/x-ndjson", body = DropNews), (status = 403, body = Error), (status = 409, body = Error)))]
async fn follow_drops(
    State(control): State<Shared>,
    client: Client,
    Asked(HowMuch { lines }): Asked<HowMuch>,
) -> Result<impl IntoResponse, ApiError> {
    let lines = lines.unwrap_or(FEW);
    if !(1..=MANY).contains(&lines) {
        return Err(ApiError::invalid_request(format!("{lines} lines a second: 1 to {MANY}")));
    }
    let stream = control::follow(&control, lines, asker(&client)).await?;
    Ok(answer(&client, LINES, stream))
}

fn asker(client: &Client) -> Asker {
    Asker { uid: client.credentials.uid, pid: client.credentials.pid }
}

/// Sends pieces until there are no more; a client that goes is noticed by who makes them.
fn answer(client: &Client, kind: &'static str, stream: Stream) -> impl IntoResponse + use<> {
    client.lasting.begin();
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (axum::http::HeaderName::from_static("weft-capture"), HeaderValue::from(stream.id)),
    ];
    let pieces = stream::unfold(stream.output, |mut output| async move {
        let piece = output.recv().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(piece), output))
    });
    (headers, Response::from_stream(pieces))
}
