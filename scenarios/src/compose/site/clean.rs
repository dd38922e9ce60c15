//! An array whose volume service is lost for good, and its clean-up.

use std::collections::BTreeMap;

use sanbench_runner::{Cleaned, Site, SiteError};

use super::{ComposedSite, HostEnd};
use crate::safety::clean_by;

impl ComposedSite {
    /// The service with its database and the hosts go down; the array is cleaned by a driver of its own, as by the command for
    /// that; then everything starts anew.
    pub(super) async fn lose_and_clean(&self) -> Result<Cleaned, SiteError> {
        let levers = self.levers()?;
        let control = self.control();
        if !control.is_crashed() {
            let _ = control.stop().await;
        }
        let internal = |e: &dyn std::fmt::Display| SiteError::Internal(e.to_string());
        control.lose_database().map_err(|e| internal(&e))?;
        for (host, machine) in &self.connectors {
            levers.host_off(host, HostEnd::Power)?;
            machine.started(levers.host_on(host)?);
        }
        let options = self.service().options.clone();
        let built = (self.parts.driver.build)(&self.parts.control, &options, &self.parts.planted)
            .map_err(|e| SiteError::BadOption(format!("{}: {}", e.key, e.problem)))?;
        let cleaned = clean_by(&*built.driver, &[self.parts.tag]).await;
        let cleaned = cleaned.map_err(|e| SiteError::Unreachable(e.to_string()))?;
        self.restart(&BTreeMap::new()).await?;
        self.make_types()?;
        Ok(cleaned)
    }
}
