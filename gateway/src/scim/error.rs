//! What a provisioning system is told when something does not work (RFC 7644 §3.12).

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use crate::people::{PeopleError, Refused};

/// `scimType`: RFC 7644 table 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    InvalidFilter,
    Uniqueness,
    Mutability,
    InvalidSyntax,
    InvalidPath,
    NoTarget,
    InvalidValue,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidFilter => "invalidFilter",
            Self::Uniqueness => "uniqueness",
            Self::Mutability => "mutability",
            Self::InvalidSyntax => "invalidSyntax",
            Self::InvalidPath => "invalidPath",
            Self::NoTarget => "noTarget",
            Self::InvalidValue => "invalidValue",
        }
    }
}

/// A request that is answered with an error document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(super) struct ScimError {
    pub(super) status: StatusCode,
    pub(super) kind: Option<Kind>,
    pub(super) detail: Box<str>,
}

impl ScimError {
    pub(super) fn new(status: StatusCode, detail: impl Into<Box<str>>) -> Self {
        Self {
            status,
            kind: None,
            detail: detail.into(),
        }
    }

    /// 400, or 409 for what is taken.
    pub(super) fn of(kind: Kind, detail: impl Into<Box<str>>) -> Self {
        let status = match kind {
            Kind::Uniqueness => StatusCode::CONFLICT,
            Kind::InvalidFilter
            | Kind::Mutability
            | Kind::InvalidSyntax
            | Kind::InvalidPath
            | Kind::NoTarget
            | Kind::InvalidValue => StatusCode::BAD_REQUEST,
        };
        Self {
            kind: Some(kind),
            ..Self::new(status, detail)
        }
    }

    pub(super) fn value(detail: impl Into<Box<str>>) -> Self {
        Self::of(Kind::InvalidValue, detail)
    }

    pub(super) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such resource")
    }

    /// For what went wrong here; the log has the cause.
    pub(super) fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "a change by SCIM could not be made");
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "the change could not be made; try again")
    }

    pub(super) fn response(&self) -> Response<Bytes> {
        let mut document = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.as_u16().to_string(),
            "detail": self.detail,
        });
        if let (Some(kind), Some(object)) = (self.kind, document.as_object_mut()) {
            object.insert("scimType".to_owned(), kind.as_str().into());
        }
        super::render::answer(self.status, &document)
    }
}

impl From<Refused> for ScimError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Taken(_) => Self::of(Kind::Uniqueness, refused.to_string()),
            Refused::Nameless(_) | Refused::NoSuchMember(_) => Self::value(refused.to_string()),
            Refused::Full(_) => Self::new(StatusCode::INSUFFICIENT_STORAGE, refused.to_string()),
            Refused::Store(error) => error.into(),
        }
    }
}

impl From<PeopleError> for ScimError {
    fn from(error: PeopleError) -> Self {
        Self::internal(&error)
    }
}
