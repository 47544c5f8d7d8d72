//! What went wrong, as clients read it (RFC 7807 in Kask's shape), and the one map from errors to answers.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use materializer::NotKnown;
use serde::Serialize;
use writer::{DeleteError, Unconfirmed, WriteError};

use crate::access::Denied;

/// What is to be sent instead. A certificate would do as well; HTTP has no word for that.
const CHALLENGE: &str = "Bearer realm=\"solera\"";

const KASK_TYPE_BASE: &str = "https://www.mediawiki.org/wiki/Kask/errors/";

/// A problem document and its status.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    /// For the log alone: may tell of files and of the system's errors.
    reason: Option<Box<str>>,
    instance: Box<str>,
    closes: bool,
    unconfirmed: Option<Unconfirmed>,
}

/// The kinds of problems. Each has a page of remedies, `docs/errors/<name>.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong; repeated, it will be wrong again.
    BadRequest,
    /// Nobody knows who asks.
    NotAuthorized,
    /// Whoever asks may not ask for this.
    Forbidden,
    /// There is no such session.
    NotFound,
    /// The body did not come in time.
    RequestTimeout,
    /// The body is over the limit of the store.
    PayloadTooLarge,
    /// A bug, or a secret is missing.
    ServerError(Outcome),
    /// The node is starting, or its view is made anew.
    NotReady,
    /// More is waiting than memory allows.
    Overloaded,
    /// The log does not answer, or has stopped.
    LogUnreachable,
    /// Some data centres did not confirm a delete.
    DeleteUnconfirmed,
    /// The write may be stored.
    OutcomeUnknown,
    /// The write is stored, but cannot be read here yet.
    NotVisibleYet,
}

/// What is known to be stored after a 5xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing.
    Refused,
    /// A tombstone, in some data centres.
    Partial,
    /// Nobody knows.
    Unknown,
    /// The write.
    Stored,
}

/// Kask's four fields first, in Kask's order.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    type_uri: String,
    title: &'static str,
    detail: &'a str,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unconfirmed: Option<Vec<UnconfirmedDc<'a>>>,
}

#[derive(Serialize)]
struct UnconfirmedDc<'a> {
    dc: &'a str,
    reason: &'a str,
}

impl Kind {
    const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotAuthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ServerError(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotReady | Self::Overloaded | Self::LogUnreachable | Self::DeleteUnconfirmed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::OutcomeUnknown | Self::NotVisibleYet => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    const fn outcome(self) -> Option<Outcome> {
        match self {
            Self::BadRequest
            | Self::NotAuthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::RequestTimeout
            | Self::PayloadTooLarge => None,
            Self::ServerError(outcome) => Some(outcome),
            Self::NotReady | Self::Overloaded | Self::LogUnreachable => Some(Outcome::Refused),
            Self::DeleteUnconfirmed => Some(Outcome::Partial),
            Self::OutcomeUnknown => Some(Outcome::Unknown),
            Self::NotVisibleYet => Some(Outcome::Stored),
        }
    }

    /// The name of its page, the title, and the detail where there is nothing to add.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::BadRequest => ("bad_request", "Bad request", "The request was incorrect or malformed"),
            Self::NotAuthorized => ("not_authorized", "Not authorized", "Unable to authorize request"),
            Self::Forbidden => ("forbidden", "Forbidden", "This client may not ask for this"),
            Self::NotFound => ("not_found", "Not found", "The value you requested was not found"),
            Self::RequestTimeout => {
                ("request_timeout", "Request timeout", "The body of the request did not arrive in time")
            }
            Self::PayloadTooLarge => {
                ("payload_too_large", "Payload too large", "The body is larger than this store allows")
            }
            Self::ServerError(_) => {
                ("server_error", "Internal server error", "The server encountered an error with your request")
            }
            Self::NotReady => ("not_ready", "Not ready", "This node cannot answer yet"),
            Self::Overloaded => {
                ("overloaded", "Overloaded", "Too much is waiting to be written; nothing was stored")
            }
            Self::LogUnreachable => {
                ("log_unreachable", "Log unreachable", "The log does not answer; nothing was stored")
            }
            Self::DeleteUnconfirmed => {
                ("delete_unconfirmed", "Delete unconfirmed", "Some data centres did not confirm the delete")
            }
            Self::OutcomeUnknown => {
                ("outcome_unknown", "Outcome unknown", "The write may have been stored; repeating it is safe")
            }
            Self::NotVisibleYet => (
                "not_visible_yet",
                "Not visible yet",
                "The write is stored but cannot be read here yet; repeating it is safe",
            ),
        }
    }

    fn type_uri(self) -> String {
        let (name, ..) = self.words();
        match self {
            Self::BadRequest | Self::NotAuthorized | Self::NotFound | Self::ServerError(_) => {
                format!("{KASK_TYPE_BASE}{name}")
            }
            Self::Forbidden
            | Self::RequestTimeout
            | Self::PayloadTooLarge
            | Self::NotReady
            | Self::Overloaded
            | Self::LogUnreachable
            | Self::DeleteUnconfirmed
            | Self::OutcomeUnknown
            | Self::NotVisibleYet => format!("urn:solera:problem:{name}"),
        }
    }
}

impl Problem {
    /// A problem with what `instance` names: a base URI, or one with `~` and a key id. Never a session key.
    pub fn new(kind: Kind, instance: impl Into<Box<str>>) -> Self {
        let (_, _, detail) = kind.words();
        Self {
            kind,
            detail: detail.to_owned(),
            reason: None,
            instance: instance.into(),
            closes: false,
            unconfirmed: None,
        }
    }

    /// Says more after the kind's own detail. Must not quote the request's key or body.
    #[must_use]
    pub fn because(mut self, reason: impl std::fmt::Display) -> Self {
        self.detail = format!("{}: {reason}", self.detail);
        self
    }

    /// Says this in place of the kind's own detail, which does not fit.
    #[must_use]
    pub fn saying(mut self, detail: &str) -> Self {
        detail.clone_into(&mut self.detail);
        self
    }

    /// Says to the log, and to nobody else, why. Must not quote the request's key or body either.
    #[must_use]
    pub fn caused_by(mut self, reason: impl std::fmt::Display) -> Self {
        self.reason = Some(reason.to_string().into());
        self
    }

    /// The same problem, about something else.
    #[must_use]
    pub fn about(self, instance: String) -> Self {
        Self { instance: instance.into(), ..self }
    }

    /// The connection is closed after the answer.
    #[must_use]
    pub const fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Which kind it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// For the log: what happened, and why.
    pub fn told_to_log(&self) -> String {
        let reason = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        format!("{}{reason}", self.detail)
    }

    pub(crate) fn of_denied(denied: &Denied, instance: &str) -> Self {
        let kind = match denied {
            Denied::Stranger(_) => Kind::NotAuthorized,
            Denied::Forbidden { .. } => Kind::Forbidden,
        };
        Self::new(kind, instance).because(denied)
    }

    pub(crate) fn of_write(error: &WriteError, instance: String) -> Self {
        let kind = match error {
            WriteError::CannotLook(_) | WriteError::Refused(_) => Kind::LogUnreachable,
            WriteError::Overloaded => Kind::Overloaded,
            WriteError::Unknown(_) => Kind::OutcomeUnknown,
            WriteError::NotVisible(_) => Kind::NotVisibleYet,
        };
        Self::new(kind, instance).caused_by(error)
    }

    pub(crate) fn of_read(error: &NotKnown, instance: String) -> Self {
        let kind = match error {
            NotKnown::Stale(_) | NotKnown::Outage => Kind::LogUnreachable,
            NotKnown::View(_) => Kind::ServerError(Outcome::Refused),
        };
        Self::new(kind, instance).caused_by(error)
    }

    pub(crate) fn of_delete(error: DeleteError, instance: String) -> Self {
        let reason = error.to_string();
        let kind = match &error {
            DeleteError::Overloaded(_) => Kind::Overloaded,
            DeleteError::Refused(_) => Kind::LogUnreachable,
            DeleteError::Unconfirmed(_) => Kind::DeleteUnconfirmed,
            DeleteError::NotVisible(_) => Kind::NotVisibleYet,
            DeleteError::Unknown(_) => Kind::OutcomeUnknown,
        };
        let unconfirmed = match error {
            DeleteError::Unconfirmed(unconfirmed) => Some(unconfirmed),
            DeleteError::Overloaded(_)
            | DeleteError::Refused(_)
            | DeleteError::NotVisible(_)
            | DeleteError::Unknown(_) => None,
        };
        Self { unconfirmed, ..Self::new(kind, instance).caused_by(reason) }
    }

    fn document(&self) -> String {
        let (_, title, _) = self.kind.words();
        let acknowledged =
            |u: &'_ Unconfirmed| u.acknowledged.iter().map(|dc| dc.as_str().to_owned()).collect::<Vec<_>>();
        let acknowledged = self.unconfirmed.as_ref().map(acknowledged);
        let document = Document {
            type_uri: self.kind.type_uri(),
            title,
            detail: &self.detail,
            instance: &self.instance,
            outcome: self.kind.outcome(),
            acknowledged: acknowledged.as_ref().map(|dcs| dcs.iter().map(String::as_str).collect()),
            unconfirmed: self.unconfirmed.as_ref().map(|unconfirmed| {
                let each = unconfirmed.unconfirmed.iter();
                each.map(|(dc, reason)| UnconfirmedDc { dc: dc.as_str(), reason }).collect()
            }),
        };
        serde_json::to_string_pretty(&document).expect("strings can be written as JSON") + "\n"
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.document()));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.kind == Kind::NotAuthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if self.kind.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kasks_four_fields_come_first_in_kasks_layout() {
        let problem = Problem::new(Kind::NotFound, "/sessions/v1/~AAAAAAAAAAAAAAAAAAAAAA");
        let expected = r#"{
  "type": "https://www.mediawiki.org/wiki/Kask/errors/not_found",
  "title": "Not found",
  "detail": "The value you requested was not found",
  "instance": "/sessions/v1/~AAAAAAAAAAAAAAAAAAAAAA"
}
"#;
        assert_eq!(problem.document(), expected);
    }

    #[test]
    fn an_unconfirmed_delete_says_who_did_and_who_did_not() {
        let unconfirmed = Unconfirmed {
            acknowledged: vec!["eqiad".parse().unwrap()],
            unconfirmed: vec![("codfw".parse().unwrap(), "timed out".into())],
        };
        let problem = Problem::of_delete(DeleteError::Unconfirmed(unconfirmed), "/s/~x".into());
        let document: serde_json::Value = serde_json::from_str(&problem.document()).unwrap();
        assert_eq!(document["outcome"], "partial");
        assert_eq!(document["acknowledged"], serde_json::json!(["eqiad"]));
        assert_eq!(document["unconfirmed"], serde_json::json!([{"dc": "codfw", "reason": "timed out"}]));
    }

    #[test]
    fn every_5xx_says_what_is_stored_and_nothing_else_does() {
        let kinds = [
            (Kind::BadRequest, None),
            (Kind::NotAuthorized, None),
            (Kind::Forbidden, None),
            (Kind::NotFound, None),
            (Kind::RequestTimeout, None),
            (Kind::PayloadTooLarge, None),
            (Kind::ServerError(Outcome::Unknown), Some("unknown")),
            (Kind::NotReady, Some("refused")),
            (Kind::Overloaded, Some("refused")),
            (Kind::LogUnreachable, Some("refused")),
            (Kind::DeleteUnconfirmed, Some("partial")),
            (Kind::OutcomeUnknown, Some("unknown")),
            (Kind::NotVisibleYet, Some("stored")),
        ];
        for (kind, outcome) in kinds {
            let document: serde_json::Value =
                serde_json::from_str(&Problem::new(kind, "/").document()).unwrap();
            assert_eq!(document.get("outcome").and_then(|outcome| outcome.as_str()), outcome, "{kind:?}");
            assert_eq!(kind.status().is_server_error(), outcome.is_some(), "{kind:?}");
        }
    }
}
