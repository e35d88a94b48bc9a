//! Where results go: standard output, once, as a table for people or one JSON document.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::args::Format;

/// Standard output. Progress and complaints go to standard error, so that this can be piped.
#[derive(Debug)]
pub(crate) struct Out {
    format: Format,
    said: AtomicBool,
}

impl Out {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            said: AtomicBool::new(false),
        }
    }

    pub(crate) fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// True when a person looks at standard error: then bars may move.
    pub(crate) fn watched() -> bool {
        io::stderr().is_terminal()
    }

    /// Prints the result in the form asked for.
    pub(crate) fn result(&self, document: &Value, text: impl FnOnce() -> String) -> Result<()> {
        self.said.store(true, Ordering::Relaxed);
        if self.json() {
            write(&format!("{document:#}\n"))
        } else {
            write(&text())
        }
    }

    /// Prints one of many results: JSON on a line of its own.
    pub(crate) fn line(&self, document: &Value, text: impl FnOnce() -> String) -> Result<()> {
        self.said.store(true, Ordering::Relaxed);
        if self.json() {
            write(&format!("{document}\n"))
        } else {
            write(&text())
        }
    }

    /// Prints what only another program reads, as it is.
    pub(crate) fn script(&self, text: &str) -> Result<()> {
        self.said.store(true, Ordering::Relaxed);
        write(text)
    }

    /// True when a newer result may take the place of the one before.
    pub(crate) fn repaints(&self) -> bool {
        !self.json() && io::stdout().is_terminal()
    }

    /// Prints for people only.
    pub(crate) fn text(&self, text: &str) -> Result<()> {
        if self.json() { Ok(()) } else { write(text) }
    }

    /// For programs, when there is no result to print: why.
    pub(crate) fn failed(&self, error: &anyhow::Error) {
        if self.json() && !self.said.load(Ordering::Relaxed) {
            let document = json!({ "success": false, "message": runtime::chain(error.as_ref()) });
            // A reader that has gone away takes the same message from standard error.
            let _ = write(&format!("{document:#}\n"));
        }
    }
}

fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `snowpack jobs | head -1` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("write to standard output"),
    }
}
