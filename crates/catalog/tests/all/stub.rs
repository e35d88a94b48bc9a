//! A server that answers as a test tells it to, one request for each connection, and remembers
//! what it was asked.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// The path with its query, as it was sent.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What is answered.
pub(crate) enum Answer {
    Json(u16, Value),
    /// Not now, but after so many seconds.
    Later(u16, u32),
    /// Nothing: the connection ends.
    Nothing,
}

/// Ends when dropped.
pub(crate) struct Stub {
    pub(crate) uri: String,
    seen: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Stub {
    /// Starts; `answer` is asked about one request after the other.
    pub(crate) async fn start(mut answer: impl FnMut(&Asked) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut client = BufReader::new(client);
                let asked = read(&mut client).await;
                log.lock().unwrap().push(asked.clone());
                let text = match answer(&asked) {
                    Answer::Json(status, body) => told(status, "", &body.to_string()),
                    Answer::Later(status, seconds) => {
                        told(status, &format!("retry-after: {seconds}\r\n"), "{}")
                    }
                    Answer::Nothing => continue,
                };
                // Whoever asks for too much hangs up before the end.
                client.write_all(text.as_bytes()).await.ok();
            }
        });
        Self { uri, seen, task }
    }

    /// Every request so far whose path contains `words`, in order.
    pub(crate) fn seen(&self, words: &str) -> Vec<Asked> {
        let seen = self.seen.lock().unwrap();
        let seen = seen.iter().filter(|asked| asked.path.contains(words));
        seen.cloned().collect()
    }
}

fn told(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} told\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}"
    )
}

async fn read(client: &mut BufReader<TcpStream>) -> Asked {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut words = lines[0].split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let headers = lines[1..].iter().map(|line| {
        let (key, value) = line.split_once(':').unwrap();
        (key.to_ascii_lowercase(), value.trim().to_owned())
    });
    let mut asked = Asked {
        method,
        path,
        headers: headers.collect(),
        body: String::new(),
    };
    let length = asked.header("content-length").unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    client.read_exact(&mut body).await.unwrap();
    asked.body = String::from_utf8(body).unwrap();
    asked
}
