//! The configuration in upstream's form (`kubescheduler.config.k8s.io/v1`, `KubeSchedulerConfiguration`).
//!
//! Invariants: what is not known is refused by its path, never passed over; what is left out is as upstream has it. What
//! concerns upstream's process alone (`leaderElection`, `clientConnection`, profiling, `parallelism`) may stand there and
//! has no effect. Files that TLS names are read by the caller. Absent: plugins that are not built in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kinds::field::ErrorList;
use kinds::rules::resources::is_extended;
use serde_json::Value;

use crate::extender::{Extender, Tls};
use crate::profile::{DEFAULT, Profile};
use crate::queue::Backoff;
use crate::scheduler::Settings;

mod fields;
mod plugins;

pub(crate) use fields::Fields;

const VERSION: &str = "kubescheduler.config.k8s.io/v1";
const KIND: &str = "KubeSchedulerConfiguration";
/// Upstream's `DefaultExtenderTimeout`.
const EXTENDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Gives what is in a file that the configuration names.
pub type ReadFile<'f> = &'f dyn Fn(&str) -> Result<Vec<u8>, String>;

/// Reads a configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(value: &Value, file: ReadFile<'_>) -> Result<Settings, ErrorList> {
    let errors = Rc::new(RefCell::new(ErrorList::default()));
    let settings = whole(Fields::root(value, &errors), file);
    let errors = errors.take();
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

fn whole(mut of: Fields<'_>, file: ReadFile<'_>) -> Settings {
    for (name, want) in [("apiVersion", VERSION), ("kind", KIND)] {
        let have = of.text(name).unwrap_or_default();
        if have != want {
            of.tell(name, |errors, path| errors.not_supported(path, have, &[want]));
        }
    }
    // Of upstream's process, not of scheduling.
    for name in [
        "leaderElection",
        "clientConnection",
        "enableProfiling",
        "enableContentionProfiling",
        "delayCacheUntilActive",
    ] {
        of.raw(name);
    }
    if of.number("parallelism").is_some_and(|n| n <= 0) {
        of.tell("parallelism", |errors, path| {
            errors.contradiction(path, "should be an integer value greater than zero");
        });
    }
    let percentage = percentage(&mut of);
    let backoff = backoff(&mut of);
    let extenders = extenders(&mut of, file);
    let profiles = profiles(&mut of, percentage, &extenders);
    Settings { profiles, backoff, extenders }
}

fn percentage(of: &mut Fields<'_>) -> Option<usize> {
    let given = of.number("percentageOfNodesToScore")?;
    if !(0..=100).contains(&given) {
        of.wrong("percentageOfNodesToScore", given, "not in valid range [0-100]");
    }
    usize::try_from(given).ok()
}

fn backoff(of: &mut Fields<'_>) -> Backoff {
    let first = of.number("podInitialBackoffSeconds").unwrap_or(1);
    let longest = of.number("podMaxBackoffSeconds").unwrap_or(10);
    if first <= 0 {
        of.wrong("podInitialBackoffSeconds", first, "must be greater than 0");
    }
    if longest < first {
        of.wrong(
            "podMaxBackoffSeconds",
            longest,
            "must be greater than or equal to PodInitialBackoffSeconds",
        );
    }
    let seconds = |n: i64| Duration::from_secs(u64::try_from(n).unwrap_or_default());
    Backoff { first: seconds(first), longest: seconds(longest) }
}

fn profiles(of: &mut Fields<'_>, percentage: Option<usize>, extenders: &[Extender]) -> Vec<Profile> {
    let list = of.list("profiles");
    if list.is_empty() && !extenders.iter().any(|e| e.managed.values().any(|ignored| *ignored)) {
        return vec![Profile { percentage, ..Profile::default() }];
    }
    let alone = list.len() <= 1;
    let list = if list.is_empty() { vec![Fields::nothing()] } else { list };
    let mut profiles: Vec<Profile> = Vec::new();
    for mut of in list {
        let name = of.text("schedulerName").or_else(|| alone.then(|| DEFAULT.to_owned())).unwrap_or_default();
        if name.is_empty() {
            of.tell("schedulerName", |errors, path| errors.required(path, ""));
        }
        if let Some(first) = profiles.iter().position(|p| *p.name == *name).filter(|_| !name.is_empty()) {
            of.tell("schedulerName", |errors, path| {
                errors.duplicate(path, format!("profiles[{first}].schedulerName"));
            });
        }
        let own = self::percentage(&mut of);
        let (plugins, seats) = plugins::arrange(&mut of, extenders);
        profiles.push(Profile { name: name.into(), percentage: own.or(percentage), plugins, seats });
    }
    profiles
}

fn extenders(of: &mut Fields<'_>, file: ReadFile<'_>) -> Vec<Extender> {
    let mut managed = BTreeMap::new();
    let list: Vec<Extender> =
        of.list("extenders").into_iter().map(|of| extender(of, &mut managed, file)).collect();
    let binders = list.iter().filter(|e| !e.bind.is_empty()).count();
    if binders > 1 {
        let found = format!("found {binders} extenders implementing bind");
        of.wrong("extenders", found, "only one extender can implement bind");
    }
    list
}

/// `managed` are the resources that those before it manage.
fn extender(mut of: Fields<'_>, managed: &mut BTreeMap<String, ()>, file: ReadFile<'_>) -> Extender {
    let verb = |of: &mut Fields<'_>, name| of.text(name).unwrap_or_default();
    let mut extender = Extender {
        url: verb(&mut of, "urlPrefix"),
        filter: verb(&mut of, "filterVerb"),
        prioritize: verb(&mut of, "prioritizeVerb"),
        preempt: verb(&mut of, "preemptVerb"),
        bind: verb(&mut of, "bindVerb"),
        weight: of.number("weight").unwrap_or_default(),
        timeout: timeout(&mut of),
        node_cache_capable: of.flag("nodeCacheCapable"),
        managed: BTreeMap::new(),
        ignorable: of.flag("ignorable"),
        tls: None,
    };
    if !extender.prioritize.is_empty() && extender.weight <= 0 {
        of.wrong("weight", extender.weight, "must have a positive weight applied to it");
    }
    if !extender.url.starts_with("http://") && !extender.url.starts_with("https://") {
        of.wrong("urlPrefix", extender.url.as_str(), "must be an http or https URL");
    }
    for mut item in of.list("managedResources") {
        let name = item.text("name").unwrap_or_default();
        if !is_extended(&name) {
            item.wrong("name", name.as_str(), "is an invalid extended resource name");
        }
        if managed.insert(name.clone(), ()).is_some() {
            item.wrong("name", name.as_str(), "duplicate extender managed resource name");
        }
        extender.managed.insert(name, item.flag("ignoredByScheduler"));
    }
    let https = of.flag("enableHTTPS") || extender.url.starts_with("https://");
    let tls = tls(of.inner("tlsConfig"), file);
    extender.tls = https.then_some(tls);
    extender
}

/// `httpTimeout` in Go's form; 0 is upstream's default.
fn timeout(of: &mut Fields<'_>) -> Duration {
    let Some(text) = of.text("httpTimeout") else { return EXTENDER_TIMEOUT };
    match duration(&text) {
        Some(Duration::ZERO) => EXTENDER_TIMEOUT,
        Some(duration) => duration,
        None => {
            of.wrong("httpTimeout", text, "must be a duration such as 100ms or 1m30s");
            EXTENDER_TIMEOUT
        }
    }
}

/// Numbers with units, one after the other.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" if text == "0" => 0.0,
            _ => return None,
        };
        sum += number.parse::<f64>().ok()? * seconds;
        rest = next;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(sum).ok()).flatten()
}

fn tls(mut of: Fields<'_>, file: ReadFile<'_>) -> Tls {
    let server_name = of.text("serverName").unwrap_or_default();
    let insecure = of.flag("insecure");
    let mut pem = |data: &'static str, name: &'static str| {
        let given = of.text(data).map(|text| BASE64.decode(text).ok());
        match (given, of.text(name).filter(|path| !path.is_empty())) {
            (Some(Some(bytes)), _) => bytes,
            (Some(None), _) => {
                of.tell(data, |errors, path| errors.contradiction(path, "must be base64"));
                Vec::new()
            }
            (None, None) => Vec::new(),
            (None, Some(path)) => file(&path).unwrap_or_else(|why| {
                of.wrong(name, path, &why);
                Vec::new()
            }),
        }
    };
    let (ca, certificate, key) =
        (pem("caData", "caFile"), pem("certData", "certFile"), pem("keyData", "keyFile"));
    // Upstream believes whoever answers where it knows no CA.
    Tls { insecure: insecure || ca.is_empty(), server_name, ca, certificate, key }
}
