//! Asks the admin listener of a node.

use std::{
    env,
    fmt::Display,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{self, HeaderMap, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Builder,
};
use zeroize::Zeroizing;

use super::Failure;
use crate::tls::{Caller, CallerFiles};

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Null when there is no body, or none of JSON.
    pub(super) body: Value,
}

/// The environment variable with the token, for whoever has it in no file.
const TOKEN: &str = "SOLERA_TOKEN";

/// Which node is asked, and how.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct AdminArgs {
    /// The node's admin listener. `https://` before it, or --ca-cert, speaks TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9081", global = true)]
    admin: String,
    /// A file with the token that the listener knows this client by; without it, SOLERA_TOKEN in the environment.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// The authorities that sign the listener's certificate, in PEM.
    #[arg(long, value_name = "FILE", global = true)]
    ca_cert: Option<PathBuf>,
    /// A certificate to show the listener, in PEM.
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca_cert"], global = true)]
    cert: Option<PathBuf>,
    /// The key of that certificate.
    #[arg(long, value_name = "FILE", requires = "cert", global = true)]
    key: Option<PathBuf>,
}

/// An admin listener, as it is spoken to.
pub(super) struct Admin {
    /// Host and port.
    authority: String,
    tls: Option<Caller>,
    token: Option<HeaderValue>,
}

/// A connection to it, over TLS or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl AdminArgs {
    /// Does what there is to ask of the node.
    ///
    /// # Errors
    /// When a file that the arguments name cannot be used, and those of `asks`.
    pub(super) fn ask<T>(&self, asks: impl AsyncFnOnce(Admin) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let runtime = Builder::new_current_thread().enable_all().build().context("start the runtime")?;
        runtime.block_on(asks(self.open()?))
    }

    fn open(&self) -> anyhow::Result<Admin> {
        let Self { admin, token_file, ca_cert, cert, key } = self;
        let (authority, is_https) = match admin.split_once("://") {
            Some(("https", rest)) => (rest, true),
            Some(("http", rest)) if ca_cert.is_none() => (rest, false),
            Some(_) => {
                bail!("--admin {admin} is no address of a node: it takes HOST:PORT or https://HOST:PORT")
            }
            None => (admin.as_str(), ca_cert.is_some()),
        };
        let files =
            ca_cert.as_ref().map(|ca| CallerFiles { ca: ca.clone(), shows: cert.clone().zip(key.clone()) });
        if is_https && files.is_none() {
            bail!("{admin} needs --ca-cert: the authorities that sign its certificate");
        }
        let (authority, token) = (authority.trim_end_matches('/'), token(token_file.as_deref())?);
        if token.is_some() && files.is_none() && !is_here(host(authority)) {
            bail!("{admin} would be sent the token in the clear: it needs --ca-cert");
        }
        let tls = files.as_ref().map(Caller::of).transpose()?;
        Ok(Admin { authority: authority.to_owned(), tls, token })
    }
}

/// An address without its port.
fn host(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

/// Whether a host is this machine, as far as it says.
fn is_here(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What is sent of the token, if there is one.
fn token(file: Option<&Path>) -> anyhow::Result<Option<HeaderValue>> {
    let token = match file {
        Some(file) => Some(fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?),
        None => env::var(TOKEN).ok(),
    };
    let Some(token) = token.map(Zeroizing::new) else { return Ok(None) };
    let value = Zeroizing::new(format!("Bearer {}", token.trim()));
    let mut value = HeaderValue::from_str(&value).ok().context("a token has no line break in it")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Admin {
    /// A GET.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when nobody answers.
    pub(super) async fn look(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// A POST, with what is to be said in its body.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when nobody answers.
    pub(super) async fn order(&self, path: &str, with: Option<Value>) -> anyhow::Result<Answer> {
        let body = with.map(|with| with.to_string()).unwrap_or_default();
        self.ask(Method::POST, path, body.into()).await
    }

    /// The same as a PUT.
    ///
    /// # Errors
    /// [`Failure::Unavailable`] when nobody answers.
    pub(super) async fn put(&self, path: &str, with: &Value) -> anyhow::Result<Answer> {
        self.ask(Method::PUT, path, with.to_string().into()).await
    }

    /// A request on a connection of its own.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Answer> {
        let stream = self.connect().await.map_err(|error| self.unavailable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unavailable(&error))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .with_context(|| format!("ask for {path}"))?;
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        // It owns the sender: once that is gone, the connection ends.
        let exchange = async move {
            let response = sender.send_request(request).await?;
            let (parts, body) = response.into_parts();
            Ok::<_, hyper::Error>((parts, body.collect().await?.to_bytes()))
        };
        let (exchanged, _ended) = tokio::join!(exchange, connection);
        let (parts, body) = exchanged.map_err(|error| self.unavailable(&error))?;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&self.authority).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        Ok(Box::new(tls.connect(stream, host(&self.authority)).await?))
    }

    fn unavailable(&self, error: &dyn Display) -> anyhow::Error {
        let why = format!(
            "no node answers at {}: {error}. Does it run, is this its admin listener, and does that speak {}?",
            self.authority,
            if self.tls.is_some() { "TLS" } else { "plain HTTP" },
        );
        anyhow!(Failure::Unavailable(why))
    }
}

impl Answer {
    /// What a problem document says, as a failure.
    pub(super) fn refusal(&self) -> anyhow::Error {
        let said = |name| self.body.get(name).and_then(Value::as_str).unwrap_or_default();
        let what = format!("{} ({}): {}", said("title"), self.status.as_u16(), said("detail"));
        match self.status {
            StatusCode::NOT_FOUND => Failure::NotFound(what).into(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT => Failure::Unavailable(what).into(),
            _ => anyhow!(what),
        }
    }
}
