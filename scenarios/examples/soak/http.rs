//! A management client: one connection, one session, blocking.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// A session of the management API. It logs in by itself when it has to.
pub struct Client {
    address: SocketAddr,
    user: String,
    password: String,
    stream: Option<BufReader<TcpStream>>,
    token: String,
    device: String,
}

impl Client {
    pub fn new(address: SocketAddr, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        Self { address, user, password, stream: None, token: String::new(), device: "xx".to_owned() }
    }

    /// One call below the device's root; the answer's `data` or its error code. An `io::Error` leaves open whether the
    /// call was carried out.
    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Result<Value, i64>> {
        for _ in 0..3 {
            if self.token.is_empty() {
                self.log_in()?;
            }
            let path = format!("/deviceManager/rest/{}/{path}", self.device);
            let answer = self.exchange(method, &path, body)?;
            match answer["error"]["code"].as_i64() {
                Some(0) => return Ok(Ok(answer["data"].clone())),
                // The session is of another process; the call has done nothing.
                Some(-401) => self.token.clear(),
                Some(code) => return Ok(Err(code)),
                None => return Err(io::Error::other(format!("an answer without a code: {answer}"))),
            }
        }
        Err(io::Error::other("every session is lost at once"))
    }

    /// Any page of the listener.
    pub fn page(&mut self, path: &str) -> io::Result<String> {
        // The connection may be to a process that is gone; a page can be asked for twice.
        self.send("GET", path, &Value::Null).or_else(|_| self.send("GET", path, &Value::Null))
    }

    fn log_in(&mut self) -> io::Result<()> {
        let who = json!({"username": self.user, "password": self.password, "scope": "0"});
        let answer = self.exchange("POST", "/deviceManager/rest/xx/sessions", &who)?;
        let text = |key: &str| answer["data"][key].as_str().map(str::to_owned);
        let (Some(token), Some(device)) = (text("iBaseToken"), text("deviceid")) else {
            return Err(io::Error::other(format!("no session: {answer}")));
        };
        (self.token, self.device) = (token, device);
        Ok(())
    }

    fn exchange(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Value> {
        let text = self.send(method, path, body)?;
        serde_json::from_str(&text).map_err(io::Error::other)
    }

    fn send(&mut self, method: &str, path: &str, body: &Value) -> io::Result<String> {
        let done = self.try_send(method, path, body);
        if done.is_err() {
            self.stream = None;
        }
        done
    }

    fn try_send(&mut self, method: &str, path: &str, body: &Value) -> io::Result<String> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                stream.set_nodelay(true)?;
                none.insert(BufReader::new(stream))
            }
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token = &self.token;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: array\r\nContent-Type: application/json\r\niBaseToken: {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let mut length = None;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse::<usize>().ok();
            }
        }
        let length =
            length.filter(|length| *length < 64 << 20).ok_or_else(|| io::Error::other("no length"))?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        String::from_utf8(body).map_err(io::Error::other)
    }
}
