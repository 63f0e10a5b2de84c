//! How much memory the process may have, and how much it has (F-LIF-6): by its control group, or by itself.

use std::path::{Path, PathBuf};

use prometheus_client::registry::{Registry, Unit};

use super::metrics::Gauge;

/// What is shown of it, in bytes.
#[derive(Clone, Debug)]
pub struct MemoryMetrics {
    /// What is used: of the control group, or of the process.
    pub used: Gauge,
    /// What may be used; 0 = nobody knows.
    pub limit: Gauge,
    /// What is set aside for large request bodies.
    pub bodies: Gauge,
}

impl MemoryMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
            gauge
        };
        Self {
            used: gauge("memory_used", "Memory that is used: of the control group, or of the process"),
            limit: gauge("memory_limit", "Memory that may be used"),
            bodies: gauge("request_bodies", "Memory that is set aside for large request bodies"),
        }
    }
}

/// Where control groups are mounted, as everywhere.
const GROUPS: &str = "/sys/fs/cgroup";

/// The memory of this process: what it may have and where to read what it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Memory {
    limit: Option<u64>,
    place: Place,
}

/// Where to read what is used.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    /// A control group, with all that is in it: what is over its limit is killed.
    Group { used: PathBuf, parts: PathBuf, prefix: &'static str },
    /// The process alone.
    Process,
}

/// The files of a version of control groups, and what the members of `memory.stat` begin with.
struct Version {
    controller: &'static str,
    limit: &'static str,
    used: &'static str,
    prefix: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version { controller: "", limit: "memory.max", used: "memory.current", prefix: "" },
    Version { controller: "memory", limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", prefix: "total_" },
];

impl Memory {
    /// The limit that was set, for the process alone; without one that of its control group, or else what the machine has.
    #[must_use]
    pub fn find(set: Option<u64>) -> Self {
        Self::find_in(set, Path::new(GROUPS), Path::new("/proc"))
    }

    fn find_in(set: Option<u64>, groups: &Path, proc: &Path) -> Self {
        if set.is_some() {
            return Self { limit: set, place: Place::Process };
        }
        let machine = member(&read(&proc.join("meminfo")), "MemTotal:").map(|kib| kib << 10);
        let own = read(&proc.join("self/cgroup"));
        let limits = VERSIONS.iter().flat_map(|version| limits_of(version, &own, groups));
        match limits.min_by_key(|(limit, _)| *limit) {
            // A group without a limit shows a number that no machine has.
            Some((limit, place)) if machine.is_none_or(|machine| limit < machine) => Self { limit: Some(limit), place },
            _ => Self { limit: machine, place: Place::Process },
        }
    }

    /// The bytes that it may have; `None` = nobody knows.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The bytes that it has: of a group without the pages of files, which the kernel takes back before it kills.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        match &self.place {
            Place::Process => member(&read(Path::new("/proc/self/status")), "VmRSS:").map(|kib| kib << 10),
            Place::Group { used, parts, prefix } => {
                let used: u64 = read(used).trim().parse().ok()?;
                let parts = read(parts);
                let files = ["active_file", "inactive_file", "slab_reclaimable"];
                let back = files.iter().filter_map(|name| member(&parts, &format!("{prefix}{name}"))).sum();
                Some(used.saturating_sub(back))
            }
        }
    }
}

/// The limits of the process's group and of all that it is in, each with its place. Inside of a container the path may be one that
/// only its host has; then the walk up ends at the container's own.
fn limits_of(version: &Version, own: &str, groups: &Path) -> Vec<(u64, Place)> {
    let mut mine = own.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|name| name == version.controller).then_some(path)
    });
    let Some(path) = mine.next_back() else { return Vec::new() };
    let root = groups.join(version.controller);
    let folder = root.join(path.trim_start_matches('/'));
    let above = folder.ancestors().take_while(|folder| folder.starts_with(&root));
    above
        .filter_map(|folder| {
            let limit = read(&folder.join(version.limit)).trim().parse().ok()?;
            let (used, parts) = (folder.join(version.used), folder.join("memory.stat"));
            Some((limit, Place::Group { used, parts, prefix: version.prefix }))
        })
        .collect()
}

/// A file's text; empty where it is not there.
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The number behind a name.
fn member(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files.
    fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn found(set: Option<u64>, folder: &tempfile::TempDir) -> Memory {
        Memory::find_in(set, &folder.path().join("groups"), &folder.path().join("proc"))
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:       1000 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_smallest_limit_around_the_process_is_its_own_and_pages_of_files_do_not_count() {
        let version_2 = files(&[
            MACHINE,
            ("proc/self/cgroup", "1:name=systemd:/x\n0::/a/b\n"),
            ("groups/a/b/memory.max", "max\n"),
            ("groups/a/memory.max", "500000\n"),
            ("groups/a/memory.current", "300000\n"),
            ("groups/a/memory.stat", "anon 7\nactive_file 1000\ninactive_file 50000\nslab_reclaimable 9000\n"),
        ]);
        let memory = found(None, &version_2);
        assert_eq!((memory.limit(), memory.used()), (Some(500_000), Some(240_000)));
        let version_1 = files(&[
            MACHINE,
            ("proc/self/cgroup", "4:cpu,memory:/only/on/the/host\n0::/\n"),
            ("groups/memory/memory.limit_in_bytes", "400000\n"),
            ("groups/memory/memory.usage_in_bytes", "300000\n"),
            ("groups/memory/memory.stat", "active_file 5\ntotal_active_file 1000\ntotal_inactive_file 9000\n"),
        ]);
        let memory = found(None, &version_1);
        assert_eq!((memory.limit(), memory.used()), (Some(400_000), Some(290_000)));
    }

    #[test]
    fn without_a_limit_it_is_the_machines_and_one_that_was_set_is_the_process_alone() {
        let none = files(&[
            MACHINE,
            ("proc/self/cgroup", "4:memory:/\n"),
            ("groups/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(found(None, &none), Memory { limit: Some(1_000 << 10), place: Place::Process });
        assert_eq!(found(Some(5), &none), Memory { limit: Some(5), place: Place::Process });
        assert_eq!(found(None, &files(&[])).limit(), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_some() {
        let memory = Memory::find(Some(1 << 30));
        assert!(memory.used().unwrap() > 1 << 20);
        assert!(Memory::find(None).limit().unwrap() > 1 << 20);
    }
}
