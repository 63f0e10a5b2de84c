//! The client of the admin API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::configuration::reachable;
use super::{Failure, Format};
use crate::config::{self, Env};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of an answer.
const ANSWER_MAX: usize = 64 << 20;

/// Which gratis to talk to, and how to show what it says.
#[derive(Args, Clone)]
pub struct AdminArgs {
    /// Where the admin API is [default: as the configuration has it, else http://127.0.0.1:8081]
    #[arg(long = "admin", value_name = "URL", env = "GRATIS_ADMIN_URL", global = true)]
    url: Option<String>,
    /// The admin token; better left to the file, since others can see the arguments of a process.
    #[arg(long, value_name = "TOKEN", env = "GRATIS_ADMIN_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    /// A file with the admin token [default: as the configuration has it, else gratis-data/admin-token]
    #[arg(long, value_name = "FILE", env = "GRATIS_ADMIN_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// The configuration of the gratis that is meant.
    #[arg(long, value_name = "FILE", env = "GRATIS_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// How results are shown.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub output: Format,
}

impl AdminArgs {
    /// Runs a command's calls on a runtime of its own.
    pub(super) fn call<T>(&self, calls: impl AsyncFnOnce(Admin) -> Result<T, Failure>) -> Result<T, Failure> {
        let admin = Admin::new(self)?;
        runtime()?.block_on(calls(admin))
    }

    /// The configuration of the gratis that is meant.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(super) fn is_json(&self) -> bool {
        self.output == Format::Json
    }

    /// Where the admin API is, and its token. A configuration that cannot be loaded here, for want of the provider's key for
    /// example, is no reason not to try the usual places.
    fn find(&self) -> Result<(String, Option<String>), Failure> {
        let given = self.token.clone().map(Ok).or_else(|| self.token_file.as_deref().map(read_token)).transpose()?;
        let known = (self.url.is_none() || given.is_none())
            .then(|| config::load(self.config.as_deref(), &Env::of_process()).ok())
            .flatten()
            .map(|loaded| loaded.config.admin);
        let url = self.url.clone().unwrap_or_else(|| {
            known.as_ref().map_or_else(|| USUAL_URL.to_owned(), |admin| format!("http://{}", reachable(admin.listen)))
        });
        let configured = || known.as_ref().and_then(|admin| Some(admin.token.as_ref()?.expose().to_owned()));
        let token = given.or_else(configured).or_else(|| read_token(Path::new(USUAL_TOKEN)).ok());
        Ok((url, token.map(|token| token.trim().to_owned())))
    }
}

/// Where the admin API is unless somebody decides otherwise.
const USUAL_URL: &str = "http://127.0.0.1:8081";
/// Where its token is unless somebody decides otherwise.
const USUAL_TOKEN: &str = "gratis-data/admin-token";

fn read_token(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

/// A runtime for a command that serves.
pub(super) fn runtime_of_many() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Refused(format!("cannot start the runtime: {error}")))
}

/// A runtime for a command that makes calls.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Refused(format!("cannot start the runtime: {error}")))
}

/// The admin API.
pub(super) struct Admin {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    origin: String,
    token: Option<String>,
    /// Who runs the command, for the audit log.
    name: Option<String>,
}

/// An answer as it came.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Admin {
    fn new(args: &AdminArgs) -> Result<Self, Failure> {
        let (url, token) = args.find()?;
        let origin = origin(&url)?;
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| Failure::Refused(format!("cannot set up TLS: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let name = Env::of_process().get("USER").map(str::to_owned);
        Ok(Self { client, origin, token, name })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::GET, path, None).await
    }

    /// A list from its first page to its last, as one answer.
    pub(super) async fn list(&self, path: &str) -> Result<Value, Failure> {
        let mut whole = self.get(path).await?;
        let sign = if path.contains('?') { '&' } else { '?' };
        while let Some(next) = whole.get("next").and_then(Value::as_str) {
            let page = self.get(&format!("{path}{sign}cursor={}", segment(next))).await?;
            let (Value::Object(members), Value::Object(mut page)) = (&mut whole, page) else { break };
            let more = page.remove("items");
            if let (Some(Value::Array(items)), Some(Value::Array(more))) = (members.get_mut("items"), more) {
                items.extend(more);
            }
            members.insert("next".to_owned(), page.remove("next").unwrap_or_default());
        }
        Ok(whole)
    }

    pub(super) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(method, path, Some(body)).await
    }

    async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let reply = self.raw(method, path, body).await?;
        if !reply.status.is_success() {
            return Err(self.refusal(&reply));
        }
        serde_json::from_slice(&reply.body)
            .map_err(|error| Failure::Refused(format!("{} answered something that is no JSON: {error}", self.origin)))
    }

    /// One call; whatever comes back is an answer.
    pub(super) async fn raw(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.origin));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(name) = self.name.as_deref().and_then(|name| http::HeaderValue::from_str(name).ok()) {
            request = request.header("x-gratis-actor", name);
        }
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(bytes))
            .map_err(|_| Failure::Usage("the admin token or a name has characters that cannot be sent".to_owned()))?;
        let unreachable = |why: String| {
            Failure::Unreachable(format!(
                "nothing answers at {}: {why}. Is `gratis serve` running, and is this its admin listener?",
                self.origin
            ))
        };
        let exchange = async {
            let response = self.client.request(request).await.map_err(|error| unreachable(innermost(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok(Reply { status, body })
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(reply) => reply,
            Err(_) => Err(unreachable(format!("no answer in {} s", PATIENCE.as_secs()))),
        }
    }

    /// What the API says about what it did not do.
    fn refusal(&self, reply: &Reply) -> Failure {
        let problem: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let field = |name| problem.get(name).and_then(Value::as_str);
        match (field("code"), field("detail")) {
            (Some(code), Some(detail)) => Failure::Refused(format!("{detail} [{code}]{}", figures(&problem))),
            _ => Failure::Refused(format!(
                "{} answered {}: is this the admin listener of gratis?",
                self.origin, reply.status
            )),
        }
    }
}

/// What a refusal of a console's figure says beside its sentence.
fn figures(problem: &Value) -> String {
    let count = |name| problem.get(name).and_then(Value::as_u64).map(crate::admin::figure::show);
    match (count("left_here"), count("left_there")) {
        (Some(here), Some(there)) => format!("\nleft here: {here}; the console says: {there}"),
        _ => String::new(),
    }
}

fn origin(url: &str) -> Result<String, Failure> {
    let wrong = || Failure::Usage(format!("`{url}` is no address of an admin API: write http://127.0.0.1:8081"));
    let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme)).ok_or_else(wrong)?;
    let authority = uri.authority().ok_or_else(wrong)?;
    if uri.path() != "/" {
        return Err(wrong());
    }
    Ok(format!("{scheme}://{authority}"))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// A name as a segment of a path, or as a value behind `?`.
pub(super) fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The path of something that belongs to an account.
pub(super) fn of_account(account: &str, rest: &str) -> String {
    format!("/admin/v1/accounts/{}{rest}", segment(account))
}

/// The rows of a list.
pub(super) fn items(list: &Value) -> &[Value] {
    list.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_paths() {
        assert_eq!(segment("qwen-max"), "qwen-max");
        assert_eq!(segment("a/b c?ü"), "a%2Fb%20c%3F%C3%BC");
        assert_eq!(of_account("default", "/keys"), "/admin/v1/accounts/default/keys");
    }

    #[test]
    fn only_an_origin_is_an_address() {
        assert_eq!(origin("http://127.0.0.1:8081/").unwrap(), "http://127.0.0.1:8081");
        assert_eq!(origin("https://gratis.example").unwrap(), "https://gratis.example");
        for wrong in ["", "127.0.0.1:8081", "ftp://x", "http://x/admin", "http://"] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
    }
}
