//! The specification of this service, for service-checker and for people.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

use super::server_error;
use crate::App;

/// The only action of Go's templates that Kask's own specification uses.
const BASE_URI_ACTION: &str = "{{- .BaseURI -}}";

/// The template with the base URI of the first store.
pub(super) async fn openapi(State(app): State<App>) -> Response {
    let base_uri = app.stores.iter().next().map_or("/", |store| store.base_uri());
    match fill(&app.openapi, base_uri) {
        Ok(body) => {
            let mut response = body.into_response();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-yaml"));
            response
        }
        Err(reason) => server_error("/openapi", reason),
    }
}

/// Replaces the base URI, and the white space around the action as Go does.
fn fill(template: &str, base_uri: &str) -> Result<String, &'static str> {
    if template.is_empty() {
        return Err("the file of openapi_spec could not be read when this node started");
    }
    let mut parts = template.split(BASE_URI_ACTION);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        filled.truncate(filled.trim_end().len());
        filled += base_uri;
        filled += part.trim_start();
    }
    if filled.contains("{{") {
        return Err("the file of openapi_spec has an action other than {{- .BaseURI -}}");
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_uri_is_filled_in_as_gos_templates_do() {
        assert_eq!(fill("a:\n  {{- .BaseURI -}}{key}: b", "/s/").as_deref(), Ok("a:/s/{key}: b"));
        assert_eq!(fill("  \"{{- .BaseURI -}}{key}\":", "/s/").as_deref(), Ok("  \"/s/{key}\":"));
        assert!(fill("{{ .Other }}", "/s/").is_err());
        assert!(fill("", "/s/").is_err());
    }
}
