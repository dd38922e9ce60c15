//! `tengling_sanip`: where the management interface listens.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Port of the management interface when none is given.
const DEFAULT_PORT: u16 = 8088;
/// Path of the management interface when no full URL is given.
const DEFAULT_PATH: &str = "/deviceManager/rest/";
/// More addresses than any array has controllers.
const MOST: usize = 16;

/// An address or a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostAddr {
    /// IPv4 or IPv6 address.
    Ip(IpAddr),
    /// Name, resolved at each connect.
    Name(String),
}

impl fmt::Display for HostAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// One management endpoint (a "RestURL").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// https.
    pub tls: bool,
    /// Host.
    pub host: HostAddr,
    /// TCP port.
    pub port: u16,
    /// Path, beginning and ending with a slash.
    pub path: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

/// Parses a list separated by semicolons.
pub(super) fn parse_list(text: &str) -> Result<Vec<Endpoint>, String> {
    let mut endpoints = Vec::new();
    for part in text.split(';').map(str::trim).filter(|p| !p.is_empty()) {
        let endpoint = parse(part)?;
        if !endpoints.contains(&endpoint) {
            endpoints.push(endpoint);
        }
    }
    match endpoints.len() {
        0 => Err("must name at least one address".to_owned()),
        n if n > MOST => Err(format!("names {n} addresses, at most {MOST} are possible")),
        _ => Ok(endpoints),
    }
}

fn parse(text: &str) -> Result<Endpoint, String> {
    let shape = "not HOST, HOST:PORT or http(s)://HOST[:PORT]/PATH/";
    // The text itself is not repeated: a URL may carry credentials, which are refused here.
    let (tls, rest, full) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest, true),
        Some(("http", rest)) => (false, rest, true),
        Some(_) => return Err(shape.to_owned()),
        None => (true, text, false),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) if full => rest.split_at(at),
        Some(_) => return Err(shape.to_owned()),
        None => (rest, DEFAULT_PATH),
    };
    if authority.contains('@') {
        return Err("must not carry credentials".to_owned());
    }
    let (host, port) = split_authority(authority).ok_or_else(|| shape.to_owned())?;
    let mut path = if path == "/" { DEFAULT_PATH.to_owned() } else { path.to_owned() };
    if !path.ends_with('/') {
        path.push('/');
    }
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b)) {
        return Err("has unusual characters in its path".to_owned());
    }
    Ok(Endpoint { tls, host, port, path })
}

fn split_authority(text: &str) -> Option<(HostAddr, u16)> {
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        return Some((HostAddr::Ip(ip.into()), DEFAULT_PORT));
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (ip, after) = rest.split_once(']')?;
        let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
        (HostAddr::Ip(ip.parse::<Ipv6Addr>().ok()?.into()), port)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        let name_like = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
        if host.is_empty() || host.len() > 253 || !host.bytes().all(name_like) {
            return None;
        }
        (host.parse().map_or_else(|_| HostAddr::Name(host.to_owned()), HostAddr::Ip), port)
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|p| *p != 0)?,
    };
    Some((host, port))
}
