//! The requests about uplinks.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};
use weft_config::{
    Edit,
    api::{AdoptUplink, Changed, Error, Uplink},
};

use super::{
    extract::{Asked, Author, Body, How, Named},
    routes::{Answer, edit, to_the_end},
};
use crate::control::{self, Shared};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list_uplinks, adopt)).routes(routes!(release))
}

#[utoipa::path(get, path = "/v1/uplinks", responses((status = 200, body = Vec<Uplink>), (status = 403, body = Error)))]
async fn list_uplinks(State(control): State<Shared>) -> Answer<Vec<Uplink>> {
    Ok(Json(control.lock().await.view_uplinks()))
}

#[utoipa::path(post, path = "/v1/uplinks", request_body = AdoptUplink,
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 409, body = Error)))]
async fn adopt(
    State(control): State<Shared>,
    author: Author,
    Body(adopt): Body<AdoptUplink>,
) -> Answer<Changed> {
    to_the_end(control::adopt(control, adopt, author.uid, author.expected)).await
}

#[utoipa::path(delete, path = "/v1/uplinks/{device}", params(("device" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error)))]
async fn release(
    State(control): State<Shared>,
    Named(device): Named,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::ReleaseUplink { device }, how, author).await
}
