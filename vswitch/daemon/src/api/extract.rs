//! What requests bring, taken out of them so that every mistake is told like every other refusal.

use std::net::IpAddr;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::BytesRejection},
    http::{HeaderValue, header::IF_MATCH, request::Parts},
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;
use weft_config::api::SESSION_HEADER;

use super::{access::Client, error::ApiError};
use crate::control::Permanence;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error: BytesRejection| ApiError::invalid_request(error.body_text()))?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| ApiError::invalid_request(error.to_string()))?;
        Ok(Self(value))
    }
}

/// A query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::invalid_request(error.body_text())),
        }
    }
}

/// The name in a path, or several.
pub(super) struct Named<T = String>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(error) => Err(ApiError::invalid_request(error.body_text())),
        }
    }
}

/// How a change is made.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct How {
    /// The configuration file is left alone.
    #[serde(default)]
    pub(super) transient: bool,
}

impl How {
    pub(super) fn permanence(self) -> Permanence {
        if self.transient { Permanence::Transient } else { Permanence::Written }
    }
}

/// Who asks for a change, and of which configuration.
pub(super) struct Author {
    /// The user who asks.
    pub(super) uid: u32,
    /// The revision that the change is made against.
    pub(super) expected: Option<String>,
    /// The far ends of sessions that the change must not cut.
    pub(super) sessions: Vec<IpAddr>,
}

/// Far ends of one client's sessions that are looked at.
const SESSIONS_MAX: usize = 16;

impl<S: Sync> FromRequestParts<S> for Author {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let client = Client::from_request_parts(parts, state).await?;
        let revision = parts.headers.get(IF_MATCH);
        let expected = revision.map(|value| value.to_str().unwrap_or("not text").to_owned());
        let sessions = parts.headers.get(SESSION_HEADER).map_or(Ok(Vec::new()), sessions)?;
        Ok(Self { uid: client.credentials.uid, expected, sessions })
    }
}

/// Reads a list of addresses with commas between them.
fn sessions(value: &HeaderValue) -> Result<Vec<IpAddr>, ApiError> {
    let wrong = || ApiError::invalid_request(format!("{SESSION_HEADER} is a list of IP addresses"));
    let text = value.to_str().map_err(|_| wrong())?;
    let sessions = text.split(',').take(SESSIONS_MAX);
    sessions.map(|ip| ip.trim().parse().map_err(|_| wrong())).collect()
}
