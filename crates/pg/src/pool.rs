//! The pool, and connections outside it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{ManagerConfig, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Client, Error, ListenArgs, tls};

/// How long one attempt to connect may take.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A server that is gone without a word (a failover, a lost route) is noticed after this: silence
/// of the first, then tries at the second, and sent bytes that nobody confirms for the last.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
const UNCONFIRMED_MAX: Duration = Duration::from_secs(30);
/// How long a caller waits for a pooled connection.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A bounded set of connections to one database. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
    listens: Listens,
}

/// Where [`Pool::listen`] connects to.
#[derive(Clone)]
enum Listens {
    Here,
    At(Arc<Target>),
    Nowhere,
}

/// In place of a url to listen at: not at all.
const OFF: &str = "off";

struct Inner {
    url: String,
    target: Target,
    pool: deadpool_postgres::Pool,
    connections_max: usize,
}

/// Everything a connection needs, read from the url once.
#[derive(Clone)]
pub(crate) struct Target {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
    /// `host:port, database name`, for messages.
    pub(crate) place: String,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("place", &self.inner.target.place)
            .field("connections_max", &self.inner.connections_max)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Reads the url and makes the first connection, so that a wrong address is found at once.
    pub async fn connect(
        url: &str,
        connections_max: usize,
        application_name: &str,
    ) -> Result<Self, Error> {
        let target = Target::parse(url, application_name)?;
        let manager = deadpool_postgres::Manager::from_config(
            target.config.clone(),
            target.tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(connections_max)
            .wait_timeout(Some(WAIT_MAX))
            .create_timeout(Some(CONNECT_WITHIN))
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a runtime is given, the only thing the builder checks");
        let inner = Inner {
            url: url.to_owned(),
            target,
            pool,
            connections_max,
        };
        let pool = Self {
            inner: Arc::new(inner),
            listens: Listens::Here,
        };
        drop(pool.get().await?);
        Ok(pool)
    }

    /// The same pool, listening as these arguments say: a subscription does not survive a pooler
    /// that gives a session's connection to others.
    pub fn listening(self, args: &ListenArgs, application_name: &str) -> Result<Self, Error> {
        let listens = match args.listen_url.as_deref() {
            None => Listens::Here,
            Some(OFF) => Listens::Nowhere,
            Some(url) => match Target::parse(url, application_name) {
                Err(Error::BadUrl { why }) => return Err(Error::BadListenUrl { why }),
                target => Listens::At(Arc::new(target?)),
            },
        };
        Ok(Self { listens, ..self })
    }

    /// A connection from the pool; waits for one to become free, within a limit.
    pub async fn get(&self) -> Result<Client, Error> {
        let place = || self.inner.target.place.clone();
        let object = self.inner.pool.get().await.map_err(|error| match error {
            PoolError::Backend(source) => Error::Connect {
                place: place(),
                source,
            },
            PoolError::Timeout(_)
            | PoolError::Closed
            | PoolError::NoRuntimeSpecified
            | PoolError::PostCreateHook(_) => Error::PoolEmpty {
                place: place(),
                max: self.inner.connections_max,
            },
        })?;
        Ok(Client::new(object, self.inner.target.tls.clone()))
    }

    /// A connection of the caller's own, outside the pool; its driver ends when it is dropped.
    pub async fn dedicated(&self) -> Result<tokio_postgres::Client, Error> {
        let (client, connection) = self.inner.target.connect().await?;
        tokio::spawn(async move {
            // The client sees the same failure on its next call, so it is only worth a trace here.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "dedicated connection ended");
            }
        });
        Ok(client)
    }

    /// The url as given. It may hold a password: never log it.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// `host:port, database name`: what messages may show.
    pub fn place(&self) -> &str {
        &self.inner.target.place
    }

    /// The largest number of pooled connections.
    pub fn connections_max(&self) -> usize {
        self.inner.connections_max
    }

    /// Where to listen, if anywhere.
    pub(crate) fn listens_at(&self) -> Option<&Target> {
        match &self.listens {
            Listens::Here => Some(&self.inner.target),
            Listens::At(target) => Some(target),
            Listens::Nowhere => None,
        }
    }
}

type Connection = tokio_postgres::Connection<
    tokio_postgres::Socket,
    <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
>;

impl Target {
    fn parse(url: &str, application_name: &str) -> Result<Self, Error> {
        let (url, verify) = take_verify(url);
        let uri = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !uri && !url.contains('=') {
            return Err(Error::BadUrl {
                why: "it does not begin with postgres://",
            });
        }
        // The parser's own message may quote a part of the password, so it is not passed on.
        let mut config = tokio_postgres::Config::from_str(&url).map_err(|_| Error::BadUrl {
            why: "its parts do not fit",
        })?;
        if config.get_hosts().is_empty() {
            return Err(Error::BadUrl {
                why: "it names no host",
            });
        }
        if config.get_application_name().is_none() {
            config.application_name(application_name);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WITHIN);
        }
        notice_silence(&mut config, &url);
        if verify {
            config.ssl_mode(SslMode::Require);
        }
        let place = place(&config);
        Ok(Self {
            config,
            tls: tls::connector(verify)?,
            place,
        })
    }

    pub(crate) async fn connect(&self) -> Result<(tokio_postgres::Client, Connection), Error> {
        self.config
            .connect(self.tls.clone())
            .await
            .map_err(|source| Error::Connect {
                place: self.place.clone(),
                source,
            })
    }
}

/// Without it a statement may wait two hours for a server that is gone. The url's own settings stand.
fn notice_silence(config: &mut tokio_postgres::Config, url: &str) {
    if !url.contains("keepalives_idle") {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(UNCONFIRMED_MAX);
    }
}

/// tokio-postgres does not know the two verifying modes of libpq.
fn take_verify(url: &str) -> (String, bool) {
    for mode in ["sslmode=verify-full", "sslmode=verify-ca"] {
        if url.contains(mode) {
            return (url.replace(mode, "sslmode=require"), true);
        }
    }
    (url.to_owned(), false)
}

fn place(config: &tokio_postgres::Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
        .collect();
    let database = config
        .get_dbname()
        .or(config.get_user())
        .unwrap_or("(default)");
    format!("{}, database {database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_noticed_unless_the_url_says_otherwise() {
        let plain = Target::parse("postgres://h/d", "test").unwrap().config;
        assert_eq!(plain.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(plain.get_keepalives_interval(), Some(KEEPALIVE_INTERVAL));
        assert_eq!(plain.get_keepalives_retries(), Some(KEEPALIVE_RETRIES));
        assert_eq!(plain.get_tcp_user_timeout(), Some(&UNCONFIRMED_MAX));
        let url = "postgres://h/d?keepalives_idle=77&keepalives_interval=7&keepalives_retries=2\
                   &tcp_user_timeout=9";
        let set = Target::parse(url, "test").unwrap().config;
        let seconds = Duration::from_secs;
        assert_eq!(set.get_keepalives_idle(), seconds(77));
        assert_eq!(set.get_keepalives_interval(), Some(seconds(7)));
        assert_eq!(set.get_keepalives_retries(), Some(2));
        assert_eq!(set.get_tcp_user_timeout(), Some(&seconds(9)));
    }

    #[test]
    fn a_bad_url_is_refused_without_showing_it() {
        for url in [
            "",
            "localhost",
            "mysql//x",
            "postgres://u:secret@h:port/d",
            "host",
        ] {
            let Err(error) = Target::parse(url, "test") else {
                panic!("{url} was accepted")
            };
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(
                error.to_string().contains("postgres://user:password@host"),
                "{error}"
            );
        }
    }

    #[test]
    fn messages_name_host_port_and_database_only() {
        let target = Target::parse("postgres://u:secret@db.example:6000/lake", "test").unwrap();
        assert_eq!(target.place, "db.example:6000, database lake");
        let plain = Target::parse("postgres://u@db.example", "test").unwrap();
        assert_eq!(plain.place, "db.example:5432, database u");
    }

    #[test]
    fn the_verifying_modes_of_libpq_require_tls() {
        for mode in ["verify-full", "verify-ca"] {
            let (url, verify) = take_verify(&format!("postgres://h/d?sslmode={mode}"));
            assert_eq!(
                (url.as_str(), verify),
                ("postgres://h/d?sslmode=require", true)
            );
        }
        assert!(!take_verify("postgres://h/d?sslmode=require").1);
    }
}
