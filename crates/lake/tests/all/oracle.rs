//! Oracle processes that stay: starting Python and its libraries takes longer than most answers.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

/// Processes nobody is using, each with its script.
static IDLE: Mutex<Vec<(&str, Oracle)>> = Mutex::new(Vec::new());

pub(crate) struct Oracle {
    _process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    /// Starts `tests/oracle/<script>.py`.
    pub(crate) fn start(script: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle");
        let path = path.join(format!("{script}.py"));
        let mut process = Command::new(testkit::python())
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", path.display()));
        let questions = process.stdin.take().expect("stdin is piped");
        let answers = BufReader::new(process.stdout.take().expect("stdout is piped"));
        Self {
            _process: process,
            questions,
            answers,
        }
    }

    /// Blocks.
    ///
    /// # Panics
    /// With the oracle's traceback when it fails.
    pub(crate) fn answer(&mut self, question: &Value) -> Value {
        let mut answer = self.ask(question);
        match answer.get("error") {
            None => answer["answer"].take(),
            Some(error) => {
                let error = error.as_str().unwrap_or_default();
                panic!("oracle with {question}:\n{error}")
            }
        }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").expect("the oracle listens");
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .expect("the oracle answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("oracle: {error}: {line}"))
    }
}

/// Asks an idle oracle of that script, or a new one. Blocks.
///
/// # Panics
/// With the oracle's traceback when it fails.
pub(crate) fn ask(script: &'static str, question: &Value) -> Value {
    let mut idle = IDLE.lock().expect("no test panics here");
    let found = idle.iter().position(|(its, _)| *its == script);
    let found = found.map(|at| idle.swap_remove(at).1);
    drop(idle);
    let mut oracle = found.unwrap_or_else(|| Oracle::start(script));
    let answer = oracle.answer(question);
    IDLE.lock()
        .expect("no test panics here")
        .push((script, oracle));
    answer
}
