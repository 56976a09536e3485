//! A small HTTP server on the loopback address, for guests to fetch from, and a client for what they serve.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use accel::testing::Rng;
use anyhow::{Context, Result, bail};

/// Serves one content at every path, to any number of clients. Ends with the process.
pub struct Server {
    pub port: u16,
}

impl Server {
    pub fn start(content: Arc<Vec<u8>>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port to listen on")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let content = Arc::clone(&content);
                // A client that goes away is the client's affair.
                std::thread::spawn(move || answer(stream, &content));
            }
        });
        Ok(Self { port })
    }
}

fn answer(mut stream: TcpStream, content: &[u8]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    // The request ends with an empty line; whatever it asks for, the answer is the same.
    while !lines.next().transpose()?.unwrap_or_default().is_empty() {}
    write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())?;
    stream.write_all(content)
}

/// The body of `GET path` from a port of the loopback address.
pub fn get(port: u16, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("cannot connect to the guest's server")?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("the connection to the guest's server broke")?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("the guest's server sent no HTTP header")?;
    let status = String::from_utf8_lossy(&answer[..end]).lines().next().unwrap_or_default().to_owned();
    if !status.contains(" 200 ") {
        bail!("the guest's server answered {status}");
    }
    Ok(answer.split_off(end + 4))
}

/// A port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// `length` bytes that do not compress or repeat, the same on every run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut random = Rng::new(0);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_fetched() {
        let content = Arc::new(noise(100_003));
        let server = Server::start(Arc::clone(&content)).unwrap();
        for _ in 0..2 {
            assert_eq!(get(server.port, "/any").unwrap(), *content);
        }
    }
}
