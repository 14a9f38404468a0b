//! The requests of the control API, one handler each; what they mean is the control plane's business.

use std::time::Duration;

use axum::{Json, body::Bytes, extract::State, http::header::CONTENT_TYPE};
use serde::Deserialize;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::{router::OpenApiRouter, routes};
use weft_config::{
    Edit,
    api::{
        AddFdb, AddPort, AddSwitch, AddVlan, Changed, Error, Events, FdbEntry, Flushed, Port,
        SetPort, Status, Switch, Trace, TraceRequest, Vlan,
    },
};
use weft_vlan::VlanId;

use super::{
    error::ApiError,
    extract::{Asked, Author, Body, How, Named},
};
use crate::control::{self, ChangeError, FdbFilter, Shared};

/// Text of a request's body at most.
pub(super) const BODY_LIMIT: usize = 8 * 1024 * 1024;

#[derive(OpenApi)]
#[openapi(info(
    title = "weft control API",
    description = "State and configuration of a weft switch daemon. Every refusal is an `Error`."
))]
struct Document;

/// Returns the API's routes, with the document that describes them at `/openapi.json`.
pub(super) fn router(control: Shared) -> axum::Router {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(status))
        .routes(routes!(list_ports, add_port))
        .routes(routes!(show_port, set_port, remove_port))
        .routes(routes!(list_switches, add_switch))
        .routes(routes!(remove_switch))
        .routes(routes!(list_vlans, add_vlan))
        .routes(routes!(remove_vlan))
        .routes(routes!(list_fdb, add_fdb, remove_fdb))
        .routes(routes!(flush_fdb))
        .merge(super::uplinks::routes())
        .merge(super::tunnels::routes())
        .merge(super::wireguard::routes())
        .merge(super::capture::routes())
        .routes(routes!(events))
        .routes(routes!(trace))
        .merge(super::configuration::routes())
        .split_for_parts();
    // Written out once: every connection has a clone of the router.
    let document: Bytes = serde_json::to_vec(&document).unwrap_or_default().into();
    let document = async move || ([(CONTENT_TYPE, "application/json")], document);
    router
        .route("/openapi.json", axum::routing::get(document))
        .fallback(async || ApiError::not_found("no such request; GET /openapi.json lists them"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .with_state(control)
}

pub(super) type Answer<T> = Result<Json<T>, ApiError>;

/// Which forwarding entries.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Which {
    /// Only this switch.
    switch: Option<String>,
    /// Only this VLAN, by number or name.
    vlan: Option<String>,
    /// Only this port.
    port: Option<String>,
}

/// One static forwarding entry.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OneEntry {
    /// The address.
    mac: String,
    /// The VLAN, by number or name.
    vlan: String,
    /// The switch, where it is not clear.
    switch: Option<String>,
    /// The configuration file is left alone.
    #[serde(default)]
    transient: bool,
}

/// Makes one change of the configuration.
pub(super) async fn edit(
    control: &Shared,
    edit: Edit,
    how: How,
    author: Author,
) -> Answer<Changed> {
    let control = control.clone();
    to_the_end(async move {
        let mut control = control.lock().await;
        control.check_revision(author.expected.as_deref())?;
        if !author.sessions.is_empty() {
            let config = control.edited(&edit)?;
            control.check_sessions(&author.sessions, &config).await?;
        }
        control.edit(&edit, how.permanence(), author.uid).await
    })
    .await
}

/// Carries a change through, whatever becomes of the client that asked for it: half a change is none.
pub(super) async fn to_the_end(
    change: impl Future<Output = Result<Changed, ChangeError>> + Send + 'static,
) -> Answer<Changed> {
    let outcome = tokio::spawn(change).await;
    let changed = outcome.map_err(|_| ApiError::internal("the change failed half way"))?;
    Ok(Json(changed?))
}

#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = Status), (status = 403, body = Error)))]
async fn status(State(control): State<Shared>) -> Answer<Status> {
    let report = control::report(&control).await;
    control::look_for_vms(&control).await;
    Ok(Json(control.lock().await.view_status(report.as_ref())?))
}

#[utoipa::path(get, path = "/v1/ports", responses((status = 200, body = Vec<Port>), (status = 403, body = Error)))]
async fn list_ports(State(control): State<Shared>) -> Answer<Vec<Port>> {
    control::look_for_vms(&control).await;
    Ok(Json(control.lock().await.view_ports()))
}

#[utoipa::path(get, path = "/v1/ports/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Port), (status = 404, body = Error)))]
async fn show_port(State(control): State<Shared>, Named(name): Named) -> Answer<Port> {
    control::look_for_vms(&control).await;
    Ok(Json(control.lock().await.view_port(&name)?))
}

#[utoipa::path(post, path = "/v1/ports", params(How), request_body = AddPort,
    responses((status = 200, body = Changed), (status = 409, body = Error), (status = 422, body = Error)))]
async fn add_port(
    State(control): State<Shared>,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddPort>,
) -> Answer<Changed> {
    edit(&control, Edit::AddPort(add), how, author).await
}

#[utoipa::path(patch, path = "/v1/ports/{name}", params(("name" = String, Path), How), request_body = SetPort,
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 422, body = Error)))]
async fn set_port(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
    Body(set): Body<SetPort>,
) -> Answer<Changed> {
    edit(&control, Edit::SetPort { name, set }, how, author).await
}

#[utoipa::path(delete, path = "/v1/ports/{name}", params(("name" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error)))]
async fn remove_port(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::RemovePort { name }, how, author).await
}

#[utoipa::path(get, path = "/v1/switches", responses((status = 200, body = Vec<Switch>)))]
async fn list_switches(State(control): State<Shared>) -> Answer<Vec<Switch>> {
    Ok(Json(control.lock().await.view_switches()))
}

#[utoipa::path(post, path = "/v1/switches", params(How), request_body = AddSwitch,
    responses((status = 200, body = Changed), (status = 409, body = Error)))]
async fn add_switch(
    State(control): State<Shared>,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddSwitch>,
) -> Answer<Changed> {
    edit(&control, Edit::AddSwitch(add), how, author).await
}

#[utoipa::path(delete, path = "/v1/switches/{name}", params(("name" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error)))]
async fn remove_switch(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::RemoveSwitch { name }, how, author).await
}

#[utoipa::path(get, path = "/v1/vlans", responses((status = 200, body = Vec<Vlan>)))]
async fn list_vlans(State(control): State<Shared>) -> Answer<Vec<Vlan>> {
    Ok(Json(control.lock().await.view_vlans()))
}

#[utoipa::path(post, path = "/v1/vlans", params(How), request_body = AddVlan,
    responses((status = 200, body = Changed), (status = 409, body = Error)))]
async fn add_vlan(
    State(control): State<Shared>,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddVlan>,
) -> Answer<Changed> {
    edit(&control, Edit::AddVlan(add), how, author).await
}

#[utoipa::path(delete, path = "/v1/vlans/{name}", params(("name" = String, Path), How),
    responses((status = 200, body = Changed), (status = 404, body = Error), (status = 409, body = Error)))]
async fn remove_vlan(
    State(control): State<Shared>,
    Named(name): Named,
    Asked(how): Asked<How>,
    author: Author,
) -> Answer<Changed> {
    edit(&control, Edit::RemoveVlan { name }, how, author).await
}

#[utoipa::path(get, path = "/v1/fdb", params(Which), responses((status = 200, body = Vec<FdbEntry>), (status = 404, body = Error)))]
async fn list_fdb(
    State(control): State<Shared>,
    Asked(which): Asked<Which>,
) -> Answer<Vec<FdbEntry>> {
    let control = control.lock().await;
    let filter = filter(&control, which)?;
    Ok(Json(control.view_fdb(&filter)?))
}

#[utoipa::path(post, path = "/v1/fdb", params(How), request_body = AddFdb,
    responses((status = 200, body = Changed), (status = 409, body = Error), (status = 422, body = Error)))]
async fn add_fdb(
    State(control): State<Shared>,
    Asked(how): Asked<How>,
    author: Author,
    Body(add): Body<AddFdb>,
) -> Answer<Changed> {
    edit(&control, Edit::AddFdb(add), how, author).await
}

#[utoipa::path(delete, path = "/v1/fdb", params(OneEntry),
    responses((status = 200, body = Changed), (status = 404, body = Error)))]
async fn remove_fdb(
    State(control): State<Shared>,
    Asked(one): Asked<OneEntry>,
    author: Author,
) -> Answer<Changed> {
    let how = How { transient: one.transient };
    let vlan = one.vlan.parse::<u16>().map_or_else(|_| one.vlan.into(), serde_json::Value::from);
    let removal = Edit::RemoveFdb { mac: one.mac, vlan, switch: one.switch };
    edit(&control, removal, how, author).await
}

#[utoipa::path(post, path = "/v1/fdb/flush", params(Which), responses((status = 200, body = Flushed), (status = 404, body = Error)))]
async fn flush_fdb(State(control): State<Shared>, Asked(which): Asked<Which>) -> Answer<Flushed> {
    let control = control.lock().await;
    let filter = filter(&control, which)?;
    Ok(Json(Flushed { flushed: control.flush_fdb(&filter)? }))
}

/// Which events, and how long to wait for one.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Since {
    /// The number of the last one that is known already.
    #[serde(default)]
    after: u64,
    /// The answer comes when there is one, or after so many seconds; 60 at most.
    #[serde(default)]
    wait_seconds: u64,
}

#[utoipa::path(get, path = "/v1/events", params(Since), responses((status = 200, body = Events), (status = 403, body = Error)))]
async fn events(State(control): State<Shared>, Asked(since): Asked<Since>) -> Answer<Events> {
    let events = control.lock().await.events();
    let patience = Duration::from_secs(since.wait_seconds.min(60));
    Ok(Json(events.after(since.after, patience).await))
}

#[utoipa::path(post, path = "/v1/trace", request_body = TraceRequest,
    responses((status = 200, body = Trace), (status = 400, body = Error), (status = 404, body = Error)))]
async fn trace(State(control): State<Shared>, Body(request): Body<TraceRequest>) -> Answer<Trace> {
    Ok(Json(control.lock().await.trace(&request)?))
}

fn filter(control: &crate::control::Control, which: Which) -> Result<FdbFilter, ApiError> {
    let vlan = which.vlan.map(|text| vlan(control, &text)).transpose()?;
    Ok(FdbFilter { switch: which.switch, vlan, port: which.port })
}

fn vlan(control: &crate::control::Control, text: &str) -> Result<VlanId, ApiError> {
    if let Ok(number) = text.parse::<u16>() {
        return VlanId::new(number).ok_or_else(|| {
            ApiError::invalid_request(format!("{number} is not a VLAN: 1 to 4094"))
        });
    }
    control.vlan_named(text).ok_or_else(|| {
        let names = control.vlan_names().join(", ");
        let error = ApiError::not_found(format!("there is no VLAN `{text}`"));
        if names.is_empty() {
            error
        } else {
            error.with_help(format!("the named VLANs are: {names}"))
        }
    })
}
