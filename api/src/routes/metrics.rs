//! Everything that is counted, as Prometheus reads it.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use prometheus::{TEXT_FORMAT, TextEncoder};

use super::server_error;
use crate::App;

pub(crate) async fn metrics(State(app): State<App>) -> Response {
    match TextEncoder::new().encode_to_string(&app.registry.gather()) {
        Ok(body) => {
            let mut response = body.into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT_FORMAT));
            response
        }
        Err(error) => server_error("/metrics", &error.to_string()),
    }
}
