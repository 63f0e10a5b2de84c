//! What the store promises to keep (LEDGER 4), from what its servers say of themselves.

use super::super::url::Topology;
use super::facts::{Facts, Fsync};

/// A durability class: which acknowledged writes can be lost. From the strongest to the weakest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::store::redis) enum Class {
    /// One server that writes to its disk before it answers.
    Always,
    /// A primary whose writes are acknowledged by each replica that may take its place.
    Wait {
        /// How many; in a cluster the fewest of a master.
        replicas: u32,
    },
    /// One server that writes to its disk each second.
    Everysec,
    /// Replicas that follow as they can.
    Async,
    /// One server that writes to its disk now and then.
    Snapshots,
    /// One server that does not say when it writes to its disk.
    Hidden,
    /// One server that keeps everything in memory only.
    Memory,
}

impl Class {
    /// The class of one server with these replicas. Where none is known, nothing can take its place, and its disk alone counts.
    pub(super) fn of(topology: &Topology, facts: &Facts, replicas: Replicas) -> Self {
        if *topology != Topology::Standalone && (replicas.known > 0 || facts.connected > 0) {
            return match replicas.live.max(facts.connected) {
                0 => Self::Async,
                replicas if facts.aof && facts.min_replicas => Self::Wait { replicas },
                _ => Self::Async,
            };
        }
        match (facts.aof, facts.fsync, facts.snapshots) {
            (true, Fsync::Always, _) => Self::Always,
            (true, Fsync::Everysec, _) => Self::Everysec,
            (true, Fsync::Hidden, _) | (false, _, None) => Self::Hidden,
            (true, Fsync::No, _) | (false, _, Some(true)) => Self::Snapshots,
            (false, _, Some(false)) => Self::Memory,
        }
    }

    /// Whether no acknowledged write is lost at one failure.
    pub(in crate::store::redis) fn is_strict(self) -> bool {
        matches!(self, Self::Always | Self::Wait { .. })
    }

    /// How many replicas acknowledge a write, where they have to.
    pub(in crate::store::redis) fn replicas(self) -> Option<u32> {
        if let Self::Wait { replicas } = self { Some(replicas) } else { None }
    }

    /// Its name in the documentation.
    pub(in crate::store::redis) fn name(self) -> &'static str {
        match self {
            Self::Always => "redis-always",
            Self::Wait { .. } => "redis-wait",
            Self::Everysec => "redis-everysec",
            Self::Async => "redis-async",
            Self::Snapshots => "redis-snapshots",
            Self::Hidden => "redis-unproven",
            Self::Memory => "redis-memory",
        }
    }

    /// What can be lost, in words for an operator.
    pub(in crate::store::redis) fn bound(self) -> String {
        match self {
            Self::Always => "nothing that was acknowledged is lost when Redis is killed or loses power".to_owned(),
            Self::Wait { replicas } => format!(
                "nothing that was acknowledged is lost at one failure: {replicas} replica(s) of each primary acknowledge every write"
            ),
            Self::Everysec => "what was admitted in the last 2 seconds is lost when Redis is killed or loses power, and can be spent \
                               again"
                .to_owned(),
            Self::Async => "what was admitted since the replicas were last in step is lost at a failover or a partition, without a \
                            limit in time, and can be spent again"
                .to_owned(),
            Self::Snapshots => "what was admitted since the last write to disk (minutes, by the server's settings) is lost when Redis \
                                is killed or loses power, and can be spent again"
                .to_owned(),
            Self::Hidden => "it cannot be proven what is lost when Redis is killed or loses power: CONFIG GET is denied".to_owned(),
            Self::Memory => "everything is lost when Redis ends".to_owned(),
        }
    }

    /// What to change for a strict class.
    pub(super) fn remedy(self, topology: &Topology) -> &'static str {
        match (self, topology) {
            (Self::Hidden, Topology::Standalone) => {
                "allow this user `+config|get` on a Redis with `appendonly yes` and `appendfsync always`"
            }
            (_, Topology::Standalone) => "set `appendonly yes` and `appendfsync always`",
            (_, Topology::Sentinel | Topology::Cluster) => {
                "give each primary a replica that is in step, and set `appendonly yes`, `min-replicas-to-write 1` and \
                 `min-replicas-max-lag` on each server"
            }
        }
    }
}

/// The replicas of a server, as the sentinels or the cluster know them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Replicas {
    /// Those that are not down: each may be promoted, and each counts for `WAIT`.
    pub(super) live: u32,
    /// All.
    pub(super) known: u32,
}

/// What makes a server unfit to hold the books at all, with what to change.
pub(super) fn unfit(topology: &Topology, facts: &Facts) -> Option<String> {
    let cluster = *topology == Topology::Cluster;
    if !facts.is_new_enough() {
        return Some(format!("it is Redis {}: 7.0 or newer is needed", facts.version));
    }
    match (facts.mode.as_str(), cluster) {
        ("cluster", false) => {
            return Some("it is a node of a cluster: write store.url as redis+cluster://host:port".to_owned());
        }
        ("standalone", true) => {
            return Some("it is no node of a cluster: write store.url as redis://host:port".to_owned());
        }
        _ => {}
    }
    if facts.eviction != "noeviction" {
        return Some(format!(
            "maxmemory-policy is {}, which throws counters away when memory is used up: set `maxmemory-policy noeviction`",
            facts.eviction
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::facts::tests::facts;
    use super::*;

    fn sentinel() -> Topology {
        Topology::Sentinel
    }

    #[test]
    fn one_server_has_the_class_of_its_disk() {
        for topology in [Topology::Standalone, sentinel(), Topology::Cluster] {
            let of = |aof, fsync, snapshots| {
                Class::of(&topology, &Facts { aof, fsync, snapshots, ..facts() }, Replicas::default())
            };
            assert_eq!(of(true, Fsync::Always, Some(true)), Class::Always);
            assert_eq!(of(true, Fsync::Everysec, Some(true)), Class::Everysec);
            assert_eq!(of(true, Fsync::No, Some(true)), Class::Snapshots);
            assert_eq!(of(false, Fsync::Always, Some(true)), Class::Snapshots);
            assert_eq!(of(false, Fsync::Always, Some(false)), Class::Memory);
            assert_eq!(of(true, Fsync::Hidden, None), Class::Hidden);
            assert_eq!(of(false, Fsync::Hidden, None), Class::Hidden);
        }
    }

    #[test]
    fn replicas_are_waited_for_only_where_a_primary_without_them_refuses() {
        let of = |aof, min_replicas, live, known| {
            let facts = Facts { aof, min_replicas, ..facts() };
            Class::of(&sentinel(), &facts, Replicas { live, known })
        };
        assert_eq!(of(true, true, 2, 3), Class::Wait { replicas: 2 });
        assert_eq!(of(true, false, 2, 2), Class::Async);
        assert_eq!(of(false, true, 2, 2), Class::Async);
        // An fsync of each write does not help where a replica may take over.
        assert_eq!(of(true, true, 0, 1), Class::Async);
        // One that the sentinels do not know yet may already be read from.
        let facts = Facts { connected: 2, min_replicas: true, ..facts() };
        assert_eq!(Class::of(&Topology::Cluster, &facts, Replicas { live: 1, known: 1 }), Class::Wait { replicas: 2 });
        assert_eq!(Class::of(&Topology::Cluster, &facts, Replicas::default()), Class::Wait { replicas: 2 });
    }

    #[test]
    fn only_two_classes_are_strict_and_the_weakest_counts() {
        let strict = [Class::Always, Class::Wait { replicas: 1 }];
        let weak = [Class::Everysec, Class::Async, Class::Snapshots, Class::Hidden, Class::Memory];
        assert!(strict.iter().all(|class| class.is_strict()) && !weak.iter().any(|class| class.is_strict()));
        assert!(strict.iter().max() < weak.iter().min());
        for class in strict.into_iter().chain(weak) {
            assert!(class.name().starts_with("redis-") && class.bound().len() > 20);
        }
    }

    #[test]
    fn what_is_unfit_says_what_to_change() {
        let why = |topology: &Topology, facts: Facts| unfit(topology, &facts).unwrap_or_default();
        let one = Topology::Standalone;
        assert_eq!(why(&one, facts()), "");
        assert!(why(&one, Facts { eviction: "allkeys-lru".to_owned(), ..facts() }).contains("noeviction"));
        assert!(why(&one, Facts { version: "6.0.9".to_owned(), ..facts() }).contains("7.0"));
        assert!(why(&one, Facts { mode: "cluster".to_owned(), ..facts() }).contains("redis+cluster://"));
        assert!(why(&sentinel(), Facts { mode: "cluster".to_owned(), ..facts() }).contains("redis+cluster://"));
        assert!(why(&Topology::Cluster, facts()).contains("redis://"));
    }
}
