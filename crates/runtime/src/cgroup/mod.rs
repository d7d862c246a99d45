//! cgroups in the three layouts found in the field: v2, v1 and hybrid (v1 limits, a v2 tree without controllers).
//!
//! Invariant: only paths below the instance's own root are removed or given limits; the root's parents are made, and
//! filled where they are cpusets that nobody filled. Absent: systemd's slices (paths
//! are plain), choosing limits.

mod device;
mod value;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use value::{Layout, Write, writes};

use crate::{Resources, RuntimeError, Stats};

/// v1 controllers that containers get a group in.
const V1: [&str; 9] =
    ["cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio", "hugetlb"];
/// v2 controllers that are passed down.
const V2: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// The trees of this machine.
#[derive(Debug, Clone)]
pub(crate) struct Cgroups {
    /// The v2 tree, if mounted.
    v2: Option<PathBuf>,
    /// v1 trees by controller.
    v1: BTreeMap<&'static str, PathBuf>,
    /// Groups are made only below it.
    root: String,
}

/// What a new container's process needs of its group.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) v2: Option<OwnedFd>,
    pub(crate) procs: Vec<OwnedFd>,
    pub(crate) oom: Option<OwnedFd>,
    pub(crate) kill: Option<OwnedFd>,
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::System { operation: format!("{operation} {}", path.display()), message: error.to_string() }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Cgroups {
    /// Finds what is mounted.
    pub(crate) fn detect(root: &str) -> Result<Self, RuntimeError> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).map_err(|error| failed("read", path, &error))?;
        let mut found = Self { v2: None, v1: BTreeMap::new(), root: root.trim_end_matches('/').to_owned() };
        for line in mounts.lines() {
            let Some((place, kind, options)) = parse_mount(line) else { continue };
            match kind {
                "cgroup2" => found.v2 = Some(place),
                "cgroup" => {
                    for name in V1.iter().filter(|name| options.split(',').any(|option| option == **name)) {
                        found.v1.entry(name).or_insert_with(|| place.clone());
                    }
                }
                _ => {}
            }
        }
        if found.root.is_empty() || !found.root.starts_with('/') {
            return Err(RuntimeError::State(format!(
                "cgroup root {root:?} is not an absolute path below the top"
            )));
        }
        if found.v2.is_none() && !found.v1.contains_key("memory") {
            return Err(RuntimeError::State("no cgroup tree is mounted".into()));
        }
        Ok(found)
    }

    /// Whether limits are in the v2 tree.
    pub(crate) fn layout(&self) -> Layout {
        match (&self.v2, self.v1.contains_key("memory")) {
            (Some(_), false) => Layout::V2,
            (Some(_), true) => Layout::Hybrid,
            (None, _) => Layout::V1,
        }
    }

    /// Where the v2 tree is mounted.
    pub(crate) fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// Distinct trees: co-mounted controllers count once.
    fn trees(&self) -> Vec<&Path> {
        let mut trees: Vec<&Path> = self.v1.values().chain(&self.v2).map(PathBuf::as_path).collect();
        trees.sort_unstable();
        trees.dedup();
        trees
    }

    fn relative<'a>(&self, path: &'a str) -> Result<&'a str, RuntimeError> {
        let inside =
            path == self.root || path.strip_prefix(&self.root).is_some_and(|rest| rest.starts_with('/'));
        if inside && !path.split('/').any(|part| part == "..") {
            Ok(path.trim_start_matches('/'))
        } else {
            Err(RuntimeError::State(format!("cgroup {path:?} is not below {:?}", self.root)))
        }
    }

    /// Makes the group in every tree.
    pub(crate) fn make(&self, path: &str) -> Result<(), RuntimeError> {
        let relative = self.relative(path)?;
        for tree in self.trees() {
            let is_cpuset = self.v1.get("cpuset").is_some_and(|cpuset| cpuset == tree);
            // Whoever makes a cpuset fills it a moment later: until then others must not take it for ready.
            if !is_cpuset && fs::metadata(tree.join(relative)).is_ok() {
                continue;
            }
            let is_v2 = self.v2.as_deref() == Some(tree);
            let mut place = tree.to_owned();
            for part in relative.split('/') {
                if is_v2 && self.layout() == Layout::V2 {
                    pass_down(&place)?;
                }
                place.push(part);
                match fs::create_dir(&place) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(failed("make cgroup", &place, &error));
                    }
                    _ if is_cpuset => inherit_cpuset(&place)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn file(&self, relative: &str, write: &Write) -> Option<PathBuf> {
        let tree = match write.controller {
            Some(controller) => self.v1.get(controller)?,
            None => self.v2.as_ref()?,
        };
        Some(tree.join(relative).join(&write.file))
    }

    /// Makes the group and sets its limits.
    pub(crate) fn apply(&self, path: &str, resources: &Resources) -> Result<(), RuntimeError> {
        self.make(path)?;
        let relative = self.relative(path)?;
        let mut refused = Vec::new();
        for write in writes(self.layout(), resources) {
            let Some(file) = self.file(relative, &write) else { continue };
            match fs::write(&file, &write.value) {
                Ok(()) => {}
                // Swap accounting may be off; then there is no such file and no such limit.
                Err(error) if error.kind() == io::ErrorKind::NotFound && write.optional => {}
                Err(_) if write.retry => refused.push((file, write)),
                Err(error) => return Err(failed(&format!("write {:?} to", write.value), &file, &error)),
            }
        }
        // memory and memory+swap bound each other, so one order or the other works.
        for (file, write) in refused {
            fs::write(&file, &write.value)
                .map_err(|error| failed(&format!("write {:?} to", write.value), &file, &error))?;
        }
        Ok(())
    }

    /// Makes a container's group with limits and devices, and opens what its process needs.
    pub(crate) fn prepare(
        &self,
        path: &str,
        resources: &Resources,
        devices: Option<&[device::Rule]>,
    ) -> Result<Handles, RuntimeError> {
        self.apply(path, resources)?;
        let relative = self.relative(path)?;
        let handles = self.open(path)?;
        if let Some(rules) = devices {
            match (self.layout(), self.v1.get("devices")) {
                (Layout::V2, _) => {
                    let group =
                        handles.v2.as_ref().ok_or_else(|| RuntimeError::State("no v2 tree".into()))?;
                    device::restrict_v2(group, rules)
                        .map_err(|error| failed("restrict devices of", Path::new(path), &error))?;
                }
                (_, Some(tree)) => device::restrict_v1(&tree.join(relative), rules)
                    .map_err(|error| failed("restrict devices of", &tree.join(relative), &error))?,
                (_, None) => {}
            }
        }
        Ok(handles)
    }

    /// Opens what a process needs to join an existing group.
    pub(crate) fn open(&self, path: &str) -> Result<Handles, RuntimeError> {
        let relative = self.relative(path)?;
        let mut handles = Handles::default();
        let open = |file: PathBuf, write: bool| -> Result<OwnedFd, RuntimeError> {
            let opened = fs::File::options().read(!write).write(write).open(&file);
            opened.map(OwnedFd::from).map_err(|error| failed("open", &file, &error))
        };
        for tree in self.trees() {
            let group = tree.join(relative);
            if self.v2.as_deref() == Some(tree) {
                let kill = group.join("cgroup.kill");
                if kill.exists() {
                    handles.kill = Some(open(kill, true)?);
                }
                if self.layout() == Layout::V2 {
                    handles.oom = Some(open(group.join("memory.events"), false)?);
                }
                handles.v2 = Some(open(group, false)?);
            } else {
                handles.procs.push(open(group.join("cgroup.procs"), true)?);
                if self.v1.get("memory").is_some_and(|memory| memory == tree) {
                    handles.oom = Some(open(group.join("memory.oom_control"), false)?);
                }
            }
        }
        Ok(handles)
    }

    /// The container's own v1 directories by the name of their mount, to be seen under /sys/fs/cgroup.
    pub(crate) fn v1_directories(&self, path: &str) -> Result<Vec<(String, PathBuf)>, RuntimeError> {
        let relative = self.relative(path)?;
        let mut found = Vec::new();
        for tree in self.trees() {
            if self.v2.as_deref() != Some(tree)
                && let Some(name) = tree.file_name().and_then(|name| name.to_str())
            {
                found.push((name.to_owned(), tree.join(relative)));
            }
        }
        Ok(found)
    }

    /// Moves a process that is not a container's (a shim) into a group without limits; one that has ended needs none.
    pub(crate) fn adopt(&self, path: &str, pid: i32) -> Result<(), RuntimeError> {
        self.make(path)?;
        let relative = self.relative(path)?;
        for tree in self.trees() {
            let file = tree.join(relative).join("cgroup.procs");
            match fs::write(&file, pid.to_string()) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
                written => written.map_err(|error| failed("join", &file, &error))?,
            }
        }
        Ok(())
    }

    /// The processes that are in the group itself; none if there is no such group.
    pub(crate) fn processes(&self, path: &str) -> Vec<i32> {
        let Ok(relative) = self.relative(path) else { return Vec::new() };
        let list = |tree: &Path| fs::read_to_string(tree.join(relative).join("cgroup.procs")).ok();
        let lists = self.trees().into_iter().filter_map(list).collect::<String>();
        let mut all: Vec<i32> = lists.lines().filter_map(|line| line.parse().ok()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// All groups below one, in any tree; those that hold others come first.
    pub(crate) fn below(&self, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![path.trim_end_matches('/').to_owned()];
        while let Some(group) = open.pop() {
            let Ok(relative) = self.relative(&group) else { continue };
            let mut names: Vec<String> = self
                .trees()
                .into_iter()
                .filter_map(|tree| fs::read_dir(tree.join(relative)).ok())
                .flat_map(|entries| entries.flatten().filter(|entry| entry.path().is_dir()))
                .filter_map(|entry| entry.file_name().into_string().ok())
                .collect();
            names.sort_unstable();
            names.dedup();
            let children = names.into_iter().map(|name| format!("{group}/{name}"));
            found.extend(children.clone());
            open.extend(children);
        }
        found
    }

    /// Kills every process of a group and of those below, also one that has frozen itself: in a v1 freezer not even
    /// SIGKILL ends it before it is thawed.
    pub(crate) fn kill(&self, path: &str) -> Result<(), RuntimeError> {
        let relative = self.relative(path)?;
        self.signal_all(relative)?;
        match self.v1.get("freezer") {
            Some(tree) => thaw(&tree.join(relative)),
            None => Ok(()),
        }
    }

    fn signal_all(&self, relative: &str) -> Result<(), RuntimeError> {
        if let Some(tree) = &self.v2 {
            let file = tree.join(relative).join("cgroup.kill");
            match fs::write(&file, "1") {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("write", &file, &error)),
            }
        }
        if let Some(tree) = self.v2.as_ref().filter(|_| self.layout() == Layout::V2) {
            // Before Linux 5.14 there is no cgroup.kill.
            return kill_frozen(&tree.join(relative), "cgroup.freeze", ["1", "0"]);
        }
        let Some(tree) = self.v1.get("freezer").or_else(|| self.v1.get("memory")) else { return Ok(()) };
        kill_frozen(&tree.join(relative), "freezer.state", ["FROZEN", "THAWED"])
    }

    /// Kills what is left and removes the group with all below it. A missing one is fine. Blocks up to 10 s.
    pub(crate) fn remove(&self, path: &str) -> Result<(), RuntimeError> {
        let relative = self.relative(path)?;
        self.kill(path)?;
        for tree in self.trees() {
            let group = tree.join(relative);
            let mut waited = 0;
            // Killed processes leave their groups when they are gone from the kernel's view, shortly after.
            while let Err(error) = remove_tree(&group) {
                if error.raw_os_error() != Some(libc::EBUSY) || waited > 10_000 {
                    return Err(failed("remove cgroup", &group, &error));
                }
                let pause = if waited < 20 { 1 } else { 20 };
                std::thread::sleep(Duration::from_millis(pause));
                waited += pause;
                if waited % 100 == 0 {
                    self.kill(path)?;
                }
            }
        }
        Ok(())
    }

    /// Figures of a group.
    pub(crate) fn stats(&self, path: &str) -> Result<Stats, RuntimeError> {
        let relative = self.relative(path)?;
        let read = |controller: &'static str, file: &str| -> Option<String> {
            let tree = if self.layout() == Layout::V2 { self.v2.as_ref() } else { self.v1.get(controller) };
            fs::read_to_string(tree?.join(relative).join(file)).ok()
        };
        let number = |text: Option<String>| text.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let v2 = self.layout() == Layout::V2;
        let memory = read("memory", "memory.stat").unwrap_or_default();
        let usage = number(read("memory", if v2 { "memory.current" } else { "memory.usage_in_bytes" }));
        let inactive = field(&memory, if v2 { "inactive_file" } else { "total_inactive_file" });
        let cpu = if v2 {
            field(&read("cpu", "cpu.stat").unwrap_or_default(), "usage_usec") * 1000
        } else {
            number(read("cpuacct", "cpuacct.usage"))
        };
        Ok(Stats {
            cpu_usage_ns: cpu,
            memory_usage: usage,
            memory_working_set: usage.saturating_sub(inactive),
            memory_rss: field(&memory, if v2 { "anon" } else { "total_rss" }),
            pids: number(read("pids", "pids.current")),
        })
    }
}

/// The value of `key` in a file of `key value` lines.
fn field(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Mount point, type and super options of a line of mountinfo.
fn parse_mount(line: &str) -> Option<(PathBuf, &str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let place = before.split(' ').nth(4)?;
    let mut after = after.splitn(3, ' ');
    let kind = after.next()?;
    Some((PathBuf::from(place), kind, after.nth(1)?))
}

/// Gives a v2 group's children the controllers it has.
fn pass_down(group: &Path) -> Result<(), RuntimeError> {
    let list = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
    let (have, passed) = (list("cgroup.controllers"), list("cgroup.subtree_control"));
    for name in V2 {
        let has = |text: &str| text.split_whitespace().any(|item| item == name);
        if has(&have) && !has(&passed) {
            let file = group.join("cgroup.subtree_control");
            fs::write(&file, format!("+{name}"))
                .map_err(|error| failed(&format!("pass down controller {name} in"), &file, &error))?;
        }
    }
    Ok(())
}

/// A new v1 cpuset has no CPUs until told; without clone_children it must be told here.
fn inherit_cpuset(group: &Path) -> Result<(), RuntimeError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = group.join(file);
        let current = fs::read_to_string(&own).map_err(|error| failed("read", &own, &error))?;
        if current.trim().is_empty() {
            let parents = group.parent().unwrap_or(group).join(file);
            let value = fs::read_to_string(&parents).map_err(|error| failed("read", &parents, &error))?;
            fs::write(&own, value.trim()).map_err(|error| failed("write", &own, &error))?;
        }
    }
    Ok(())
}

/// Frozen, nobody can fork away from the signal.
fn kill_frozen(group: &Path, file: &str, [freeze, thaw]: [&str; 2]) -> Result<(), RuntimeError> {
    let freezer = group.join(file);
    if !group.exists() {
        return Ok(());
    }
    // In a tree that is not the freezer's there is no such file; then the signals alone must do.
    let _ = fs::write(&freezer, freeze);
    let mut groups = vec![group.to_owned()];
    while let Some(group) = groups.pop() {
        let Ok(entries) = fs::read_dir(&group) else { continue };
        groups.extend(entries.flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.path()));
        let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        for pid in
            procs.lines().filter_map(|line| line.parse().ok()).filter_map(rustix::process::Pid::from_raw)
        {
            // One that just ended is as good as killed.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    match fs::write(&freezer, thaw) {
        // No freezer at all: nothing was frozen.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => ignore_missing(other).map_err(|error| failed("write", &freezer, &error)),
    }
}

/// Lets a v1 group and all below it run; a group that is frozen through its parent needs both.
fn thaw(group: &Path) -> Result<(), RuntimeError> {
    let mut groups = vec![group.to_owned()];
    while let Some(group) = groups.pop() {
        let state = group.join("freezer.state");
        ignore_missing(fs::write(&state, "THAWED")).map_err(|error| failed("write", &state, &error))?;
        // Gone meanwhile: then nobody is in it.
        let Ok(entries) = fs::read_dir(&group) else { continue };
        groups.extend(entries.flatten().filter(|entry| entry.path().is_dir()).map(|entry| entry.path()));
    }
    Ok(())
}

fn remove_tree(group: &Path) -> io::Result<()> {
    match fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(()) => return Ok(()),
        Err(_) => {}
    }
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    ignore_missing(fs::remove_dir(group))
}

pub(crate) use device::Rule as DeviceRule;

#[cfg(test)]
mod tests;
