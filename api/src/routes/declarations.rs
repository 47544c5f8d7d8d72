//! What another data centre declares of a third: into every partition of this one's own logs.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use schemas::Declaration;
use writer::{
    Deadline, declare_here,
    peer::{
        Peer, Telling, Told,
        messages::{DeclarationAnswer, DeclarationCall, INDEX_SECRET},
    },
};

use super::peer::{PeerApp, failed, read_call, refused};
use crate::{
    Outcome,
    brief_problem::brief_problem as problem,
    dcs::{DECLARED_DOWN, writers},
};

/// The longest that a declaration may take: there is a record for every partition of every store.
const PATIENCE_MAX: Duration = Duration::from_secs(10);

pub(super) async fn declaration(State(app): State<Arc<PeerApp>>, body: Body) -> Response {
    let bad = |detail: &str| problem(StatusCode::BAD_REQUEST, "Bad request", detail, None);
    let call: DeclarationCall = match read_call(body).await {
        Ok(call) => call,
        Err(why) => return bad(&why),
    };
    let DeclarationCall { dc, state, id, index_fingerprint, waited, request_id, deadline_ms } = call;
    if app.fingerprints.index() != index_fingerprint {
        let detail = format!("{} has another secret `{INDEX_SECRET}`", app.dc);
        return problem(StatusCode::CONFLICT, "config_mismatch", &detail, None);
    }
    if !app.peers.contains_key(&dc) {
        return bad(&format!("{} is no other data centre to {}", dc, app.dc));
    }
    let readiness = &app.app.readiness;
    let Some(writers) = writers(&app.app.stores).filter(|_| readiness.serves_but_for(DECLARED_DOWN)) else {
        let why = readiness.why_not();
        return refused(&format!("not ready: {why}"));
    };
    let subject = app.app.dcs.peers.iter().find(|peer| *peer.dc() == dc).cloned();
    let patience = Duration::from_millis(deadline_ms).min(PATIENCE_MAX);
    let declaration = Declaration { dc, state, id };
    // It goes on whether or not somebody still waits for the answer.
    let told = tokio::spawn(async move {
        let telling = Telling { declaration: &declaration, waited, request_id: request_id.as_deref() };
        let subject = subject.as_deref().map(|subject| subject as &dyn Peer);
        declare_here(&writers, subject, telling, Deadline::within(patience)).await
    });
    let answer = |id| Json(DeclarationAnswer { dc: app.dc.clone(), id });
    match told.await {
        Ok(Told::Done) => answer(id).into_response(),
        Ok(Told::Newer(newest)) => (StatusCode::CONFLICT, answer(newest)).into_response(),
        Ok(Told::None(no_answer)) => failed(&no_answer),
        Err(panic) => {
            tracing::error!("A declaration of a peer: {panic}");
            let outcome = Some(Outcome::Unknown);
            problem(StatusCode::GATEWAY_TIMEOUT, "Outcome unknown", "it failed inside", outcome)
        }
    }
}
