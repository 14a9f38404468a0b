//! Refusals: a stable word, a sentence, and what to do next.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use weft_config::{
    EditError,
    api::{Error, ErrorBody},
};

use crate::{
    config_file::FileError,
    control::{CaptureError, ChangeError, Unknown, ViewError},
};

/// What a client may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forbidden {
    /// Change something.
    Change,
    /// See what frames contain.
    SeeFrames,
    /// Look at anything.
    Look,
}

/// A refusal with its HTTP status.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ApiError {
    fn new(status: StatusCode, code: &str, message: impl Into<String>, help: Option<&str>) -> Self {
        let body = ErrorBody {
            code: code.to_owned(),
            message: message.into(),
            help: help.map(str::to_owned),
        };
        Self { status, body }
    }

    pub(super) fn internal(message: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message, None)
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid-request", message, None)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message, None)
    }

    /// A path that knows other methods.
    pub(super) fn method_not_allowed() -> Self {
        let help = Some("GET /openapi.json lists the requests");
        let message = "this path takes no request of that method";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "invalid-request", message, help)
    }

    pub(super) fn not_allowed(uid: u32, what: Forbidden) -> Self {
        let (what, help) = match what {
            Forbidden::Change => {
                ("change anything", "only root and the user that weftd runs as may: try sudo")
            }
            Forbidden::SeeFrames => (
                "see frames",
                "only root and the user that weftd runs as may: try sudo; `weftctl drops --follow` needs no more than \
                 the group `weft`",
            ),
            Forbidden::Look => (
                "see the switch's state",
                "root, the user that weftd runs as and members of the group `weft` may",
            ),
        };
        Self::new(
            StatusCode::FORBIDDEN,
            "not-allowed",
            format!("user id {uid} may not {what}"),
            Some(help),
        )
    }

    pub(super) fn with_help(mut self, help: String) -> Self {
        self.body.help = Some(help);
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(Error { error: self.body })).into_response()
    }
}

impl From<Unknown> for ApiError {
    fn from(unknown: Unknown) -> Self {
        let error = Self::not_found(unknown.to_string());
        match unknown.help() {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Unknown(unknown) => unknown.into(),
            ViewError::Disabled(_) | ViewError::BadFrame(_) | ViewError::BadPing(_) => {
                Self::invalid_request(error.to_string())
            }
        }
    }
}

impl From<CaptureError> for ApiError {
    fn from(error: CaptureError) -> Self {
        let message = error.to_string();
        match error {
            CaptureError::Unknown(unknown) => unknown.into(),
            CaptureError::Filter(error) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid-filter", message, error.help.as_deref())
            }
            CaptureError::Senseless(_) => Self::invalid_request(message),
            CaptureError::TooMany(..) => Self::new(
                StatusCode::CONFLICT,
                "too-many-captures",
                message,
                Some("wait until one of them has ended, or end it"),
            ),
            CaptureError::Thread(_) => Self::internal(&message),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        let message = error.to_string();
        match error {
            // The mistake is in what was asked for: a line of a text that nobody has seen says nothing.
            ChangeError::Edit(EditError::Config(errors)) => ChangeError::Outcome(errors).into(),
            ChangeError::Edit(error) => error.into(),
            ChangeError::Config(errors) => EditError::Config(errors).into(),
            ChangeError::Outcome(errors) => {
                let help = errors.mistakes().iter().find_map(|mistake| mistake.help.as_deref());
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-config", message, help)
            }
            ChangeError::Secrets(error) => {
                let help = error.help();
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-config", message, Some(&help))
            }
            ChangeError::Listen(..) => Self::new(
                StatusCode::CONFLICT,
                "cannot-listen",
                message,
                Some(
                    "nothing was changed; `ss -ulnp` says who has a port, `ip address` what addresses there are",
                ),
            ),
            ChangeError::File(FileError::Changed(_)) => Self::new(
                StatusCode::CONFLICT,
                "file-changed",
                message,
                Some(
                    "`weftctl diff` shows the difference; reload it with SIGHUP or `weftctl apply`, or change the \
                     running switch alone with --transient",
                ),
            ),
            ChangeError::File(FileError::Gone(_) | FileError::Read(..) | FileError::Write(..)) => {
                Self::new(
                    StatusCode::CONFLICT,
                    "file-unwritable",
                    message,
                    Some(
                        "nothing was changed; make the file writable, or change the running switch alone with --transient",
                    ),
                )
            }
            ChangeError::Uplink(error) => {
                let (status, code) = (StatusCode::CONFLICT, error.code());
                Self::new(status, code, message, error.help())
            }
            ChangeError::CutsSession { .. } => Self::new(
                StatusCode::CONFLICT,
                "cuts-session",
                message,
                Some("`weftctl apply FILE --confirm 60s` takes a change back that nobody confirms"),
            ),
            ChangeError::ConfirmPending(_) => Self::new(
                StatusCode::CONFLICT,
                "confirm-pending",
                message,
                Some("`weftctl confirm` keeps it, `weftctl rollback` takes it back"),
            ),
            ChangeError::NothingPending => Self::new(
                StatusCode::CONFLICT,
                "nothing-pending",
                message,
                Some(
                    "one that was not confirmed in time has been taken back; `weftctl diff FILE` shows",
                ),
            ),
            ChangeError::Patience => Self::invalid_request(message),
            ChangeError::State(..) => Self::new(
                StatusCode::CONFLICT,
                "state-unwritable",
                message,
                Some(
                    "nothing was changed; the state directory must be writable, and its disk not full",
                ),
            ),
            ChangeError::Revision { .. } => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "revision-mismatch",
                message,
                Some("look at the configuration again and repeat the change"),
            ),
        }
    }
}

impl From<EditError> for ApiError {
    fn from(error: EditError) -> Self {
        let status = match &error {
            EditError::Exists { .. } | EditError::InUse { .. } | EditError::Layout { .. } => {
                StatusCode::CONFLICT
            }
            EditError::NotFound { .. } => StatusCode::NOT_FOUND,
            EditError::Invalid { .. } | EditError::Config(_) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, body: error.body() }
    }
}
