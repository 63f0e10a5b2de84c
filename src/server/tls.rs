//! TLS with certificates that can be renewed while the listener runs.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Where the certificate chain and its key are (PEM).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

/// The certificate in use.
#[derive(Debug)]
pub struct Certificates {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, holds no certificate or key, or the two do not belong together.
    pub fn read(files: TlsFiles) -> Result<Arc<Self>, String> {
        let current = ArcSwap::from_pointee(certified(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again; new connections get what they hold now.
    ///
    /// # Errors
    /// As [`Certificates::read`]; the certificate in use then stays.
    pub fn reload(&self) -> Result<(), String> {
        self.current.store(Arc::new(certified(&self.files)?));
        Ok(())
    }

    /// What an acceptor needs: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// The crypto provider has no safe protocol version.
    pub(super) fn server_config(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|e| e.to_string())?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn certified(files: &TlsFiles) -> Result<CertifiedKey, String> {
    let chain_file = files.certificate.display();
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("server.tls.certificate {chain_file}: {e}"))?;
    if chain.is_empty() {
        return Err(format!("server.tls.certificate {chain_file}: no certificate in it"));
    }
    let key_file = files.private_key.display();
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|e| format!("server.tls.private_key {key_file}: {e}"))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|e| format!("server.tls: {chain_file} and {key_file}: {e}"))
}
