//! The little of QMP that it takes to have a machine record itself.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

/// How long a machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session.
pub struct Session {
    reader: Box<dyn BufRead>,
    writer: Box<dyn Write>,
}

impl Session {
    /// At `unix:PATH` or `tcp:HOST:PORT`.
    ///
    /// # Errors
    /// Nobody speaks QMP there.
    pub fn connect(place: &str) -> Result<Self, String> {
        let error = |e: std::io::Error| format!("cannot connect to {place}: {e}");
        let mut session = match place.split_once(':') {
            Some(("unix", path)) => {
                let stream = UnixStream::connect(path).map_err(error)?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(error)?;
                let writer = stream.try_clone().map_err(error)?;
                Self { reader: Box::new(BufReader::new(stream)), writer: Box::new(writer) }
            }
            Some(("tcp", address)) => {
                let stream = TcpStream::connect(address).map_err(error)?;
                stream.set_read_timeout(Some(PATIENCE)).map_err(error)?;
                let writer = stream.try_clone().map_err(error)?;
                Self { reader: Box::new(BufReader::new(stream)), writer: Box::new(writer) }
            }
            _ => return Err(format!("'{place}' is neither unix:PATH nor tcp:HOST:PORT")),
        };
        let greeting = session.read().map_err(|why| format!("{place} does not speak QMP: {why}"))?;
        if greeting.get("QMP").is_none() {
            return Err(format!("{place} does not speak QMP: it does not greet"));
        }
        session.execute("qmp_capabilities", &json!({}))?;
        Ok(session)
    }

    fn read(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Err("the machine has hung up".into()),
            Ok(_) => serde_json::from_str(&line).map_err(|_| "the answer is no JSON".into()),
            Err(e) => Err(e.to_string()),
        }
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, String> {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.writer, "{request}").map_err(|e| e.to_string())?;
        loop {
            // Events may come between.
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                return Err(error["desc"].as_str().unwrap_or("the machine refuses").to_owned());
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }

    /// Has the machine's human monitor do something.
    ///
    /// # Errors
    /// What it says of an error.
    pub fn command(&mut self, line: &str) -> Result<String, String> {
        let answer = self.execute("human-monitor-command", &json!({ "command-line": line }))?;
        let text = answer.as_str().unwrap_or_default().replace('\r', "");
        match text.strip_prefix("Error: ") {
            Some(error) => Err(error.trim().to_owned()),
            None => Ok(text),
        }
    }
}
