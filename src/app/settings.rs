//! From what the operator wrote to what each room is told.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::config::{self, Config, Loaded, SharedStore};
use crate::notify;
use crate::proxy::{
    App, ClampPolicy, Explain, OnDisconnect, QuotaSettings, Settings, Shared, SocketSettings, Upstream,
    UpstreamSettings, Upstreams,
};
use crate::server::{self, Certificates, Limits, TlsFiles};
use crate::store::{embedded, redis};
use crate::telemetry::{LogFormat, LogSettings, TraceSettings};

/// What the request path is told. Upstreams are made anew: their pools of connections belong to one configuration.
/// `memory` is what the process may have, in bytes, where that is known.
pub(super) fn shared(loaded: &Loaded, memory: Option<u64>) -> Result<Shared, String> {
    let config = &loaded.config;
    Ok(Shared {
        settings: Settings {
            quota: quota(config),
            sockets: sockets(config),
            max_body: config.limits.max_body,
            max_bodies: max_bodies(config.limits.max_body, memory),
            body_timeout: config.limits.body_timeout,
            body_min_rate: config.limits.body_min_rate,
            key_in_flight: config.limits.key_in_flight,
            log_requests: config.log.requests,
            accept_traceparent: config.trace.accept_traceparent,
        },
        catalogue: Arc::new(loaded.catalogue.clone()),
        sites: loaded.sites.iter().map(|site| (site.name.clone(), Arc::new(site.clone()))).collect(),
        apps: config.apps.iter().map(|(id, models)| (id.clone(), App { models: models.clone() })).collect(),
        upstreams: upstreams(config)?,
    })
}

/// The most that all request bodies may take together: a quarter of the memory, so that, with what else a call costs, those that
/// are in progress fit into the rest; but always the largest one.
fn max_bodies(max_body: usize, memory: Option<u64>) -> u64 {
    (memory.unwrap_or(UNKNOWN_MEMORY) / 4).max(max_body as u64)
}

/// Taken for the memory of a machine that does not say what it has.
const UNKNOWN_MEMORY: u64 = 1 << 30;

fn quota(config: &Config) -> QuotaSettings {
    let quota = &config.quota;
    QuotaSettings {
        hold_share: quota.hold_share,
        hold_share_floor: quota.hold_share_floor,
        min_output: quota.min_output,
        max_output_default: quota.max_output_default,
        clamp: match quota.clamp {
            config::Clamp::Always => ClampPolicy::Always,
            config::Clamp::Absent => ClampPolicy::Absent,
            config::Clamp::Never => ClampPolicy::Never,
        },
        shadow: quota.shadow,
        strip: quota.strip.clone(),
        overrun: quota.overrun,
        lease: config.store.lease,
        max_call_plain: quota.max_call_plain,
        max_call_stream: quota.max_call_stream,
        busy_wait: quota.busy_wait,
        busy_queue: quota.busy_queue,
        settle_wait: quota.settle_wait,
        task_poll: quota.task_poll,
        on_disconnect: match quota.on_disconnect {
            config::OnDisconnect::Drain => OnDisconnect::Drain,
            config::OnDisconnect::Cancel => OnDisconnect::Cancel,
        },
        drain_streams: quota.drain_streams,
        drain_bytes: quota.drain_bytes,
        drain_time: quota.drain_time,
        presumed_breaker: quota.presumed_breaker,
        breaker_pause: quota.breaker_cool_down,
    }
}

fn sockets(config: &Config) -> SocketSettings {
    let socket = &config.websocket;
    SocketSettings {
        connections: socket.connections,
        max_message: socket.max_message,
        ping_interval: socket.ping_interval,
        ping_timeout: socket.ping_timeout,
        control_frames: socket.control_frames,
        close_wait: socket.close_wait,
    }
}

fn upstreams(config: &Config) -> Result<Upstreams, String> {
    let mut default = None;
    let mut by_model = HashMap::new();
    for settings in &config.upstreams {
        let upstream = Arc::new(Upstream::new(&upstream(settings)?)?);
        if settings.models.is_empty() {
            default = Some(Arc::clone(&upstream));
        }
        by_model.extend(settings.models.iter().map(|model| (model.clone(), Arc::clone(&upstream))));
    }
    let first = || by_model.values().next().cloned();
    let default = default.or_else(first).ok_or("the configuration names no upstream")?;
    Ok(Upstreams { default, by_model })
}

fn upstream(config: &config::UpstreamConfig) -> Result<UpstreamSettings, String> {
    let authorization = match &config.api_key {
        Some(key) => {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
                .map_err(|_| format!("upstream.{}.api_key holds a character that no header may carry", config.name))?;
            value.set_sensitive(true);
            Some(value)
        }
        None => None,
    };
    Ok(UpstreamSettings {
        name: config.name.clone(),
        account: config.account.clone(),
        base_url: config.base_url.clone(),
        authorization,
        ca_file: config.ca_file.clone(),
        connect_timeout: config.connect_timeout,
        head_timeout: config.head_timeout,
        idle_timeout: config.pool_idle_timeout,
        max_idle: config.pool_max_idle,
        http2: config.http2,
    })
}

/// The listener for clients.
pub(super) fn listener(config: &Config, certificates: Option<Arc<Certificates>>) -> server::Settings {
    let server = &config.server;
    server::Settings {
        listen: server.listen,
        certificates,
        tls_timeout: server.tls_timeout,
        limits: limits(config),
        max_connections: server.max_connections,
    }
}

/// The listener for operators: plain HTTP, the same limits.
pub(super) fn admin_listener(config: &Config) -> server::Settings {
    server::Settings {
        listen: config.admin.listen,
        certificates: None,
        tls_timeout: config.server.tls_timeout,
        limits: limits(config),
        max_connections: ADMIN_CONNECTIONS,
    }
}

/// Connections of operators, scrapers and probes at once.
const ADMIN_CONNECTIONS: usize = 256;

fn limits(config: &Config) -> Limits {
    let server = &config.server;
    Limits {
        header_timeout: server.header_timeout,
        first_byte_timeout: server.first_byte_timeout,
        write_timeout: config.limits.write_timeout,
        max_headers: server.max_headers,
        max_header_bytes: server.max_header_bytes,
        max_streams: server.max_streams,
        max_control_frames: server.max_control_frames,
    }
}

/// The certificate that the configuration names.
pub(super) fn certificates(config: &Config) -> Result<Option<Arc<Certificates>>, String> {
    let files = config.server.tls.as_ref();
    let files =
        files.map(|tls| TlsFiles { certificate: tls.certificate.clone(), private_key: tls.private_key.clone() });
    files.map(Certificates::read).transpose()
}

/// Where the embedded ledger is, and how it is kept.
#[must_use]
pub fn embedded_store(config: &Config) -> embedded::Settings {
    let mut settings = embedded::Settings::new(&config.store.state_dir);
    settings.flush_every = config.store.flush_interval;
    settings.queue_max = config.store.queue;
    settings
}

/// How the shared store is reached. `pepper_mark` is that of the pepper with which this process hashes keys.
#[must_use]
pub fn shared_store(config: &Config, store: &SharedStore, pepper_mark: Option<String>) -> redis::Settings {
    let password = store.password.as_ref().map(|password| redis::Password::new(password.expose().to_owned()));
    redis::Settings {
        credentials: redis::Credentials { user: store.user.clone(), password },
        ca_file: store.ca_file.clone(),
        prefix: store.prefix.clone(),
        timeout: store.timeout,
        accept_loss: store.accept_loss,
        pepper_mark,
        ..redis::Settings::new(store.url.clone(), &config.store.state_dir)
    }
}

/// Which calls are explained.
pub(super) fn explain(config: &Config) -> Explain {
    match config.log.explain {
        config::Explain::Off => Explain::Off,
        config::Explain::Unusual => Explain::Unusual,
        config::Explain::All => Explain::All,
    }
}

/// How notices are sent.
pub(super) fn notify(config: &config::NotifyConfig) -> Result<notify::Settings, String> {
    let mail = config.mail.as_ref().map(mail).transpose()?;
    let webhook = config.webhook.as_ref().map(|webhook| notify::WebhookSettings {
        url: webhook.url.clone(),
        secret: Zeroizing::new(webhook.secret.expose().to_owned()),
        ca_file: webhook.ca_file.clone(),
    });
    Ok(notify::Settings { check_every: config.check_every, mail, webhook })
}

fn mail(config: &config::MailConfig) -> Result<notify::MailSettings, String> {
    let read = |file: &std::path::PathBuf| {
        std::fs::read(file).map_err(|error| format!("notify.mail.ca_file {}: {error}", file.display()))
    };
    let secret =
        |(name, password): &(String, config::Secret)| (name.clone(), Zeroizing::new(password.expose().to_owned()));
    Ok(notify::MailSettings {
        host: config.host.clone(),
        port: config.port,
        tls: match config.tls {
            config::MailTls::Off => notify::MailTls::Off,
            config::MailTls::StartTls => notify::MailTls::StartTls,
            config::MailTls::Wrapped => notify::MailTls::Wrapped,
        },
        ca: config.ca_file.as_ref().map(read).transpose()?,
        credentials: config.credentials.as_ref().map(secret),
        from: config.from.clone(),
        to: config.to.clone(),
    })
}

/// How lines are logged.
#[must_use]
pub fn log(config: &Config) -> LogSettings {
    LogSettings {
        format: match config.log.format {
            config::LogFormat::Auto => LogFormat::Auto,
            config::LogFormat::Json => LogFormat::Json,
            config::LogFormat::Text => LogFormat::Text,
        },
        filter: config.log.filter.clone(),
    }
}

/// Where spans go; `runtime` sends them.
#[must_use]
pub fn trace(config: &Config, runtime: &tokio::runtime::Handle) -> Option<TraceSettings> {
    let endpoint = config.trace.endpoint.clone()?;
    Some(TraceSettings { endpoint, runtime: runtime.clone() })
}
