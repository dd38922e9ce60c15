//! A client of the management API that costs next to nothing: blocking, one connection, no more HTTP than is needed.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::server::Server;

/// A logged-in connection.
pub(crate) struct Client {
    stream: TcpStream,
    base: String,
    token: String,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects and logs in.
    pub(crate) fn login(server: &Server) -> io::Result<Self> {
        let stream = TcpStream::connect(server.address)?;
        stream.set_nodelay(true)?;
        let base = "/deviceManager/rest/xx".to_owned();
        let mut client = Self { stream, base, token: String::new(), buffer: Vec::new() };
        let body = format!(r#"{{"username":"admin","password":"{}","scope":"0"}}"#, server.password);
        client.exchange("POST", "sessions", &body)?;
        let [token, device] = ["iBaseToken", "deviceid"].map(|name| client.text(name));
        client.token = token.ok_or_else(|| io::Error::other("no token"))?;
        client.base =
            format!("/deviceManager/rest/{}", device.ok_or_else(|| io::Error::other("no device id"))?);
        Ok(client)
    }

    /// Makes an object; its id.
    pub(crate) fn make(&mut self, kind: &str, body: &str) -> io::Result<String> {
        self.ok("POST", kind, body)?;
        self.text("ID").ok_or_else(|| io::Error::other(format!("POST {kind}: no ID")))
    }

    /// A read that must succeed.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<()> {
        self.ok("GET", path, "")
    }

    /// A call that must succeed.
    pub(crate) fn ok(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        self.exchange(method, path, body)?;
        let end = &self.buffer[self.buffer.len().saturating_sub(300)..];
        match end.windows(9).any(|part| part == b"\"code\":0,") {
            true => Ok(()),
            false => {
                let shown = String::from_utf8_lossy(end).into_owned();
                Err(io::Error::other(format!("{method} {path}: {shown}")))
            }
        }
    }

    /// A page outside the API.
    pub(crate) fn page(&mut self, path: &str) -> io::Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: array\r\n\r\n");
        self.stream.write_all(head.as_bytes())?;
        self.answer()
    }

    /// The body of the last answer.
    pub(crate) fn last(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.buffer)
    }

    fn exchange(&mut self, method: &str, path: &str, body: &str) -> io::Result<()> {
        let Self { base, token, .. } = self;
        let length = body.len();
        let request = format!(
            "{method} {base}/{path} HTTP/1.1\r\nHost: array\r\niBaseToken: {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes())?;
        self.answer()
    }

    /// Takes one whole answer; its body stays in the buffer.
    fn answer(&mut self) -> io::Result<()> {
        self.buffer.clear();
        let mut chunk = vec![0; 256 << 10];
        let mut body = None;
        loop {
            let n = self.stream.read(&mut chunk)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..n]);
            if body.is_none()
                && let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n")
            {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
                if !head.starts_with("http/1.1 200") {
                    return Err(io::Error::other(head));
                }
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
                let length: usize = length
                    .and_then(|n| n.trim().parse().ok())
                    .ok_or_else(|| io::Error::other("no content-length"))?;
                body = Some((end + 4, length));
            }
            if let Some((start, length)) = body
                && self.buffer.len() >= start + length
            {
                self.buffer.drain(..start);
                return Ok(());
            }
        }
    }

    /// The first text attribute of that name in the last answer.
    fn text(&self, name: &str) -> Option<String> {
        let text = std::str::from_utf8(&self.buffer).ok()?;
        let (_, rest) = text.split_once(&format!("\"{name}\":\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    }
}
