//! What went wrong, for those who are no clients of sessions: operators and other data centres (RFC 9457).

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::Outcome;

/// The title says all that a type of its own would.
#[derive(Serialize)]
struct BriefProblem<'a> {
    r#type: &'a str,
    title: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

/// A problem document. Who is answered 503 may try again in a second.
pub(crate) fn brief_problem(
    status: StatusCode,
    title: &str,
    detail: &str,
    outcome: Option<Outcome>,
) -> Response {
    let problem = BriefProblem { r#type: "about:blank", title, detail, outcome };
    let mut response = (status, Json(problem)).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
