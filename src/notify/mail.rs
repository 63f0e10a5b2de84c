//! Notices by mail.

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use zeroize::Zeroizing;

use super::channel::Delivery;

/// How the mail server is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MailTls {
    /// In the clear; for a server on this machine.
    Off,
    /// STARTTLS, and nothing without it.
    StartTls,
    /// TLS from the first byte.
    Wrapped,
}

/// A mail server, and who writes to whom. Holds a secret, so it has no `Debug`.
#[derive(Clone)]
pub struct MailSettings {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// Certificates to trust instead of the public ones, in PEM.
    pub ca: Option<Vec<u8>>,
    /// Name and password, where it wants them.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// Who writes.
    pub from: String,
    /// To whom.
    pub to: Vec<String>,
}

/// Sends mails.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    to: Vec<Mailbox>,
    place: String,
}

impl Mailer {
    pub(super) fn new(settings: &MailSettings) -> Result<Self, String> {
        let mailbox =
            |text: &str| text.parse::<Mailbox>().map_err(|_| format!("notify.mail: \"{text}\" is no address"));
        let to = settings.to.iter().map(|text| mailbox(text)).collect::<Result<Vec<_>, _>>()?;
        let tls = || -> Result<TlsParameters, String> {
            let mut parameters = TlsParameters::builder(settings.host.clone());
            if let Some(pem) = &settings.ca {
                let wrong = |error| format!("notify.mail.ca_file: {error}");
                parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(wrong)?);
            }
            parameters.build().map_err(|error| format!("notify.mail: {error}"))
        };
        let tls = match settings.tls {
            MailTls::Off => Tls::None,
            MailTls::StartTls => Tls::Required(tls()?),
            MailTls::Wrapped => Tls::Wrapper(tls()?),
        };
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host).port(settings.port).tls(tls);
        if let Some((name, password)) = &settings.credentials {
            transport = transport.credentials(Credentials::new(name.clone(), password.to_string()));
        }
        let place = format!("{} by {}:{}", settings.to.join(", "), settings.host, settings.port);
        Ok(Self { transport: transport.build(), from: mailbox(&settings.from)?, to, place })
    }

    pub(super) fn place(&self) -> String {
        self.place.clone()
    }

    pub(super) async fn deliver(&self, delivery: &Delivery<'_>) -> Result<(), String> {
        let host = self.from.email.domain();
        let mut message = Message::builder()
            .from(self.from.clone())
            .message_id(Some(format!("<{}@{host}>", delivery.id)))
            .subject(delivery.notice.subject())
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        let message = message.body(delivery.notice.text()).map_err(|error| error.to_string())?;
        self.transport.send(message).await.map(drop).map_err(|error| error.to_string())
    }
}
