//! The requests about WireGuard adapters and their peers.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};
use weft_config::{
    Edit,
    api::{
        AddWireguard, AddWireguardPeer, Changed, Error, SetWireguard, SetWireguardPeer, Wireguard,
    },
};

use super::{
    extract::{Asked, Author, Body, How, Named},
    routes::{Answer, edit},
};
use crate::control::Shared;

/// Returns the routes.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list_wireguard, add_wireguard))
        .routes(routes!(show_wireguard, set_wireguard, remove_wireguard))
        .routes(routes!(add_wireguard_peer))
        .routes(routes!(set_wireguard_peer, remove_wireguard_peer))
}

#[utoipa::path(get, path = "/v1/wireguard", responses((status = 200, body = Vec<Wireguard>)))]
async fn list_wireguard(State(control): State<Shared>) -> Answer<Vec<Wireguard>> {
    Ok(Json(control.lock().await.view_wireguard()))
}

#[utoipa::path(get, path = "/v1/wireguard/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Wireguard), (status = 404, body = Error)))]
async fn show_wireguard(State(control): State<Shared>, Named(name): Named) -> Answer<Wireguard> {
    Ok(Json(control.lock().await.view_adapter(&name)?))
}

#[utoipa::path(post, path = "/v1/wireguard", params(How), request_body = AddWireguard,
    responses((status = 200, body = Changed), (status = 409, body = Error), (status = 422, body = Error)))]
async fn add_wireguard(
    State(control): State<Shared>,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddWireguard>,
) -> Answer<Changed> {
    edit(&control, Edit::AddWireguard(add), how, author).await
}

#[utoipa::path(patch, path = "/v1/wireguard/{name}", params(("name" = String, Path), How),
    request_body = SetWireguard,
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 422, body = Error)))]
async fn set_wireguard(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
    Body(set): Body<SetWireguard>,
) -> Answer<Changed> {
    edit(&control, Edit::SetWireguard { name, set }, how, author).await
}

#[utoipa::path(delete, path = "/v1/wireguard/{name}", params(("name" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error)))]
async fn remove_wireguard(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::RemoveWireguard { name }, how, author).await
}

#[utoipa::path(post, path = "/v1/wireguard/{name}/peers", params(("name" = String, Path), How),
    request_body = AddWireguardPeer,
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 409, body = Error),
        (status = 422, body = Error)))]
async fn add_wireguard_peer(
    State(control): State<Shared>,
    Named(adapter): Named,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddWireguardPeer>,
) -> Answer<Changed> {
    edit(&control, Edit::AddWireguardPeer { adapter, add }, how, author).await
}

#[utoipa::path(patch, path = "/v1/wireguard/{name}/peers/{peer}",
    params(("name" = String, Path), ("peer" = String, Path), How), request_body = SetWireguardPeer,
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 422, body = Error)))]
async fn set_wireguard_peer(
    State(control): State<Shared>,
    Named((adapter, name)): Named<(String, String)>,
    Asked(how): Asked<How>,
    author: Author,
    Body(set): Body<SetWireguardPeer>,
) -> Answer<Changed> {
    edit(&control, Edit::SetWireguardPeer { adapter, name, set }, how, author).await
}

#[utoipa::path(delete, path = "/v1/wireguard/{name}/peers/{peer}",
    params(("name" = String, Path), ("peer" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error)))]
async fn remove_wireguard_peer(
    State(control): State<Shared>,
    Named((adapter, name)): Named<(String, String)>,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::RemoveWireguardPeer { adapter, name }, how, author).await
}
