//! The API server: where it is, and asking it within a time.

use std::fmt;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Api, Client, Config, Resource};

use crate::{Call, Error, Trouble};

/// No call takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A connection that is not made by then will not be.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// One namespace of one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
    answer_within: Duration,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Cluster");
        shown
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// As the kubeconfig says (`KUBECONFIG`, else `~/.kube/config`), else as the pod's service
    /// account does. Without `namespace`: that of the kubeconfig's context or of the account.
    /// Asks nothing of it yet.
    pub async fn find(namespace: Option<&str>) -> Result<Self, Error> {
        let config = Config::infer().await;
        let config = config.map_err(|error| Error::NoCluster(runtime::chain(&error)))?;
        Self::at(config, namespace)
    }

    /// As a configuration says.
    pub fn at(mut config: Config, namespace: Option<&str>) -> Result<Self, Error> {
        config.connect_timeout = Some(CONNECT_WITHIN);
        // Who asks knows better when to ask again.
        config.default_retry = false;
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config);
        let client = client.map_err(|error| Error::NoCluster(runtime::chain(&error)))?;
        Ok(Self {
            client,
            namespace,
            answer_within: ANSWER_WITHIN,
        })
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects as they are, with fields this version has never heard of.
    pub(crate) fn objects<K>(&self) -> Api<DynamicObject>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let resource = ApiResource::erase::<K>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Awaits a call's answer for so long and no longer.
    pub(crate) async fn ask<T>(
        &self,
        verb: &'static str,
        resource: &'static str,
        name: &str,
        call: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        let refused = |trouble, said| Error::Refused {
            call: Call::new(verb, resource, name, &self.namespace),
            trouble,
            said,
        };
        match tokio::time::timeout(self.answer_within, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(refused(Trouble::of(&error), said(&error))),
            Err(_) => {
                let seconds = self.answer_within.as_secs_f64();
                let said = format!("no answer within {seconds} s");
                Err(refused(Trouble::Timeout, said))
            }
        }
    }
}

/// The API server's own words where it said some.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => runtime::chain(error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Asks a server that reads one request and then does this.
    async fn asked(answer: Option<&'static str>) -> Error {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            assert!(0 < stream.read(&mut request).await.unwrap());
            if let Some(answer) = answer {
                stream.write_all(answer.as_bytes()).await.unwrap();
            } else {
                // Until the client has gone.
                while 0 < stream.read(&mut request).await.unwrap_or(0) {}
            }
        };
        let mut cluster = cluster(address);
        if answer.is_none() {
            cluster.answer_within = Duration::from_millis(20);
        }
        let pods = cluster.api::<Pod>();
        let asked = cluster.ask("get", "pods", "p", pods.get("p"));
        let (_, asked) = tokio::join!(tokio::spawn(served), asked);
        asked.unwrap_err()
    }

    fn cluster(address: std::net::SocketAddr) -> Cluster {
        let config = Config::new(format!("http://{address}").parse().unwrap());
        Cluster::at(config, Some("ns")).unwrap()
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let error = asked(None).await;
        assert_eq!(error.trouble(), Trouble::Timeout);
        assert_eq!(error.to_string(), "get pods ns/p: no answer within 0.02 s");
    }

    #[tokio::test]
    async fn what_a_server_says_is_told_in_its_words() {
        let status = "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\
                      \"message\":\"pods is forbidden\",\"reason\":\"Forbidden\",\"code\":403}";
        let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close";
        let length = status.len();
        let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{status}");
        let error = asked(Some(answer.leak())).await;
        assert_eq!(error.trouble(), Trouble::Forbidden);
        assert_eq!(error.to_string(), "get pods ns/p: pods is forbidden");
    }

    #[tokio::test]
    async fn a_server_that_breaks_or_is_not_there_is_unreachable() {
        for answer in [
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy",
            "HTTP/1.1 200 OK\r\ncontent-length: 400\r\n\r\n{",
            "nonsense\r\n\r\n",
        ] {
            let error = asked(Some(answer)).await;
            assert_eq!(error.trouble(), Trouble::Unreachable, "{answer}: {error}");
        }
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cluster = cluster(gone.local_addr().unwrap());
        drop(gone);
        let pods = cluster.api::<Pod>();
        let error = cluster.ask("get", "pods", "p", pods.get("p")).await;
        assert_eq!(error.unwrap_err().trouble(), Trouble::Unreachable);
    }
}
