//! The requests about segments and peers.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};
use weft_config::{
    Edit,
    api::{
        AddPeer, AddSegment, Changed, Error, Peer, PeerReset, Ping, PingRequest, Segment, SetPeer,
    },
};

use super::{
    extract::{Asked, Author, Body, How, Named},
    routes::{Answer, edit},
};
use crate::control::{self, Shared};

/// Returns the routes.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list_segments, add_segment))
        .routes(routes!(remove_segment))
        .routes(routes!(list_peers, add_peer))
        .routes(routes!(show_peer, set_peer, remove_peer))
        .routes(routes!(ping))
        .routes(routes!(reset))
}

#[utoipa::path(get, path = "/v1/segments", responses((status = 200, body = Vec<Segment>)))]
async fn list_segments(State(control): State<Shared>) -> Answer<Vec<Segment>> {
    Ok(Json(control.lock().await.view_segments()))
}

#[utoipa::path(post, path = "/v1/segments", params(How), request_body = AddSegment,
    responses((status = 200, body = Changed), (status = 409, body = Error), (status = 422, body = Error)))]
async fn add_segment(
    State(control): State<Shared>,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddSegment>,
) -> Answer<Changed> {
    edit(&control, Edit::AddSegment(add), how, author).await
}

#[utoipa::path(delete, path = "/v1/segments/{name}", params(("name" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 409, body = Error)))]
async fn remove_segment(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::RemoveSegment { name }, how, author).await
}

#[utoipa::path(get, path = "/v1/peers", responses((status = 200, body = Vec<Peer>)))]
async fn list_peers(State(control): State<Shared>) -> Answer<Vec<Peer>> {
    let report = control::report(&control).await;
    Ok(Json(control.lock().await.view_peers(report.as_ref())))
}

#[utoipa::path(get, path = "/v1/peers/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Peer), (status = 404, body = Error)))]
async fn show_peer(State(control): State<Shared>, Named(name): Named) -> Answer<Peer> {
    let report = control::report(&control).await;
    Ok(Json(control.lock().await.view_peer(&name, report.as_ref())?))
}

#[utoipa::path(post, path = "/v1/peers", params(How), request_body = AddPeer,
    responses((status = 200, body = Changed), (status = 409, body = Error), (status = 422, body = Error)))]
async fn add_peer(
    State(control): State<Shared>,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddPeer>,
) -> Answer<Changed> {
    edit(&control, Edit::AddPeer(add), how, author).await
}

#[utoipa::path(patch, path = "/v1/peers/{name}", params(("name" = String, Path), How), request_body = SetPeer,
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 422, body = Error)))]
async fn set_peer(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
    Body(set): Body<SetPeer>,
) -> Answer<Changed> {
    edit(&control, Edit::SetPeer { name, set }, how, author).await
}

#[utoipa::path(delete, path = "/v1/peers/{name}", params(("name" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error)))]
async fn remove_peer(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::RemovePeer { name }, how, author).await
}

#[utoipa::path(post, path = "/v1/peers/{name}/ping", params(("name" = String, Path)), request_body = PingRequest,
    responses((status = 200, body = Ping), (status = 400, body = Error), (status = 404, body = Error)))]
async fn ping(
    State(control): State<Shared>,
    Named(name): Named,
    Body(request): Body<PingRequest>,
) -> Answer<Ping> {
    Ok(Json(control::ping(&control, &name, &request).await?))
}

#[utoipa::path(post, path = "/v1/peers/{name}/reset", params(("name" = String, Path)),
    responses((status = 200, body = PeerReset), (status = 404, body = Error)))]
async fn reset(State(control): State<Shared>, Named(name): Named) -> Answer<PeerReset> {
    Ok(Json(control::reset(&control, &name).await?))
}
