//! Ports on the nodes: taken by stored Services, which the store's index knows, and by writes on their way.

use std::collections::HashSet;
use std::sync::{MutexGuard, PoisonError};

use kinds::service::KIND as SERVICES;
use kinds::service::allocation::{Ports, Refused, port_key, port_zones, take_ports};
use serde_json::Value;
use store::RangeQuery;

use super::{Allocator, Taken};
use crate::context::object;

impl Taken {
    /// Takes the ports that a Service needs and writes them down.
    pub(crate) fn ports(&mut self, spec: &mut Value, old: Option<&Value>) -> Result<(), Refused> {
        let work = self.work();
        take_ports(spec, old, &mut Free { allocator: work.allocator.clone(), taken: &mut work.ports })
    }
}

struct Free<'t> {
    allocator: Allocator,
    taken: &'t mut Vec<i64>,
}

impl Ports for Free<'_> {
    fn exactly(&mut self, port: i64) -> Result<(), String> {
        let range = &self.allocator.network.node_ports;
        if !u16::try_from(port).is_ok_and(|port| range.contains(&port)) {
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                range.start(),
                range.end()
            ));
        }
        if self.allocator.take_port(port) {
            self.taken.push(port);
            Ok(())
        } else {
            Err("provided port is already allocated".into())
        }
    }

    fn any(&mut self) -> Result<i64, String> {
        for (begin, count) in
            port_zones(&self.allocator.network.node_ports).into_iter().filter(|zone| zone.1 > 0)
        {
            let [a, b, c, d, ..] = self.allocator.nature.random();
            let start = u64::from(u32::from_le_bytes([a, b, c, d])) % count;
            for step in 0..count {
                let port = i64::try_from(begin + (start + step) % count).unwrap_or_default();
                if self.allocator.take_port(port) {
                    self.taken.push(port);
                    return Ok(port);
                }
            }
        }
        Err("range is full".into())
    }
}

impl Allocator {
    fn pending(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was free, and is not any more. A port leaves those on their way after the index has it, so it is looked
    /// for there last.
    fn take_port(&self, port: i64) -> bool {
        let mut pending = self.pending();
        if pending.contains(&port) {
            return false;
        }
        let (prefix, index) = (object::prefix(&SERVICES, ""), port_key(port));
        let query =
            RangeQuery { prefix: &prefix, index: Some(&index), limit: Some(1), ..RangeQuery::default() };
        let free = self.store.range(&query).is_ok_and(|page| page.entries.is_empty());
        free && pending.insert(port)
    }

    /// The writes of these have ended.
    pub(super) fn let_go(&self, ports: &[i64]) {
        let mut pending = self.pending();
        for port in ports {
            pending.remove(port);
        }
    }
}
