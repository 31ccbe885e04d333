//! Whether copy, purge and sync may go on: one decision for each batch.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::server_load::{ServerLoad, ThrottleReason, Volume};
use crate::model::settings::Settings;

/// Positions of the WAL that are remembered, one a look.
const MAX_MARKS: usize = 600;

/// When the WAL was where: a standby that says nothing is as far behind as the first position that it
/// has not replayed.
#[derive(Debug, Default)]
pub(crate) struct Marks(VecDeque<(Duration, i64)>);

impl Marks {
    /// Remembers a position. `now` is the time since any fixed point.
    pub(crate) fn add(&mut self, now: Duration, position: i64) {
        if self.0.back().is_none_or(|(_, last)| *last < position) {
            if self.0.len() == MAX_MARKS {
                // Every other one does as well over the double time.
                let mut keep = false;
                self.0.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
            self.0.push_back((now, position));
        }
    }

    /// How long ago the WAL was first beyond `replayed`.
    fn behind(&self, now: Duration, replayed: i64) -> Duration {
        let first = self.0.iter().find(|(_, position)| *position > replayed);
        first.map_or(Duration::ZERO, |(at, _)| now.saturating_sub(*at))
    }
}

/// Whether any limit is set that one has to look at the server for.
pub(crate) fn has_limits(settings: &Settings) -> bool {
    !settings.max_replica_lag.is_zero()
        || settings.max_slot_lag > 0
        || settings.max_active_backends > 0
}

/// What is over its limit, in words; nothing when the work may go on.
pub(crate) fn obstacle(
    settings: &Settings,
    server_load: &ServerLoad,
    marks: &Marks,
    now: Duration,
) -> Option<ThrottleReason> {
    let stop = |what: String, why: String| Some(ThrottleReason { what, why });
    let limit = settings.max_replica_lag;
    if !limit.is_zero() {
        for name in &settings.replicas {
            if !server_load.replicas.iter().any(|r| r.name == *name) {
                let why = format!("standby {name} is not connected (bluegreen.replicas)");
                return stop(format!("standby {name}"), why);
            }
        }
        for replica in &server_load.replicas {
            let caught_up = replica.replayed >= server_load.position;
            let said = replica.lag.filter(|_| !caught_up).unwrap_or(0.0).max(0.0);
            let lag = Duration::from_secs_f64(said).max(marks.behind(now, replica.replayed));
            if lag > limit {
                let why = format!(
                    "standby {} is {:.1} s behind, more than bluegreen.max_replica_lag of {:.1} s",
                    replica.name,
                    lag.as_secs_f64(),
                    limit.as_secs_f64()
                );
                return stop(format!("standby {}", replica.name), why);
            }
        }
    }
    if settings.max_slot_lag > 0
        && let Some(slot) = server_load.slots.iter().find(|s| s.behind > settings.max_slot_lag)
    {
        let why = format!(
            "replication slot {} keeps {} MB of WAL, more than bluegreen.max_slot_lag of {} MB",
            slot.name,
            slot.behind >> 20,
            settings.max_slot_lag >> 20
        );
        return stop(format!("slot {}", slot.name), why);
    }
    if settings.max_active_backends > 0 && server_load.active > settings.max_active_backends {
        let why = format!(
            "{} client sessions are active, more than bluegreen.max_active_backends of {}",
            server_load.active, settings.max_active_backends
        );
        return stop("sessions".to_owned(), why);
    }
    None
}

/// The first volume with too little free space, in words.
pub(crate) fn full(settings: &Settings, volumes: &[Volume]) -> Option<ThrottleReason> {
    let least = settings.min_free_space;
    let volume = volumes.iter().find(|volume| volume.free < least)?;
    let why = format!(
        "the volume of {} has {} MB free, less than bluegreen.min_free_space of {} MB",
        volume.name,
        volume.free >> 20,
        least >> 20
    );
    Some(ThrottleReason { what: format!("volume of {}", volume.name), why })
}

/// What was done before a rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// How long it took.
    pub took: Duration,
    /// Bytes of WAL that it wrote.
    pub wal: u64,
    /// Processes that do the same now, this one counted.
    pub processes: u32,
}

/// How long to rest: in proportion to the work, and until the WAL's rate is what it may be.
pub(crate) fn rest(settings: &Settings, effort: Effort) -> Duration {
    let nice = effort.took.mul_f64(settings.nice);
    if settings.max_wal_rate <= 0 {
        return nice;
    }
    let rate = settings.max_wal_rate as f64 / f64::from(effort.processes.max(1));
    nice.max(Duration::from_secs_f64(effort.wal as f64 / rate).saturating_sub(effort.took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::server_load::{Replica, Slot};

    const SECOND: Duration = Duration::from_secs(1);

    fn replica(replayed: i64, lag: Option<f64>) -> ServerLoad {
        let replica = Replica { name: "s1".into(), replayed, lag };
        ServerLoad { position: 100, replicas: vec![replica], ..ServerLoad::default() }
    }

    #[test]
    fn nothing_stops_it_where_nothing_is_limited() {
        let settings = Settings::default();
        assert!(!has_limits(&settings));
        assert_eq!(obstacle(&settings, &replica(0, Some(99.0)), &Marks::default(), SECOND), None);
    }

    #[test]
    fn a_standby_that_says_nothing_is_behind_by_what_it_has_not_replayed() {
        let settings = Settings { max_replica_lag: SECOND, ..Settings::default() };
        let mut marks = Marks::default();
        marks.add(SECOND, 50);
        marks.add(SECOND * 2, 100);
        let stop = |server_load| obstacle(&settings, &server_load, &marks, SECOND * 3);
        assert!(stop(replica(40, None)).is_some_and(|o| o.why.contains("s1 is 2.0 s behind")));
        assert_eq!(stop(replica(60, None)), None);
        assert_eq!(stop(replica(100, Some(9.0))), None);
        assert!(stop(replica(99, Some(9.0))).is_some());
    }

    #[test]
    fn a_named_standby_that_is_gone_stops_it() {
        let replicas = vec!["s2".to_owned()];
        let settings = Settings { max_replica_lag: SECOND, replicas, ..Settings::default() };
        let why = obstacle(&settings, &replica(100, None), &Marks::default(), SECOND);
        assert!(why.is_some_and(|o| o.why.contains("s2 is not connected")));
    }

    #[test]
    fn slots_and_sessions_have_limits() {
        let settings =
            Settings { max_slot_lag: 1 << 20, max_active_backends: 3, ..Settings::default() };
        let slots = vec![Slot { name: "a".into(), behind: 2 << 20 }];
        let full = ServerLoad { slots, ..ServerLoad::default() };
        let why = obstacle(&settings, &full, &Marks::default(), SECOND);
        assert!(why.is_some_and(|o| o.why.contains("slot a keeps 2 MB")));
        let busy = ServerLoad { active: 4, ..ServerLoad::default() };
        assert!(obstacle(&settings, &busy, &Marks::default(), SECOND).is_some());
        let calm = ServerLoad { active: 3, ..ServerLoad::default() };
        assert_eq!(obstacle(&settings, &calm, &Marks::default(), SECOND), None);
    }

    #[test]
    fn a_full_volume_stops_it() {
        let volume = |name: &str, free| Volume { name: name.to_owned(), free, needed: 0 };
        let volumes = [volume("tablespace fast", 3 << 20), volume("pg_wal", 1 << 20)];
        let settings = Settings { min_free_space: 2 << 20, ..Settings::default() };
        let why = full(&settings, &volumes);
        assert!(why.is_some_and(|o| o.why.starts_with("the volume of pg_wal has 1 MB free")));
        assert_eq!(full(&settings, &volumes[..1]), None);
        assert_eq!(full(&Settings::default(), &[volume("pg_wal", 0)]), None);
    }

    #[test]
    fn it_rests_in_proportion_and_for_the_wal() {
        let effort = Effort { took: SECOND, wal: 1 << 30, processes: 1 };
        let settings = Settings { nice: 2.0, ..Settings::default() };
        assert_eq!(rest(&settings, effort), SECOND * 2);
        let settings = Settings { max_wal_rate: 1000, ..Settings::default() };
        let effort = Effort { wal: 1500, processes: 2, ..effort };
        assert_eq!(rest(&settings, effort), SECOND * 2);
        assert_eq!(rest(&settings, Effort { wal: 400, ..effort }), Duration::ZERO);
        assert_eq!(rest(&settings, Effort { processes: 1, ..effort }), SECOND / 2);
    }

    #[test]
    fn old_marks_are_thinned_out() {
        let mut marks = Marks::default();
        for i in 0..2000u32 {
            marks.add(SECOND * i, i.into());
        }
        assert!(marks.0.len() <= MAX_MARKS);
        assert_eq!(marks.behind(SECOND * 2000, -1), SECOND * 2000);
    }
}
