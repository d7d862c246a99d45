//! `profiles[].plugins` and `profiles[].pluginConfig`: which plugins take part where, in which order, with which weight.
//!
//! Invariants (upstream's `expandMultiPointPlugins`): what is enabled at one point goes before what is enabled everywhere;
//! of those, defaults that are named again keep their place. A filter and its preparation are one, and so are a score and
//! its preparation: what is disabled at either is disabled.

use std::collections::{BTreeMap, BTreeSet};

use super::Fields;
use crate::extender::Extender;
use crate::plugin::{Plugin, Points};
use crate::plugins;
use crate::profile::Seats;

/// Upstream's plugins that are not built in; they may be disabled.
const ELSEWHERE: &[&str] =
    &["VolumeRestrictions", "NodeVolumeLimits", "VolumeBinding", "VolumeZone", "PrioritySort", "*"];
/// The points, by their fields; a later one adds to the first of its sort.
const POINTS: &[(&str, Option<Points>)] = &[
    ("preEnqueue", Some(Points::ENQUEUE)),
    ("preFilter", Some(Points::FILTER)),
    ("filter", Some(Points::FILTER)),
    ("postFilter", Some(Points::POST_FILTER)),
    ("preScore", Some(Points::SCORE)),
    ("score", Some(Points::SCORE)),
    ("bind", Some(Points::BIND)),
    ("queueSort", None),
    ("reserve", None),
    ("permit", None),
    ("preBind", None),
    ("postBind", None),
];

/// What one point says.
#[derive(Debug, Default)]
struct Set {
    /// Names and weights, 0 if none is given.
    enabled: Vec<(String, i64)>,
    disabled: Vec<String>,
}

impl Set {
    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|d| d == name || d == "*")
    }
}

/// Makes the plugins of a profile and gives each its seats.
pub(super) fn arrange(of: &mut Fields<'_>, extenders: &[Extender]) -> (Vec<Box<dyn Plugin>>, Seats) {
    let mut said = of.inner("plugins");
    let everywhere = set(&mut said, "multiPoint");
    let mut at: BTreeMap<u8, Set> = BTreeMap::new();
    let mut asked = Vec::new();
    for (field, points) in POINTS {
        let here = set(&mut said, field);
        match points {
            Some(points) => {
                let known = at.entry(points.bits()).or_default();
                asked.extend(
                    here.enabled.iter().map(|(name, _)| ((*field).to_owned(), name.clone(), *points)),
                );
                known.enabled.extend(here.enabled);
                known.disabled.extend(here.disabled);
            }
            None => refuse_enabled(&said, field, &here),
        }
    }
    let everywhere = merged(&everywhere);
    let mut names: Vec<String> = everywhere.iter().map(|(name, _)| name.clone()).collect();
    for (name, _) in at.values().flat_map(|set| &set.enabled) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let made = make(of, names, extenders);
    for (field, name, points) in asked {
        if made.iter().any(|p| p.name() == name && !p.points().contains(points)) {
            let why = format!("does not extend {field}");
            said.wrong(&format!("{field}.enabled"), name, &why);
        }
    }
    let empty = Set::default();
    let here = |points: Points| seats(points, at.get(&points.bits()).unwrap_or(&empty), &everywhere, &made);
    let places = |points| here(points).into_iter().map(|(place, _)| place).collect();
    let seats = Seats {
        enqueue: places(Points::ENQUEUE),
        filter: places(Points::FILTER),
        post_filter: places(Points::POST_FILTER),
        score: here(Points::SCORE),
        bind: places(Points::BIND),
    };
    if seats.bind.is_empty() {
        said.tell("bind", |errors, path| errors.required(path, "at least one bind plugin is needed"));
    }
    (made, seats)
}

/// Reads one point; names that nobody knows are refused.
fn set(plugins: &mut Fields<'_>, field: &'static str) -> Set {
    let mut of = plugins.inner(field);
    let mut set = Set::default();
    for mut item in of.list("enabled") {
        let name = item.text("name").unwrap_or_default();
        let weight = item.number("weight").unwrap_or_default();
        if weight < 0 {
            item.wrong("weight", weight, "must not be negative");
        }
        let sorts = name == "PrioritySort" && matches!(field, "multiPoint" | "queueSort");
        if sorts {
            continue;
        }
        match plugins::takes_args(&name) {
            Some(_) => set.enabled.push((name, weight)),
            None => item.wrong("name", name, "is not built in"),
        }
    }
    for mut item in of.list("disabled") {
        let name = item.text("name").unwrap_or_default();
        item.raw("weight");
        if plugins::takes_args(&name).is_none() && !ELSEWHERE.contains(&name.as_str()) {
            item.wrong("name", name.as_str(), "is not built in");
        }
        set.disabled.push(name);
    }
    set
}

/// No plugin takes part at such a point.
fn refuse_enabled(plugins: &Fields<'_>, field: &str, here: &Set) {
    for (i, (name, _)) in here.enabled.iter().enumerate() {
        let why = format!("does not extend {field}");
        plugins.wrong(&format!("{field}.enabled[{i}].name"), name.as_str(), &why);
    }
}

/// The defaults as `multiPoint` changes them, with weights.
fn merged(said: &Set) -> Vec<(String, i64)> {
    let mut all = Vec::new();
    let given = |name: &str| said.enabled.iter().find(|(n, _)| n == name);
    for (name, weight) in plugins::all() {
        if !said.disables(name) {
            // One that is named again keeps its place, not its weight.
            all.push((name.to_owned(), given(name).map_or(weight, |(_, w)| *w)));
        }
    }
    for (name, weight) in &said.enabled {
        if !all.iter().any(|(known, _)| known == name) {
            all.push((name.clone(), *weight));
        }
    }
    all
}

/// Who takes part at one point: those that are named there too, as they are named; the others of `multiPoint`; the others
/// that are named there.
fn seats(
    points: Points,
    here: &Set,
    everywhere: &[(String, i64)],
    made: &[Box<dyn Plugin>],
) -> Vec<(usize, i64)> {
    let is_everywhere = |name: &String| everywhere.iter().any(|(known, _)| known == name);
    let named = |both: bool| here.enabled.iter().filter(move |(name, _)| is_everywhere(name) == both);
    let others = everywhere
        .iter()
        .filter(|(name, _)| !here.disables(name) && !here.enabled.iter().any(|(known, _)| known == name));
    let mut seats: Vec<(usize, i64)> = Vec::new();
    for (name, weight) in named(true).chain(others).chain(named(false)) {
        let place = made.iter().position(|p| p.name() == name && p.points().contains(points));
        if let Some(place) = place
            && !seats.iter().any(|(known, _)| *known == place)
        {
            seats.push((place, if *weight == 0 { 1 } else { *weight }));
        }
    }
    seats
}

/// Makes the plugins, each with its arguments.
fn make(of: &mut Fields<'_>, names: Vec<String>, extenders: &[Extender]) -> Vec<Box<dyn Plugin>> {
    let mut args: BTreeMap<String, Fields<'_>> = BTreeMap::new();
    for mut item in of.list("pluginConfig") {
        let name = item.text("name").unwrap_or_default();
        let mut own = item.inner("args");
        for (field, want) in [("apiVersion", super::VERSION.to_owned()), ("kind", format!("{name}Args"))] {
            if let Some(have) = own.text(field).filter(|have| *have != want) {
                own.tell(field, |errors, path| errors.not_supported(path, have, &[&want]));
            }
        }
        match plugins::takes_args(&name) {
            None => item.wrong("name", name, "is not built in"),
            Some(false) => item.wrong("name", name, "takes no arguments"),
            Some(true) if args.contains_key(&name) => {
                item.tell("", |errors, path| errors.duplicate(path, name))
            }
            Some(true) => drop(args.insert(name, own)),
        }
    }
    let theirs: BTreeSet<String> = extenders
        .iter()
        .flat_map(|e| &e.managed)
        .filter(|(_, ignored)| **ignored)
        .map(|(name, _)| name.clone())
        .collect();
    let one = |name: String| {
        let own = args.remove(&name).unwrap_or_else(Fields::nothing);
        let mut plugin = plugins::make(&name, own)?;
        plugin.leave_to_extenders(&theirs);
        Some(plugin)
    };
    names.into_iter().filter_map(one).collect()
}
