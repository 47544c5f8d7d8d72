//! The other data centres, as operators see them, and their word on them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use schemas::{Dc, DcState};
use serde::{Deserialize, Serialize};
use writer::{
    Deadline, DeclareError, Everybody, Order,
    peer::{HttpPeer, Peer},
};

use super::{problem, read_order};
use crate::{
    App,
    dcs::{DECLARED_DOWN, writers},
    request_id::RequestId,
};

/// How long an order may take. A data centre that comes back has to copy what it missed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of a peer.
#[derive(Serialize)]
pub(super) struct PeerStatus {
    /// `up`, `down`, or `mixed`, when some partitions of the own logs say so and others do not.
    declared: &'static str,
    /// The order that says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// What its logs say of this data centre.
    declares_us: &'static str,
    /// Why it is not asked to delete, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_asked: Option<String>,
}

/// An order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    state: String,
    /// The operator's word that it serves nobody.
    #[serde(default)]
    depooled: bool,
    /// The operator's word that what it acknowledged is behind all clocks by now, however far ahead its versions were.
    #[serde(default)]
    waited: bool,
}

/// Every peer, by name.
pub(super) fn all(app: &App) -> BTreeMap<String, PeerStatus> {
    let by_others = app.dcs.words_of_others(&app.stores);
    let of = |peer: &Arc<HttpPeer>| {
        let word = app.dcs.own_word(&app.stores, peer.dc());
        let declared = match word {
            Some(word) if word.down_in_all => "down",
            Some(word) if word.down_in_some => "mixed",
            _ => "up",
        };
        let declares_us = by_others.get(peer.dc()).is_some_and(|word| word.down_in_some);
        let status = PeerStatus {
            declared,
            id: word.and_then(|word| word.oldest_id).map(|id| id.to_string()),
            declares_us: if declares_us { "down" } else { "up" },
            not_asked: peer.not_asked_because().map(|why| why.to_string()),
        };
        (peer.dc().to_string(), status)
    };
    app.dcs.peers.iter().map(of).collect()
}

pub(super) async fn list(State(app): State<App>) -> Response {
    Json(all(&app)).into_response()
}

pub(super) async fn declare(
    State(app): State<App>,
    Path(dc): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let bad = |detail: &str| problem(StatusCode::BAD_REQUEST, "Bad request", detail);
    let order: Said = match read_order(body).await {
        Ok(order) => order,
        Err(why) => return bad(&format!("{why}. An example: {{\"state\":\"up\"}}")),
    };
    let Ok(state) = order.state.parse::<DcState>() else { return bad("the state is up or down") };
    if state == DcState::Down && !order.depooled {
        return bad(
            "deletes will go on without it: say \"depooled\": true once no client is sent there any more",
        );
    }
    let dc = match dc.parse::<Dc>() {
        Ok(dc) if dc == app.dcs.us => {
            let detail = format!("a node of {dc} cannot know whether {dc} is down: say it to another one");
            return bad(&detail);
        }
        Ok(dc) => dc,
        Err(error) => return problem(StatusCode::NOT_FOUND, "No such data centre", &error.to_string()),
    };
    let Some(writers) = writers(&app.stores).filter(|_| app.readiness.serves_but_for(DECLARED_DOWN)) else {
        let why = app.readiness.why_not();
        return problem(StatusCode::SERVICE_UNAVAILABLE, "Not ready", &why);
    };
    let request_id = RequestId::of(&headers);
    let given = request_id.given().map(str::to_owned);
    tracing::warn!("{dc} is to be declared {state}, by order (request {request_id})");
    let peers = Arc::clone(&app.dcs.peers);
    let are_we_up = app.dcs.words_of_others(&app.stores).values().all(|word| !word.down_in_some);
    // It goes on whether or not somebody still waits for the answer.
    let ordered = tokio::spawn(async move {
        let peers: Vec<_> = peers.iter().map(|peer| Arc::clone(peer) as Arc<dyn Peer>).collect();
        let everybody = Everybody { writers: &writers, peers: &peers, are_we_up };
        let order = Order { dc: &dc, state, waited: order.waited, request_id: given.as_deref() };
        let outcome = everybody.declare(order, Deadline::within(PATIENCE)).await;
        match &outcome {
            Ok(declaration) => tracing::warn!("{dc} is declared {state}, as order {}", declaration.id),
            Err(error) => tracing::error!("{dc} is not declared {state} everywhere: {error}"),
        }
        outcome
    });
    match ordered.await {
        Ok(Ok(declaration)) => {
            let (dc, id) = (declaration.dc.to_string(), declaration.id.to_string());
            Json(serde_json::json!({ "dc": dc, "state": state.to_string(), "id": id })).into_response()
        }
        Ok(Err(error)) => refuse(&error),
        Err(panic) => {
            tracing::error!("An order about a data centre: {panic}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "Failed", "it failed inside")
        }
    }
}

fn refuse(error: &DeclareError) -> Response {
    let (status, title) = match error {
        DeclareError::NoSuchDc(_) => (StatusCode::NOT_FOUND, "No such data centre"),
        DeclareError::OursIsDown(_) => (StatusCode::CONFLICT, "Declared down"),
        DeclareError::Contested => (StatusCode::CONFLICT, "Contested"),
        DeclareError::Unconfirmed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "Not declared everywhere"),
        DeclareError::NotBack(_) => (StatusCode::SERVICE_UNAVAILABLE, "Not back yet"),
        DeclareError::Unheard(_) => (StatusCode::SERVICE_UNAVAILABLE, "Not confirmed by all"),
    };
    let detail = match error {
        DeclareError::OursIsDown(_) => error.to_string(),
        _ => format!("{error}. To give the order again is safe"),
    };
    problem(status, title, &detail)
}
