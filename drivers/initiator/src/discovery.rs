//! SendTargets (RFC 7143 appendix C): which targets and portals an initiator may see.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use sanbench_api::ChapAuth;
use sanbench_wire::keys::{self, KeyLimits};
use sanbench_world::Env;

use crate::config::HostConfig;
use crate::error::LoginError;
use crate::link::{Link, split_address};
use crate::portal::{isid, plan};

/// Most portals taken from one answer.
const MAX_PORTALS: usize = 4096;

/// One portal of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discovered {
    /// iSCSI name of the target.
    pub iqn: String,
    /// Host part of the address, as the target wrote it (IPv6 in brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// Target portal group tag.
    pub portal_group: Option<u16>,
}

/// Reads the text of a SendTargets answer. A target without address is reachable where it was asked.
///
/// # Errors
/// Text that is malformed, out of order or over the bounds.
pub fn parse(text: &[u8], asked: SocketAddr) -> Result<Vec<Discovered>, LoginError> {
    let limits = KeyLimits { max_pairs: 2 * MAX_PORTALS, ..KeyLimits::RFC };
    let pairs = keys::decode(text, limits).map_err(|e| LoginError::Protocol(e.to_string()))?;
    let bad = |what: &str| LoginError::Protocol(format!("SendTargets: {what}"));
    let mut found: Vec<Discovered> = Vec::new();
    let mut current: Option<(String, bool)> = None;
    let lone = |name: String| {
        let host = match asked {
            SocketAddr::V4(a) => a.ip().to_string(),
            SocketAddr::V6(a) => format!("[{}]", a.ip()),
        };
        Discovered { iqn: name, host, port: asked.port(), portal_group: None }
    };
    for (key, value) in pairs {
        match key.as_str() {
            "TargetName" => {
                if value.is_empty() || value.len() > 223 {
                    return Err(bad("target name of a wrong length"));
                }
                if let Some((name, false)) = current.replace((value, false)) {
                    found.push(lone(name));
                }
            }
            "TargetAddress" => {
                let Some((name, listed)) = &mut current else {
                    return Err(bad("an address before any name"));
                };
                *listed = true;
                let (host, port) = split_address(&value).ok_or_else(|| bad("malformed address"))?;
                let portal_group = match value.split_once(',') {
                    Some((_, tag)) => Some(tag.parse().map_err(|_| bad("malformed portal group tag"))?),
                    None => None,
                };
                found.push(Discovered { iqn: name.clone(), host: host.to_owned(), port, portal_group });
            }
            _ => {}
        }
        if found.len() > MAX_PORTALS {
            return Err(bad("too many portals"));
        }
    }
    if let Some((name, false)) = current {
        found.push(lone(name));
    }
    Ok(found)
}

/// Asks `portal` for all targets that this host may see, in a discovery session of its own.
///
/// # Errors
/// Why there was no session or no answer.
pub async fn send_targets(
    env: &Env,
    config: &Arc<HostConfig>,
    portal: SocketAddr,
    auth: Option<&ChapAuth>,
) -> Result<Vec<Discovered>, LoginError> {
    let isid = isid(config, None, &portal.to_string());
    let source = config.sources.get(&portal).copied();
    let link = Link::open(env, config, &plan(env, config, None, isid, auth), portal, source).await?;
    let text = Bytes::from(keys::encode([("SendTargets", "All")]));
    let answer = link.text(env, text, config.session.login_timeout).await;
    link.logout(env).await;
    let answer = answer.map_err(|_| LoginError::Timeout)?;
    parse(&answer, portal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_bounded() {
        let asked: SocketAddr = "10.0.0.1:3260".parse().unwrap();
        let text = keys::encode([
            ("TargetName", "iqn.a"),
            ("TargetAddress", "10.0.0.1:3260,1"),
            ("TargetAddress", "[fd00::1]:860,2"),
            ("TargetName", "iqn.b"),
            ("TargetName", "iqn.c"),
            ("TargetAddress", "array"),
        ]);
        insta::assert_debug_snapshot!(parse(&text, asked).unwrap());
        assert_eq!(parse(b"", asked).unwrap(), []);
        for bad in [
            &keys::encode([("TargetAddress", "10.0.0.1:3260,1")])[..],
            &keys::encode([("TargetName", "")])[..],
            &keys::encode([("TargetName", "a"), ("TargetAddress", "h:99999,1")])[..],
            &keys::encode([("TargetName", "a"), ("TargetAddress", ":1,1")])[..],
            &keys::encode([("TargetName", "a"), ("TargetAddress", "h:1,x")])[..],
            b"TargetName=a",
        ] {
            assert!(parse(bad, asked).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }
}
