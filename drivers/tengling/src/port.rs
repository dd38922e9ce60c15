//! iSCSI target ports: where hosts log in (array-rest.md 5.7).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sanbench_api::{DriverError, RefusalKind};
use serde_json::Value;

use crate::client::Client;
use crate::error::{CallError, refuse};
use crate::settle::records;
use crate::value::{BadAnswer, Obj, Record};

/// iSCSI's own port (RFC 7143 section 13.1).
const ISCSI_PORT: u16 = 3260;
/// Most portals handed out.
const MOST_PORTALS: usize = 64;

/// An element of `iscsi_tgt_port`.
struct TargetPort {
    id: String,
    ethernet: Option<String>,
    port: u16,
}

impl Record for TargetPort {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("iscsi_tgt_port", value)?;
        let port = match obj.text("PORT") {
            None => ISCSI_PORT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|p| *p != 0)
                .ok_or(BadAnswer { what: "iscsi_tgt_port", key: "PORT" })?,
        };
        Ok(Self { id: obj.need("ID")?, ethernet: obj.text("ETHPORTID").map(|e| e.into_owned()), port })
    }

    fn name(&self) -> &str {
        &self.id
    }
}

/// An element of `eth_port`: whether its link is up.
struct EthernetPort {
    id: String,
    up: bool,
}

impl Record for EthernetPort {
    fn read(value: &Value) -> Result<Self, BadAnswer> {
        let obj = Obj::new("eth_port", value)?;
        let healthy = obj.number("HEALTHSTATUS").is_none_or(|h| h == 1);
        let linked = obj.number("RUNNINGSTATUS").is_none_or(|r| r == 10);
        Ok(Self { id: obj.need("ID")?, up: healthy && linked })
    }

    fn name(&self) -> &str {
        &self.id
    }
}

/// Address and target name of one portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Portal {
    pub(crate) address: SocketAddr,
    pub(crate) iqn: String,
}

/// Takes `<n>+<iqn>,t,0x<tpgt>` apart, where the IQN ends in its portal's address after the fifth colon.
fn parse(id: &str, port: u16) -> Option<Portal> {
    let iqn = id.split(',').next()?;
    let iqn = iqn.split_once('+').map_or(iqn, |(_, iqn)| iqn);
    let ip = iqn.splitn(6, ':').nth(5)?;
    let ip: IpAddr = ip.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    // RFC 7143 section 4.2.7.1: at most 223 bytes.
    (iqn.len() <= 223).then(|| Portal { address: SocketAddr::new(ip, port), iqn: iqn.to_owned() })
}

impl Client {
    /// Portals whose link is up, in the array's order; at least one.
    pub(crate) async fn portals(&self) -> Result<Vec<Portal>, DriverError> {
        let ports = records::<TargetPort>(&self.get("iscsi_tgt_port").await?)?;
        let links: BTreeMap<String, bool> = records::<EthernetPort>(&self.get("eth_port").await?)?
            .into_iter()
            .map(|e| (e.id, e.up))
            .collect();
        let mut portals = Vec::new();
        for port in ports.iter().take(MOST_PORTALS) {
            // A port that the other list does not know is taken for usable.
            let up = port.ethernet.as_ref().and_then(|e| links.get(e)).copied().unwrap_or(true);
            if !up && !self.defects.down_portals_offered {
                continue;
            }
            match parse(&port.id, port.port) {
                Some(portal) if !portals.contains(&portal) => portals.push(portal),
                Some(_) => {}
                None => {
                    let message = format!("iscsi_tgt_port: {:?} has no address", port.id);
                    return Err(CallError::Malformed(message).into());
                }
            }
        }
        if portals.is_empty() {
            return refuse(RefusalKind::Other, "the array has no iSCSI portal whose link is up");
        }
        Ok(portals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ids_are_taken_apart_for_both_families() {
        let base = "iqn.2006-08.com.huawei:oceanstor:21003400a30d844d::20200";
        let portal = parse(&format!("0+{base}:127.0.0.1,t,0x0001"), 3260).unwrap();
        assert_eq!(portal.address, "127.0.0.1:3260".parse().unwrap());
        assert_eq!(portal.iqn, format!("{base}:127.0.0.1"));
        let six = parse(&format!("7+{base}:2001:db8::5,t,0x0002"), 860).unwrap();
        assert_eq!(six.address, "[2001:db8::5]:860".parse().unwrap());
        assert_eq!(parse("0+iqn.x:no-address,t,0x1", 3260), None);
        assert_eq!(parse("", 3260), None);
    }
}
