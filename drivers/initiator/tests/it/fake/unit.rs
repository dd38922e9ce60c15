//! The device server behind the fake target.

use super::*;

impl Connection {
    pub(super) fn execute(
        &self,
        lun: u16,
        cdb: Cdb,
        data: &[u8],
    ) -> Result<Vec<u8>, (Status, Option<Sense>)> {
        let mut guard = self.fake.lock();
        let array = &mut *guard;
        let check = |key, asc| Err((Status::CHECK_CONDITION, Some(Sense::new(key, asc))));
        let visible = !array.hidden.contains(&(self.portal, lun));
        if let Cdb::Inquiry { evpd: false, .. } = cdb {
            let there = visible && array.luns.contains_key(&lun);
            let peripheral = if there { Peripheral::DISK } else { Peripheral::NONE };
            return Ok(StandardInquiry {
                peripheral,
                version: 6,
                hierarchical: false,
                tpgs: u8::from(!array.alua.is_empty()),
                third_party_copy: false,
                protect: false,
                command_queue: true,
                vendor: "FAKE".into(),
                product: "DISK".into(),
                revision: "1".into(),
                version_descriptors: vec![],
            }
            .build());
        }
        if !matches!(cdb, Cdb::Inquiry { .. } | Cdb::ReportLuns { .. })
            && let Some(sense) = array.attentions.pop_front()
        {
            return Err((Status::CHECK_CONDITION, Some(sense)));
        }
        let numbers: Vec<u16> = array.luns.keys().copied().collect();
        if matches!(cdb, Cdb::ReportLuns { .. }) {
            return Ok(luns::build(
                &numbers.iter().map(|n| Lun::from_number(*n).unwrap()).collect::<Vec<_>>(),
            ));
        }
        if let Cdb::ReportTargetPortGroups { .. } = cdb {
            let group = |(id, state): (&u16, &u8)| alua::PortGroup {
                preferred: false,
                state: alua::AccessState(*state),
                supported: alua::Supported::default(),
                id: *id,
                status: alua::StatusCode::NONE,
                ports: vec![*id],
            };
            let groups = array.alua.iter().map(group).collect();
            return Ok(alua::PortGroups { transition_time: None, groups }.build());
        }
        if matches!(cdb, Cdb::Read(_) | Cdb::Write(_) | Cdb::TestUnitReady | Cdb::SynchronizeCache { .. }) {
            match array.alua.get(&self.tag) {
                Some(0x2) => return check(SenseKey::NOT_READY, Asc(0x040b)),
                Some(0x3) => return check(SenseKey::NOT_READY, Asc(0x040c)),
                Some(0xf) => return check(SenseKey::NOT_READY, Asc(0x040a)),
                _ => {}
            }
        }
        if matches!(cdb, Cdb::Read(_) | Cdb::Write(_)) {
            *array.served.entry(self.portal).or_default() += 1;
        }
        if matches!(cdb, Cdb::Unmap { .. }) {
            array.unmaps += 1;
            if array.no_unmap {
                return check(SenseKey::ILLEGAL_REQUEST, Asc(0x2000));
            }
        }
        let (stranger, short) = (
            array.strangers.get(&(self.portal, lun)).copied(),
            array.short.get(&(self.portal, lun)).copied(),
        );
        let has_groups = !array.alua.is_empty();
        let Some(volume) = array.luns.get_mut(&lun).filter(|_| visible) else {
            return check(SenseKey::ILLEGAL_REQUEST, Asc::LOGICAL_UNIT_NOT_SUPPORTED);
        };
        if matches!(cdb, Cdb::Read(_) | Cdb::Write(_))
            && let Some(status) = array.statuses.pop_front()
        {
            return Err((status, None));
        }
        match cdb {
            Cdb::Inquiry { page, .. } => {
                let page = match page {
                    vpd::page::DEVICE_ID => {
                        let port =
                            |id| Designator { association: Association::TargetPort, protocol: Some(5), id };
                        let mut all = vec![
                            port(Identifier::RelativePort(1)),
                            Designator {
                                association: Association::LogicalUnit,
                                protocol: None,
                                id: Identifier::Naa(stranger.unwrap_or(volume.wwn).0.to_vec()),
                            },
                        ];
                        if has_groups {
                            all.push(port(Identifier::PortGroup(self.tag)));
                        }
                        Vpd::DeviceId(all)
                    }
                    vpd::page::BLOCK_LIMITS => Vpd::BlockLimits(vpd::BlockLimits {
                        write_same_non_zero: false,
                        max_compare_and_write: 0,
                        optimal_granularity: 0,
                        max_transfer: 64,
                        optimal_transfer: 0,
                        max_prefetch: 0,
                        max_unmap_blocks: 100,
                        max_unmap_descriptors: 2,
                        unmap_granularity: 0,
                        unmap_alignment: None,
                        max_write_same: 0,
                        ..vpd::BlockLimits::default()
                    }),
                    vpd::page::PROVISIONING => Vpd::Provisioning(vpd::Provisioning {
                        threshold_exponent: 0,
                        unmap: !array.no_unmap,
                        write_same_16: false,
                        write_same_10: false,
                        unmapped_reads_zero: true,
                        anchor: false,
                        kind: 2,
                    }),
                    _ => return check(SenseKey::ILLEGAL_REQUEST, Asc::INVALID_FIELD_IN_CDB),
                };
                Ok(page.build(Peripheral::DISK))
            }
            Cdb::TestUnitReady => Ok(vec![]),
            Cdb::ReadCapacity16 { .. } => {
                let last_lba = short.unwrap_or(volume.blocks) - 1;
                volume.blocks = array.growth.take().unwrap_or(volume.blocks);
                Ok(Capacity16 {
                    last_lba,
                    block_length: 512,
                    protection: false,
                    protection_type: 0,
                    physical_exponent: 0,
                    thin: true,
                    unmapped_reads_zero: true,
                    lowest_aligned: 0,
                }
                .build()
                .to_vec())
            }
            Cdb::Read(t) => {
                assert!(t.blocks <= 64, "the block limits are obeyed");
                if t.lba + u64::from(t.blocks) > volume.blocks {
                    return check(SenseKey::ILLEGAL_REQUEST, Asc::LBA_OUT_OF_RANGE);
                }
                Ok((t.lba..t.lba + u64::from(t.blocks))
                    .flat_map(|lba| volume.data.get(&lba).cloned().unwrap_or_else(|| vec![0; 512]))
                    .collect())
            }
            Cdb::Write(t) => {
                if t.lba + u64::from(t.blocks) > volume.blocks {
                    return check(SenseKey::ILLEGAL_REQUEST, Asc::LBA_OUT_OF_RANGE);
                }
                for (lba, block) in (t.lba..).zip(data.chunks(512)) {
                    volume.data.insert(lba, block.to_vec());
                }
                Ok(vec![])
            }
            Cdb::SynchronizeCache { .. } => {
                array.flushes += 1;
                match array.flush_sense {
                    Some(sense) => Err((Status::CHECK_CONDITION, Some(sense))),
                    None => Ok(vec![]),
                }
            }
            Cdb::Unmap { .. } => {
                let ranges = unmap::parse(data).unwrap();
                assert!(ranges.len() <= 2 && ranges.iter().map(|r| r.blocks).sum::<u32>() <= 100);
                for range in ranges {
                    volume
                        .data
                        .retain(|lba, _| *lba < range.lba || *lba >= range.lba + u64::from(range.blocks));
                }
                Ok(vec![])
            }
            Cdb::GetLbaStatus { lba, .. } => {
                let mapped = volume.data.contains_key(&lba);
                let status = if mapped { LbaProvisioning::MAPPED } else { LbaProvisioning::DEALLOCATED };
                Ok(lba_status::build(&[LbaStatus { lba, blocks: 1, status }]))
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}
