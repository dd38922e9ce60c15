//! A host is asked once more to connect what it has, as a volume service that starts again does, and a second guest of the host.

use super::*;
use crate::plan::Repeated;
use sanbench_api::ConnectorError;

impl Player<'_> {
    /// It gives the same device again, in one size over all paths that it has of it, found anew or not (MPX-003). While a path
    /// of the host does not work, it may refuse instead: what it cannot ask may have another size.
    pub(super) async fn connect_again(&self, volume: &Name, host: &Name) -> Ended {
        self.done_once(Repeated::Connect, volume, Some(host))?;
        let (id, properties) = (self.volume(volume)?.id, self.properties(host)?);
        let connector = self.site.connector(host).ok_or_else(|| missing("host", host))?;
        let before = sizes(connector.as_ref(), self.wwn_of(id));
        let reference = self.reference(volume)?;
        let info = self.driver()?.initialize_connection(&reference, &properties).await;
        let mut info = info.map_err(|e| self.not_again(volume, host, &e.to_string()))?;
        info.multipath = properties.multipath;
        let again = connector.connect_volume(&info).await;
        let after = sizes(connector.as_ref(), info.wwn);
        let told = |sizes: &[(String, u64)]| {
            sizes.iter().map(|(name, bytes)| format!("{name}: {bytes} bytes")).collect::<Vec<_>>().join(", ")
        };
        let size = match again {
            Ok(attached) => attached.device.capacity_blocks().saturating_mul(512),
            Err(ConnectorError::UnequalPaths { message }) if self.judge().outage.any() => {
                if after == before {
                    self.judge().ledger.compared("MPX-003", after.len() as u64);
                    return Ok(format!("not connected again: {message}"));
                }
                let finding = Finding::new("MPX-003", "paths", "host", "refused")
                    .says(format!(
                        "{host} refused to connect {volume} again, and has changed something of it"
                    ))
                    .compared(told(&before), told(&after));
                return Err(StepEnd::Findings(vec![finding]));
            }
            Err(e) => return Err(self.not_again(volume, host, &e.to_string())),
        };
        if after.iter().any(|(_, bytes)| *bytes != size) {
            let finding = Finding::new("MPX-003", "paths", "host", "size")
                .says(format!("{host} has connected {volume} again and shows more than one size of it"))
                .compared(format!("{size} bytes everywhere"), told(&after));
            return Err(StepEnd::Findings(vec![finding]));
        }
        let mut judge = self.judge();
        judge.ledger.compared("MPX-003", after.len() as u64);
        judge.expect(volume, &["DAT-004"]);
        Ok(format!("{} device(s) and map(s) of one size", after.len()))
    }

    fn wwn_of(&self, id: VolumeId) -> Option<sanbench_api::Wwn> {
        self.judge().wwns.get(&id).copied()
    }

    fn not_again(&self, volume: &Name, host: &Name, observed: &str) -> StepEnd {
        let finding = Finding::new("ATT-002", "idempotency", "connector", "repeated")
            .says(format!("{host} has {volume}, was asked once more to connect it, and did not"))
            .compared("the same success", observed);
        contract::excusable(finding)
    }
}

/// What a host shows of a volume, and its map: name and bytes.
fn sizes(host: &dyn sanbench_api::Connector, wwn: Option<sanbench_api::Wwn>) -> Vec<(String, u64)> {
    let census = host.census();
    let ours: Vec<_> = census.devices.iter().filter(|d| wwn.is_some() && d.wwn == wwn).collect();
    let holds = |paths: &[String]| paths.iter().any(|path| ours.iter().any(|d| d.name == *path));
    let maps = census.maps.iter().filter(|map| holds(&map.paths));
    let maps = maps.map(|map| (map.name.clone(), map.size_bytes));
    ours.iter().map(|d| (d.name.clone(), d.size_bytes)).chain(maps).collect()
}
