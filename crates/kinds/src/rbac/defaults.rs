//! The roles and bindings that every cluster has, and what of them a start puts right.
//!
//! Invariants: what is missing is added, what a user added stays, and an object whose `autoupdate` annotation is `false` is
//! left alone; as upstream (`component-helpers/auth/rbac/reconciliation`). What a controller here may do beyond upstream's
//! role for it ([`crate::rights`]) stands in a role of its own, `minke:controller:NAME`. The list itself is `defaults.txt`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::aggregate::aggregated;
use super::rule::{Rule, Rules, uncovered};
use super::{CLUSTER_ROLE, CLUSTER_ROLE_BINDING, GROUP, ROLE, ROLE_BINDING};
use crate::kind::Row;
use crate::rights;
use crate::value::{items, text};

/// An object with this annotation at `false` is not put right.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
/// The role of what every node may do; the node authorizer reads it, nobody is bound to it.
pub const NODE: &str = "system:node";
const CONTROLLER: &str = "system:controller:";
const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// An object that every cluster has.
#[derive(Debug, Clone)]
pub struct Preset {
    /// Its kind.
    pub kind: &'static Row,
    /// Empty where it is cluster-wide.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What a client would send.
    pub object: Value,
}

impl Preset {
    fn new(kind: &'static Row, namespace: &str, name: &str, labels: &Value, rest: Value) -> Self {
        let mut metadata = json!({"name": name, "labels": labels, "annotations": {AUTO_UPDATE: "true"}});
        if !namespace.is_empty() {
            metadata["namespace"] = json!(namespace);
        }
        let mut object = rest;
        object["metadata"] = metadata;
        Self { kind, namespace: namespace.into(), name: name.into(), object }
    }
}

/// A role of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    namespace: String,
    name: String,
    /// The role that it is aggregated to.
    part_of: Option<String>,
    /// The name of the roles that are aggregated to it.
    gathers: Option<String>,
    binding: Option<String>,
    subjects: Vec<String>,
    rules: Vec<Rule>,
}

/// The list.
static LIST: LazyLock<Vec<Entry>> = LazyLock::new(|| parse(include_str!("defaults.txt")));

/// What each line of the list says.
///
/// # Panics
/// If a line cannot be read; the list is part of the program, and a test reads it.
fn parse(list: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        if line.starts_with(' ') {
            entries.last_mut().expect("rules follow a role").rules.push(rule(line.trim()));
        } else {
            entries.push(entry(line));
        }
    }
    entries
}

fn entry(line: &str) -> Entry {
    let (head, subjects) = line.split_once(" <").map_or((line, None), |(head, rest)| (head, Some(rest)));
    let mut words = head.split(' ');
    let name = words.next().expect("a line has a first word");
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let mut entry = Entry {
        namespace: namespace.into(),
        name: name.into(),
        part_of: None,
        gathers: None,
        binding: subjects.map(|_| name.into()),
        subjects: subjects.unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        rules: Vec::new(),
    };
    while let (Some(sign), Some(value)) = (words.next(), words.next().map(str::to_owned)) {
        match sign {
            "+" => entry.part_of = Some(value),
            "=" => entry.gathers = Some(value),
            "as" => entry.binding = Some(value),
            other => panic!("{other:?} is no sign of a role's line"),
        }
    }
    entry
}

fn rule(line: &str) -> Rule {
    let line = if line == "events" { "create,patch,update -,events.k8s.io events" } else { line };
    let words: Vec<Vec<String>> = line.split(' ').map(list).collect();
    match words.as_slice() {
        [verbs, mark, urls] if mark[..] == [":"] => {
            Rule { verbs: verbs.clone(), non_resource_urls: urls.clone(), ..Rule::default() }
        }
        [verbs, groups, resources, names @ ..] => Rule {
            verbs: verbs.clone(),
            api_groups: groups.clone(),
            resources: resources.clone(),
            resource_names: names.first().cloned().unwrap_or_default(),
            non_resource_urls: Vec::new(),
        },
        _ => panic!("{line:?} is no rule"),
    }
}

fn list(words: &str) -> Vec<String> {
    let mut all = Vec::new();
    for word in words.split(',') {
        match word {
            "read" => all.extend(READ.iter().map(|verb| (*verb).to_owned())),
            "write" => all.extend(WRITE.iter().map(|verb| (*verb).to_owned())),
            "-" => all.push(String::new()),
            word => all.push(word.to_owned()),
        }
    }
    all.sort_unstable();
    all
}

/// A rule as it is stored.
#[must_use]
pub fn rule_value(rule: &Rule) -> Value {
    let fields = [
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
        ("nonResourceURLs", &rule.non_resource_urls),
    ];
    let set = fields.into_iter().filter(|(_, list)| !list.is_empty());
    Value::Object(set.map(|(field, list)| (field.to_owned(), json!(list))).collect())
}

/// What every node may do.
#[must_use]
pub fn node_rules() -> Vec<Rule> {
    LIST.iter().find(|entry| entry.name == NODE).map(|entry| entry.rules.clone()).unwrap_or_default()
}

/// All of them: roles before the bindings that speak of them.
#[must_use]
pub fn all() -> Vec<Preset> {
    let mut roles: Vec<Preset> = LIST.iter().map(role).collect();
    gather(&mut roles);
    let bindings: Vec<Preset> = LIST.iter().filter_map(binding).collect();
    roles.extend(own_roles());
    roles.extend(bindings);
    roles
}

fn labels(part_of: Option<&String>) -> Value {
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    if let Some(role) = part_of {
        labels[aggregation_label(role)] = json!("true");
    }
    labels
}

fn aggregation_label(role: &str) -> String {
    format!("rbac.authorization.k8s.io/aggregate-to-{role}")
}

fn role(entry: &Entry) -> Preset {
    let mut rest = json!({"rules": entry.rules.iter().map(rule_value).collect::<Vec<_>>()});
    if let Some(role) = &entry.gathers {
        let selector = json!({"matchLabels": {aggregation_label(role): "true"}});
        rest = json!({"aggregationRule": {"clusterRoleSelectors": [selector]}});
    }
    let kind = if entry.namespace.is_empty() { &CLUSTER_ROLE } else { &ROLE };
    Preset::new(kind, &entry.namespace, &entry.name, &labels(entry.part_of.as_ref()), rest)
}

/// Puts the rules of the others into the roles that gather them, so that they are whole before their controller runs. What
/// is gathered may gather itself: the list is gone through until nothing changes.
fn gather(roles: &mut [Preset]) {
    let is_part = |role: &Preset| role.object["metadata"]["labels"].as_object().is_some_and(|l| l.len() > 1);
    loop {
        let parts: Vec<Value> = roles.iter().filter(|r| is_part(r)).map(|r| r.object.clone()).collect();
        let mut changed = false;
        for role in roles.iter_mut().filter(|role| role.object.get("aggregationRule").is_some()) {
            if let Some(rules) = aggregated(&role.object, &parts) {
                role.object["rules"] = rules;
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

fn binding(entry: &Entry) -> Option<Preset> {
    let name = entry.binding.as_ref()?;
    let subjects: Vec<Value> = entry.subjects.iter().map(|subject| self::subject(subject)).collect();
    let (kind, role_kind) = match entry.namespace.as_str() {
        "" => (&CLUSTER_ROLE_BINDING, "ClusterRole"),
        _ => (&ROLE_BINDING, "Role"),
    };
    let mut rest = json!({"roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": entry.name}});
    if !subjects.is_empty() {
        rest["subjects"] = subjects.into();
    }
    Some(Preset::new(kind, &entry.namespace, name, &labels(None), rest))
}

fn subject(words: &str) -> Value {
    let (kind, name) = words.split_once(':').expect("a subject is KIND:NAME");
    match kind {
        "user" => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        "group" => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        "account" => json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}),
        other => panic!("{other:?} is no kind of subject"),
    }
}

/// Roles and bindings of the controllers that may do more here than upstream's.
fn own_roles() -> Vec<Preset> {
    let mut out = Vec::new();
    for (controller, rights) in rights::CONTROLLERS {
        let theirs = LIST.iter().find(|entry| entry.name.strip_prefix(CONTROLLER) == Some(controller));
        let theirs: Vec<&Rule> = theirs.iter().flat_map(|entry| &entry.rules).collect();
        let wanted: Vec<Rule> = rights.iter().map(right).collect();
        let more: Vec<Rule> = wanted
            .into_iter()
            .filter(|rule| !uncovered(&theirs, std::slice::from_ref(rule)).is_empty())
            .collect();
        if more.is_empty() {
            continue;
        }
        let name = format!("minke:controller:{controller}");
        let labels = json!({"kubernetes.io/bootstrapping": "minke"});
        let rules = json!({"rules": more.iter().map(rule_value).collect::<Vec<_>>()});
        out.push(Preset::new(&CLUSTER_ROLE, "", &name, &labels, rules));
        let rest = json!({"roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
            "subjects": [subject(&format!("account:{controller}"))]});
        out.push(Preset::new(&CLUSTER_ROLE_BINDING, "", &name, &labels, rest));
    }
    out
}

fn right(right: &rights::Right) -> Rule {
    let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
    Rule {
        verbs: owned(right.verbs),
        api_groups: owned(&[right.group]),
        resources: owned(right.resources),
        resource_names: owned(right.names),
        ..Rule::default()
    }
}

/// What is to be done about a default object that is there.
#[derive(Debug, Clone, PartialEq)]
pub enum Repair {
    /// Nothing.
    None,
    /// Write this.
    Update(Value),
    /// Its role cannot be changed: delete it and make this one.
    Replace(Value),
}

/// Compares what is there with what should be.
#[must_use]
pub fn repair(found: &Value, wanted: &Value) -> Repair {
    if text(&found["metadata"]["annotations"][AUTO_UPDATE]) == "false" {
        return Repair::None;
    }
    let mut new = found.clone();
    for field in ["labels", "annotations"] {
        let missing = missing_entries(&found["metadata"][field], &wanted["metadata"][field]);
        if !missing.is_empty() {
            let all = Map::from_iter(found["metadata"][field].as_object().cloned().into_iter().flatten());
            new["metadata"][field] = Value::Object(all.into_iter().chain(missing).collect());
        }
    }
    if wanted.get("roleRef").is_some() {
        if found["roleRef"] != wanted["roleRef"] {
            return Repair::Replace(wanted.clone());
        }
        extend(&mut new, "subjects", &wanted["subjects"]);
    } else {
        repair_rules(&mut new, wanted);
    }
    if new == *found { Repair::None } else { Repair::Update(new) }
}

fn missing_entries(found: &Value, wanted: &Value) -> BTreeMap<String, Value> {
    let wanted = wanted.as_object().into_iter().flatten();
    let missing = wanted.filter(|(key, _)| found.get(key.as_str()).is_none());
    missing.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Appends the items that the list lacks.
fn extend(object: &mut Value, field: &str, wanted: &Value) {
    let mut list = items(&object[field]).to_vec();
    let before = list.len();
    for item in items(wanted) {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
    if list.len() > before {
        object[field] = list.into();
    }
}

fn repair_rules(role: &mut Value, wanted: &Value) {
    let gathers = |role: &Value| role.get("aggregationRule").is_some_and(|rule| !rule.is_null());
    if gathers(wanted) {
        if !gathers(role) {
            role["aggregationRule"] = json!({});
        }
        let selectors = &wanted["aggregationRule"]["clusterRoleSelectors"];
        extend(&mut role["aggregationRule"], "clusterRoleSelectors", selectors);
        return;
    }
    if gathers(role) {
        role.as_object_mut().map(|role| role.remove("aggregationRule"));
        role["rules"] = wanted["rules"].clone();
        return;
    }
    // As they were written: nothing to compare rule by rule, which is most of a later start.
    if role["rules"] == wanted["rules"] {
        return;
    }
    let rules = |role: &Value| -> Vec<Rule> {
        let rules = serde_json::from_value::<Rules>(json!({"rules": role["rules"]}));
        rules.ok().and_then(|rules| rules.rules).unwrap_or_default()
    };
    let own = rules(role);
    let missing = uncovered(&own.iter().collect::<Vec<_>>(), &rules(wanted));
    if !missing.is_empty() {
        let mut all = items(&role["rules"]).to_vec();
        all.extend(super::rule::compact(missing).iter().map(rule_value));
        role["rules"] = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Preset {
        all().into_iter().find(|default| default.name == name).unwrap()
    }

    #[test]
    fn the_list_is_read() {
        let all = all();
        let count = |kind: &Row| {
            all.iter().filter(|d| d.kind.kind == kind.kind && !d.name.starts_with("minke:")).count()
        };
        assert_eq!(count(&CLUSTER_ROLE), 69);
        assert_eq!(count(&CLUSTER_ROLE_BINDING), 50);
        assert_eq!((count(&ROLE), count(&ROLE_BINDING)), (7, 7));
        for default in &all {
            let errors = default.kind.strategy.validate(&default.object);
            assert!(errors.is_empty(), "{}: {errors}", default.name);
            let mut defaulted = default.object.clone();
            default.kind.strategy.default(&mut defaulted);
            assert_eq!(defaulted, default.object, "{}", default.name);
        }
        let basic = named("system:basic-user");
        assert_eq!(
            basic.object["rules"][0],
            json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"],
                "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]})
        );
        let reader = named("system::extension-apiserver-authentication-reader");
        assert_eq!(reader.object["roleRef"]["name"], "extension-apiserver-authentication-reader");
        assert_eq!(reader.namespace, "kube-system");
    }

    #[test]
    fn whoever_gathers_is_whole_from_the_start() {
        let count = |name: &str| items(&named(name).object["rules"]).len();
        let parts = count("system:aggregate-to-edit") + count("view");
        assert_eq!(count("view"), count("system:aggregate-to-view"));
        assert_eq!(count("edit"), parts);
        assert_eq!(count("admin"), parts + 2);
    }

    #[test]
    fn a_controller_may_do_what_its_row_says() {
        let all = all();
        for (controller, rights) in rights::CONTROLLERS {
            let bound = all.iter().filter(|d| {
                items(&d.object["subjects"]).contains(&subject(&format!("account:{controller}")))
            });
            let roles: Vec<&str> = bound.map(|b| text(&b.object["roleRef"]["name"])).collect();
            let rules: Vec<Rule> = all
                .iter()
                .filter(|d| {
                    [&CLUSTER_ROLE.kind, &ROLE.kind].contains(&&d.kind.kind)
                        && roles.contains(&d.name.as_str())
                })
                .flat_map(|d| items(&d.object["rules"]))
                .map(|rule| serde_json::from_value(rule.clone()).unwrap())
                .collect();
            let wanted: Vec<Rule> = rights.iter().map(right).collect();
            assert_eq!(uncovered(&rules.iter().collect::<Vec<_>>(), &wanted), [], "{controller}");
        }
    }

    #[test]
    fn what_a_start_puts_right() {
        let wanted = named("system:basic-user").object;
        let mut found = wanted.clone();
        found["metadata"]["uid"] = json!("u");
        assert_eq!(repair(&found, &wanted), Repair::None);
        found["rules"] =
            json!([found["rules"][1].clone(), {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        found["metadata"]["labels"] = json!({"mine": "1"});
        let Repair::Update(new) = repair(&found, &wanted) else { panic!("to be put right") };
        assert_eq!(
            new["metadata"]["labels"],
            json!({"kubernetes.io/bootstrapping": "rbac-defaults", "mine": "1"})
        );
        assert_eq!(items(&new["rules"]).len(), 4, "{new}");
        assert_eq!(repair(&new, &wanted), Repair::None);
        found["metadata"]["annotations"][AUTO_UPDATE] = json!("false");
        assert_eq!(repair(&found, &wanted), Repair::None);
    }

    #[test]
    fn bindings_are_put_right_too() {
        let wanted = all()
            .into_iter()
            .find(|d| d.name == "system:basic-user" && d.kind.kind == CLUSTER_ROLE_BINDING.kind)
            .unwrap()
            .object;
        let mut found = wanted.clone();
        found["subjects"] = json!([subject("user:jane")]);
        let Repair::Update(new) = repair(&found, &wanted) else { panic!("to be put right") };
        assert_eq!(new["subjects"], json!([subject("user:jane"), subject("group:system:authenticated")]));
        found["roleRef"]["name"] = json!("other");
        assert_eq!(repair(&found, &wanted), Repair::Replace(wanted));
    }
}
