//! Who is let in on the admin listener, and to what.
//!
//! ```text
//!   request ── only_known: 401 ──▶ routing: 404, 405 ── only_with: 403 ──▶ handler
//! ```
//! So a stranger does not learn what there is.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};

use crate::{
    Access, App, ClientName, Problem, Role,
    access::{Denied, Shown},
    sender::Sender,
};

/// Who asks, and what it may do.
#[derive(Clone, Debug)]
struct Caller {
    name: ClientName,
    role: Option<Role>,
}

/// Refuses whom nobody knows, whatever there is.
pub(super) fn only_known(access: Arc<Access>, others: Router) -> Router {
    others.layer(middleware::from_fn_with_state(access, find))
}

/// Refuses who may not do as much.
pub(super) fn only_with(role: Role, served: MethodRouter<App>) -> MethodRouter<App> {
    served.route_layer(middleware::from_fn_with_state(role, compare))
}

async fn find(State(access): State<Arc<Access>>, mut request: Request, next: Next) -> Response {
    let sender = sender(&request);
    let certificate = sender.certificate.as_ref();
    match access.caller(Shown { headers: request.headers(), certificate }) {
        Ok((name, role)) => {
            request.extensions_mut().insert(Caller { name, role });
            next.run(request).await
        }
        // What it asks for is not repeated: it may be meant for the other listener, with a session key in it.
        Err(stranger) => refuse(&Denied::Stranger(stranger), &sender, "/"),
    }
}

fn sender(request: &Request) -> Sender {
    request.extensions().get().cloned().unwrap_or_default()
}

async fn compare(State(needed): State<Role>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().expect("who is let in is known");
    if caller.role.is_none_or(|role| role < needed) {
        let what = format!("do what takes the role {}", needed.word());
        let denied = Denied::Forbidden { client: caller.name.clone(), what };
        return refuse(&denied, &sender(&request), request.uri().path());
    }
    if needed == Role::Operate {
        tracing::info!("{} asks for {} {}", caller.name, request.method(), request.uri().path());
    }
    next.run(request).await
}

/// Whoever tries the admin listener is news.
fn refuse(denied: &Denied, sender: &Sender, instance: &str) -> Response {
    tracing::warn!("Refused a request from {sender} on the admin listener: {denied}");
    Problem::of_denied(denied, instance).into_response()
}
