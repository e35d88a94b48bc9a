//! TLS of a server: a certificate and its key in two PEM files, read again when they change.
//!
//! Connections that are open keep what they began with; the next handshake takes the new pair.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Error;

/// Between two looks at the files. They are read whole: a mounted secret changes by a symlink,
/// and not every file system tells times apart.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The pair as it was last read.
pub struct Tls {
    cert: PemFile,
    key: PemFile,
    current: RwLock<Arc<CertifiedKey>>,
}

#[derive(Debug)]
struct PemFile {
    name: &'static str,
    path: PathBuf,
}

/// Both files' bytes, or why they cannot be read.
type Seen = Result<[Vec<u8>; 2], String>;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("cert", &self.cert)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the pair, each given as the setting's name and the file it names; `None` when both
    /// name none. One alone, or a pair that cannot be used, is bad usage.
    pub fn open(
        cert: (&'static str, Option<&Path>),
        key: (&'static str, Option<&Path>),
    ) -> Result<Option<Arc<Self>>, Error> {
        let alone = |set, other| {
            Error::Usage(format!(
                "{set} is set and {other} is not: allowed are both or neither"
            ))
        };
        let (certificates, keys) = (cert.0, key.0);
        let (cert, key) = match (cert.1, key.1) {
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(alone(certificates, keys)),
            (None, Some(_)) => return Err(alone(keys, certificates)),
            (Some(cert), Some(key)) => (cert, key),
        };
        let cert = PemFile::new(certificates, cert);
        let key = PemFile::new(keys, key);
        let pair = pair(&cert, &key, &look(&cert, &key)).map_err(Error::Usage)?;
        let current = RwLock::new(pair);
        Ok(Some(Arc::new(Self { cert, key, current })))
    }

    /// Reads the files again when they change, until `stop`. A pair that cannot be used changes
    /// nothing.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let (mut before, mut judged) = (None, None);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let tls = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || look(&tls.cert, &tls.key)).await;
            let Ok(seen) = read else {
                // Only a process that ends drops its tasks.
                return;
            };
            // A new certificate may lie beside the old key: what two looks agree on is whole.
            if before.as_ref() == Some(&seen) && judged.as_ref() != Some(&seen) {
                self.judge(&seen);
                judged = Some(seen);
            } else {
                before = Some(seen);
            }
        }
    }

    fn judge(&self, seen: &Seen) {
        match pair(&self.cert, &self.key, seen) {
            Ok(pair) if pair.cert == self.pair().cert => {}
            Ok(pair) => {
                // A pair is swapped whole.
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair;
                let file = self.cert.path.display();
                info!(%file, "the TLS certificate was read again");
            }
            Err(why) => warn!(
                why,
                "the TLS certificate is not taken; the one before holds"
            ),
        }
    }

    fn pair(&self) -> Arc<CertifiedKey> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// For connections that speak `protocol` (RFC 7301).
    pub(crate) fn config(self: Arc<Self>, protocol: &[u8]) -> Result<Arc<ServerConfig>, Error> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(self);
        config.alpn_protocols = vec![protocol.to_owned()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair())
    }
}

fn look(cert: &PemFile, key: &PemFile) -> Seen {
    Ok([cert.read()?, key.read()?])
}

impl PemFile {
    fn new(name: &'static str, path: &Path) -> Self {
        Self {
            name,
            path: path.to_owned(),
        }
    }

    fn read(&self) -> Result<Vec<u8>, String> {
        let wrong = |why: &dyn fmt::Display| self.wrong(why);
        let file = std::fs::File::open(&self.path).map_err(|error| wrong(&error))?;
        let mut bytes = Vec::new();
        let mut within = file.take(FILE_BYTES_MAX + 1);
        let read = within
            .read_to_end(&mut bytes)
            .map_err(|error| wrong(&error))?;
        if FILE_BYTES_MAX < read as u64 {
            return Err(wrong(&"it is larger than 1 MiB"));
        }
        Ok(bytes)
    }

    fn wrong(&self, why: &dyn fmt::Display) -> String {
        format!("{}={}: {why}", self.name, self.path.display())
    }
}

/// The key with its certificate, if the two belong together.
fn pair(cert: &PemFile, key: &PemFile, seen: &Seen) -> Result<Arc<CertifiedKey>, String> {
    let [chain, secret] = seen.as_ref().map_err(Clone::clone)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(chain).collect();
    let chain = chain.map_err(|error| cert.wrong(&error))?;
    if chain.is_empty() {
        return Err(cert.wrong(&"it holds no certificate in PEM"));
    }
    let secret = PrivateKeyDer::from_pem_slice(secret).map_err(|error| match error {
        pem::Error::NoItemsFound => key.wrong(&"it holds no private key in PEM"),
        other => key.wrong(&other),
    })?;
    let secret = ring::sign::any_supported_type(&secret).map_err(|error| key.wrong(&error))?;
    let pair = CertifiedKey::new(chain, secret);
    match pair.keys_match() {
        Ok(()) => Ok(Arc::new(pair)),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let why = format!(
                "it is not the key of the certificate in {}",
                cert.path.display()
            );
            Err(key.wrong(&why))
        }
        Err(error) => Err(cert.wrong(&error)),
    }
}
