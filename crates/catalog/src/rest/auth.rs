//! Who asks: a token as it was given, or one of a token server, fetched when it is needed and again when
//! the catalog no longer takes it.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{RequestBuilder, Url};
use tokio::sync::Mutex;

use super::answer::Token;
use super::settings::{Credential, OAuth2};
use super::trouble::{Trouble, answered};

/// Longest answer of a token server, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Signs requests.
#[derive(Debug)]
pub(super) struct Auth {
    credential: Credential,
    /// Where tokens are given out.
    uri: Url,
    /// Asks there: what leads to the catalog, a proxy say, need not lead to it.
    http: reqwest::Client,
    held: Mutex<Option<Bearer>>,
}

/// A token as a header has it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Bearer(HeaderValue);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(hidden)")
    }
}

impl Bearer {
    fn new(token: &str) -> Result<Self, Trouble> {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut value = value
            .map_err(|_| Trouble::Config("the token is no text that a header may have".into()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    pub(super) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(AUTHORIZATION, self.0.clone())
    }
}

impl Auth {
    /// `own` is the catalog's own token server, for a credential that does not say where.
    pub(super) fn new(credential: Credential, own: Url) -> Result<Self, String> {
        let uri = match &credential {
            Credential::Client(client) => client.uri.clone().unwrap_or(own),
            Credential::Nobody | Credential::Token(_) => own,
        };
        Ok(Self {
            credential,
            http: storage::http_client(&uri)?,
            uri,
            held: Mutex::new(None),
        })
    }

    /// The token to ask with; `None` where nobody in particular asks. One that is `refused` is not
    /// given again, if there is another to be had.
    pub(super) async fn bearer(&self, refused: Option<&Bearer>) -> Result<Option<Bearer>, Trouble> {
        match &self.credential {
            Credential::Nobody => Ok(None),
            Credential::Token(token) => Bearer::new(token).map(Some),
            Credential::Client(client) => {
                // One fetches, and those that come meanwhile take what it got.
                let mut held = self.held.lock().await;
                if let Some(known) = &*held
                    && refused != Some(known)
                {
                    return Ok(Some(known.clone()));
                }
                *held = None;
                let fetched = self.fetch(client).await;
                let fetched = fetched.map_err(|trouble| Trouble::Token(trouble.into()))?;
                *held = Some(fetched.clone());
                Ok(Some(fetched))
            }
        }
    }

    /// Whether a refused token may be changed for another.
    pub(super) fn renews(&self) -> bool {
        matches!(self.credential, Credential::Client(_))
    }

    async fn fetch(&self, client: &OAuth2) -> Result<Bearer, Trouble> {
        let request = self
            .http
            .post(self.uri.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form(client));
        let answer = answered(request, ANSWER_BYTES_MAX).await?;
        let token: Token = answer.json()?;
        Bearer::new(&token.access_token)
    }
}

fn form(client: &OAuth2) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(id) = &client.id {
        form.append_pair("client_id", id);
    }
    form.append_pair("client_secret", &client.secret);
    form.append_pair("scope", &client.scope);
    form.finish()
}
