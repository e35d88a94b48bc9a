//! A certificate made by the test, and connections of somebody who trusts only that one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// For one name, signed by itself.
#[derive(Debug)]
pub struct Certificate {
    cert: CertificateDer<'static>,
    /// The certificate and its key.
    pem: [String; 2],
}

impl Certificate {
    /// For `localhost`; a new one each time.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Self {
        Self::of("localhost")
    }

    /// For a host of this name; a new one each time.
    ///
    /// # Panics
    /// When there is no randomness.
    pub fn of(name: &str) -> Self {
        let made = generate_simple_self_signed([name.to_owned()]);
        let CertifiedKey { cert, signing_key } = made.expect("make a certificate");
        Self {
            cert: cert.der().clone(),
            pem: [cert.pem(), signing_key.serialize_pem()],
        }
    }

    /// The certificate and its key, in PEM.
    pub fn pem(&self) -> &[String; 2] {
        &self.pem
    }

    /// Puts both into `folder` in one step, as a mounted Secret changes; the paths stay the same.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn mount(&self, folder: &Path) -> [PathBuf; 2] {
        let names = ["tls.crt", "tls.key"];
        let version = tempfile::Builder::new()
            .prefix("..")
            .tempdir_in(folder)
            .expect("make a folder")
            .keep();
        for (name, text) in names.iter().zip(self.pem()) {
            std::fs::write(version.join(name), text).expect("write a PEM file");
        }
        let (current, next) = (folder.join("..data"), folder.join("..next"));
        std::os::unix::fs::symlink(&version, &next).expect("link to the folder");
        std::fs::rename(&next, &current).expect("swap the link");
        names.map(|name| current.join(name))
    }

    /// Connects as somebody who trusts this certificate and no other, and speaks `protocol`.
    pub async fn connect(
        &self,
        address: SocketAddr,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let added = roots.add(self.cert.clone());
        added.map_err(std::io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_owned()];
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}
