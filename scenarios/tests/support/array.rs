//! A simulated array as a process of its own, and the two HTTP dialects that tests speak to it: management calls of a
//! foreign client, and the control surface.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Bench, Process};

/// A running `sanbench array serve`.
pub struct Served {
    /// The process; killed at the end of the test.
    pub process: Process,
    /// The ready line.
    pub ready: Value,
}

impl Served {
    /// Starts one on free ports with two portals, and waits until it is ready.
    pub fn start(bench: &Bench, more: &[&str]) -> Self {
        let mut words = vec!["array", "serve", "--rest", "127.0.0.1:0"];
        words.extend(["--iscsi", "127.0.0.1:0", "--iscsi", "127.0.0.1:0"]);
        words.extend(more);
        let mut command = bench.command(&words);
        let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("the ready line: {e}: {line:?}"));
        Self { process, ready }
    }

    /// `HOST:PORT` of the management API.
    pub fn address(&self) -> String {
        let url = self.ready["rest"].as_str().unwrap();
        url.trim_start_matches("http://").split('/').next().unwrap().to_owned()
    }

    /// A profile that names this array.
    pub fn profile(&self, more: &str) -> String {
        let text = |key: &str| self.ready[key].as_str().unwrap();
        let pools: Vec<&str> =
            self.ready["pools"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        format!(
            "name = \"served\"\n[backend]\ntengling_sanip = \"{}\"\ntengling_username = \"{}\"\ntengling_password = \"{}\"\ntengling_storagepool = \"{}\"\n{more}",
            text("rest"),
            text("user"),
            text("password"),
            pools.join(";")
        )
    }

    /// One request on a connection of its own; answers status and body.
    pub fn call(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: array\r\nConnection: close\r\nContent-Type: application/json\r\niBaseToken: {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}")))
    }

    /// `/_ctl/state`.
    pub fn state(&self) -> Value {
        let (status, state) = self.call("GET", "/_ctl/state", "", &Value::Null);
        assert_eq!(status, 200, "{state}");
        state
    }

    /// What exists on the array, by its REST names.
    pub fn counts(&self) -> Value {
        self.state()["counts"].clone()
    }

    /// Tells the control surface to do something.
    pub fn control(&self, what: &str, body: &Value) -> Value {
        let (status, state) = self.call("POST", &format!("/_ctl/{what}"), "", body);
        assert_eq!(status, 200, "{state}");
        state
    }

    /// Logs in as a client that the bench knows nothing of.
    pub fn foreigner(&self) -> Foreigner<'_> {
        let who = json!({"username": self.ready["user"], "password": self.ready["password"], "scope": "0"});
        let (_, answer) = self.call("POST", "/deviceManager/rest/xx/sessions", "", &who);
        let token = answer["data"]["iBaseToken"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        let device = answer["data"]["deviceid"].as_str().unwrap().to_owned();
        Foreigner { array: self, token, device }
    }
}

/// Somebody else's client of the array.
pub struct Foreigner<'a> {
    array: &'a Served,
    token: String,
    device: String,
}

impl Foreigner<'_> {
    /// A call that must succeed; answers its data.
    pub fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let path = format!("/deviceManager/rest/{}/{path}", self.device);
        let (status, answer) = self.array.call(method, &path, &self.token, &body);
        assert!(status == 200 && answer["error"]["code"] == 0, "{method} {path}: {status} {answer}");
        answer["data"].clone()
    }

    /// Makes a thin LUN of 1 GiB; answers its record.
    pub fn make_lun(&self, name: &str) -> Value {
        let body = json!({"NAME": name, "PARENTID": "0", "DESCRIPTION": "not of the bench", "ALLOCTYPE": "1", "CAPACITY": 2_097_152});
        let made = self.ok("POST", "lun", body);
        self.lun(made["ID"].as_str().unwrap())
    }

    /// The record of a LUN.
    pub fn lun(&self, id: &str) -> Value {
        self.ok("GET", &format!("lun/{id}"), Value::Null)
    }

    /// Ends the session.
    pub fn leave(self) {
        self.ok("DELETE", "sessions", Value::Null);
    }
}
