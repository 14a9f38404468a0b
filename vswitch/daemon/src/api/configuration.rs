//! The requests about the configuration as a whole.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::Deserialize;
use tokio::sync::Mutex;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use weft_config::{
    Config,
    api::{Changed, ConfigDocument, ConfigText, Error, Former, FormerConfig},
};

use super::{
    error::ApiError,
    extract::{Asked, Author, Body, How, Named},
    routes::{Answer, to_the_end},
};
use crate::control::{ChangeError, Shared};

/// Returns the routes.
pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(show_config, apply_config))
        .routes(routes!(diff_config))
        .routes(routes!(confirm_config))
        .routes(routes!(take_back_config))
        .routes(routes!(list_formers))
        .routes(routes!(show_former))
}

/// How a whole configuration is applied.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct HowWhole {
    /// The configuration file is left alone.
    #[serde(default)]
    transient: bool,
    /// The configuration before comes back when this one is not confirmed within so many seconds; until it is, the
    /// file is left alone.
    confirm_seconds: Option<u64>,
}

#[utoipa::path(get, path = "/v1/config", responses((status = 200, body = ConfigDocument)))]
async fn show_config(State(control): State<Shared>) -> Answer<ConfigDocument> {
    Ok(Json(control.lock().await.view_config()))
}

#[utoipa::path(put, path = "/v1/config", params(HowWhole), request_body = ConfigText,
    responses((status = 200, body = Changed), (status = 409, body = Error), (status = 422, body = Error)))]
async fn apply_config(
    State(control): State<Shared>,
    Asked(how): Asked<HowWhole>,
    author: Author,
    Body(config): Body<ConfigText>,
) -> Answer<Changed> {
    let (text, dry_run) = (config.text.clone(), config.dry_run);
    let patience = how.confirm_seconds.map(Duration::from_secs);
    let how = How { transient: how.transient };
    if how.transient && patience.is_some() {
        return Err(ApiError::invalid_request(
            "a transient change is never written: there is nothing to confirm",
        ));
    }
    let parsed = parse(config).await?;
    to_the_end(async move {
        let mut control = control.lock().await;
        control.check_revision(author.expected.as_deref())?;
        if dry_run {
            return Ok(control.compare(&parsed));
        }
        match patience {
            Some(patience) => control.try_out(text, parsed, patience, author.uid).await,
            None => {
                control.check_sessions(&author.sessions, &parsed).await?;
                control.apply(text, parsed, how.permanence(), author.uid).await
            }
        }
    })
    .await
}

#[utoipa::path(post, path = "/v1/config/diff", request_body = ConfigText,
    responses((status = 200, body = Changed), (status = 422, body = Error)))]
async fn diff_config(
    State(control): State<Shared>,
    Body(config): Body<ConfigText>,
) -> Answer<Changed> {
    let other = parse(config).await?;
    Ok(Json(control.lock().await.compare(&other)))
}

#[utoipa::path(post, path = "/v1/config/confirm",
    responses((status = 200, body = Changed), (status = 409, body = Error)))]
async fn confirm_config(State(control): State<Shared>, author: Author) -> Answer<Changed> {
    to_the_end(async move {
        let mut control = control.lock().await;
        control.check_revision(author.expected.as_deref())?;
        control.confirm(author.uid)
    })
    .await
}

#[utoipa::path(post, path = "/v1/config/take-back",
    responses((status = 200, body = Changed), (status = 409, body = Error)))]
async fn take_back_config(State(control): State<Shared>, author: Author) -> Answer<Changed> {
    to_the_end(async move {
        let mut control = control.lock().await;
        control.check_revision(author.expected.as_deref())?;
        control.take_back(Some(author.uid)).await
    })
    .await
}

#[utoipa::path(get, path = "/v1/config/history", responses((status = 200, body = Vec<Former>)))]
async fn list_formers(State(control): State<Shared>) -> Answer<Vec<Former>> {
    Ok(Json(control.lock().await.formers()))
}

#[utoipa::path(get, path = "/v1/config/history/{number}", params(("number" = u64, Path)),
    responses((status = 200, body = FormerConfig), (status = 404, body = Error)))]
async fn show_former(
    State(control): State<Shared>,
    Named(number): Named<u64>,
) -> Answer<FormerConfig> {
    let former = control.lock().await.former(number)?;
    let missing = || {
        ApiError::not_found(format!("no configuration number {number} is kept"))
            .with_help("`weftctl rollback --list` says which are".to_owned())
    };
    Ok(Json(former.ok_or_else(missing)?))
}

/// Parses a whole configuration, without the lock and one at a time: readers may send any text.
async fn parse(config: ConfigText) -> Result<Config, ApiError> {
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    let parsed = tokio::task::spawn_blocking(move || {
        let name = config.name;
        Config::parse(&config.text).map_err(|errors| match name {
            Some(name) => errors.with_name(&name),
            None => errors,
        })
    });
    let parsed = parsed.await.map_err(|_| ApiError::internal("the text could not be parsed"))?;
    Ok(parsed.map_err(ChangeError::from)?)
}
