//! One metric of an autoscaler: how many replicas it asks for, what is to be shown of it, and what is said where it fails.
//!
//! Invariant: names, reasons and errors are upstream's (`computeReplicasForMetric`), its slips included.

use base::Quantity;
use serde_json::{Value, json};

use super::calculate::{Crowd, Proposal, by_average, by_share, by_utilization, by_value};
use super::reading::Reading;
use super::view::{MetricSpec, NamedSource, ResourceSource, Target, milli};
use crate::value::{entries, is_set, items, text};

/// What a metric asks for.
#[derive(Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) replicas: i32,
    /// What a rescaling is reasoned with.
    pub(super) name: String,
    /// For `status.currentMetrics`.
    pub(super) status: Value,
}

/// Why a metric asks for nothing.
#[derive(Debug, PartialEq)]
pub(super) struct Failed {
    /// Of the condition and the event.
    pub(super) reason: &'static str,
    /// Of the event.
    pub(super) why: String,
    /// What of it is told of all metrics together.
    pub(super) all: String,
}

/// What is measured, or why nothing is.
pub(super) type Measured<'a> = &'a Result<Reading, String>;

/// What a metric asks for of so many Pods, of which `there` are.
pub(super) fn wish(
    crowd: Crowd<'_>,
    there: i32,
    metric: &MetricSpec,
    measured: Measured<'_>,
) -> Result<Wish, Failed> {
    let failed = |reason, what: String| {
        move |why: String| Failed { reason, all: format!("failed to get {what} metric value: {why}"), why }
    };
    match metric.kind.as_str() {
        "Resource" => {
            let source = &metric.resource;
            resource(crowd, source, measured)
                .map_err(failed("FailedGetResourceMetric", format!("{} resource", source.name)))
        }
        "ContainerResource" => {
            let source = &metric.container_resource;
            resource(crowd, source, measured).map_err(failed(
                "FailedGetContainerResourceMetric",
                format!("{} container", source.container),
            ))
        }
        "Pods" => pods(crowd, &metric.pods, measured).map_err(failed("FailedGetPodsMetric", "pods".into())),
        "Object" => object(crowd, there, &metric.object, measured)
            .map_err(failed("FailedGetObjectMetric", "object".into())),
        "External" => {
            let source = &metric.external;
            external(crowd, there, source, measured)
                .map_err(failed("FailedGetExternalMetric", format!("{} external", source.metric.name)))
        }
        other => {
            let why = format!("unknown metric source type {other:?}");
            Err(Failed { reason: "InvalidMetricSourceType", all: why.clone(), why })
        }
    }
}

fn amount(milli: i64) -> Value {
    json!(Quantity::from_milli(milli).to_string())
}

fn resource(crowd: Crowd<'_>, source: &ResourceSource, measured: Measured<'_>) -> Result<Wish, String> {
    let (name, container) = (source.name.as_str(), source.container.as_str());
    let figures = || match measured {
        Ok(Reading::Pods(figures)) => Ok(figures.clone()),
        Ok(Reading::Value(_)) => {
            Err(format!("unable to get metrics for resource {name}: no metrics of pods"))
        }
        Err(why) => Err(format!("unable to get metrics for resource {name}: {why}")),
    };
    let Target { average_value, average_utilization, .. } = &source.target;
    let (proposal, told) = match (average_value, average_utilization) {
        (Some(target), _) => {
            let found = figures().and_then(|f| by_average(crowd, milli(target), name, f));
            (found.map_err(|why| format!("failed to get {name} usage: {why}"))?, format!("{name} resource"))
        }
        (None, Some(target)) => {
            let found = figures().and_then(|f| by_utilization(crowd, *target, (name, container), f));
            let of = if container.is_empty() { "" } else { "container " };
            let told = format!("{name} {of}resource utilization (percentage of request)");
            (found.map_err(|why| format!("failed to get {name} utilization: {why}"))?, told)
        }
        (None, None) => {
            return Err(
                "invalid resource metric source: neither an average utilization target nor an average value \
                        (usage) target was set"
                    .into(),
            );
        }
    };
    let mut now = json!({"averageValue": amount(proposal.raw)});
    if let Some(percent) = proposal.utilization {
        now["averageUtilization"] = json!(percent);
    }
    let status = if container.is_empty() {
        json!({"type": "Resource", "resource": {"name": name, "current": now}})
    } else {
        json!({"type": "ContainerResource", "containerResource": {"name": name, "container": container, "current": now}})
    };
    Ok(Wish { replicas: proposal.replicas, name: told, status })
}

/// `metric` of a status.
fn identity(source: &NamedSource) -> Value {
    let mut metric = json!({"name": source.metric.name});
    if is_set(&source.metric.selector) {
        metric["selector"] = source.metric.selector.clone();
    }
    metric
}

fn pods(crowd: Crowd<'_>, source: &NamedSource, measured: Measured<'_>) -> Result<Wish, String> {
    let name = &source.metric.name;
    let figures = match measured {
        Ok(Reading::Pods(figures)) => figures.clone(),
        Ok(Reading::Value(_)) => return Err(format!("unable to get metric {name}: no metrics of pods")),
        Err(why) => return Err(format!("unable to get metric {name}: {why}")),
    };
    let target = source.target.average_value.as_deref().map_or(0, milli);
    let proposal = by_average(crowd, target, "", figures)?;
    let status = json!({"type": "Pods", "pods": {"metric": identity(source),
        "current": {"averageValue": amount(proposal.raw)}}});
    Ok(Wish { replicas: proposal.replicas, name: format!("pods metric {name}"), status })
}

fn value(measured: Measured<'_>) -> Result<i64, String> {
    match measured {
        Ok(Reading::Value(value)) => Ok(*value),
        Ok(Reading::Pods(_)) => Err("no single value".into()),
        Err(why) => Err(why.clone()),
    }
}

fn object(
    crowd: Crowd<'_>,
    there: i32,
    source: &NamedSource,
    measured: Measured<'_>,
) -> Result<Wish, String> {
    let (name, about) = (&source.metric.name, &source.described_object);
    let measured = || {
        // The words are in upstream's order.
        let (kind, object) = (text(&about["kind"]), text(&about["name"]));
        value(measured).map_err(|why| {
            format!("unable to get metric {name}: {kind} on {} {object}/{why}", crowd.namespace)
        })
    };
    let (proposal, current, told) = match source.target.kind.as_str() {
        "Value" => {
            let target = source.target.value.as_deref().map_or(0, milli);
            let proposal = by_value(crowd, target, measured()?)?;
            (
                proposal,
                json!({"value": amount(proposal.raw)}),
                format!("{} metric {name}", text(&about["kind"])),
            )
        }
        "AverageValue" => {
            let target = source.target.average_value.as_deref().map_or(0, milli);
            let found = measured().map_err(|why| format!("failed to get {name} object metric: {why}"))?;
            let proposal = by_share(crowd.tolerance, there, target, found);
            (proposal, json!({"averageValue": amount(proposal.raw)}), shared_name(source))
        }
        _ => {
            return Err(
                "invalid object metric source: neither a value target nor an average value target was set"
                    .into(),
            );
        }
    };
    let status = json!({"type": "Object", "object": {"metric": identity(source), "describedObject": about, "current": current}});
    Ok(Wish { replicas: proposal.replicas, name: told, status })
}

fn external(
    crowd: Crowd<'_>,
    there: i32,
    source: &NamedSource,
    measured: Measured<'_>,
) -> Result<Wish, String> {
    let name = &source.metric.name;
    let measured = || {
        let selector = go_selector(&source.metric.selector);
        value(measured).map_err(|why| {
            format!("unable to get external metric {}/{name}/{selector}: {why}", crowd.namespace)
        })
    };
    let (proposal, current) = if let Some(target) = &source.target.average_value {
        let found = measured().map_err(|why| format!("failed to get {name} external metric: {why}"))?;
        let proposal = by_share(crowd.tolerance, there, milli(target), found);
        (proposal, json!({"averageValue": amount(proposal.raw)}))
    } else if let Some(target) = &source.target.value {
        let proposal: Result<Proposal, String> =
            measured().and_then(|found| by_value(crowd, milli(target), found));
        let proposal = proposal.map_err(|why| format!("failed to get external metric {name}: {why}"))?;
        (proposal, json!({"value": amount(proposal.raw)}))
    } else {
        return Err(
            "invalid external metric source: neither a value target nor an average value target was set"
                .into(),
        );
    };
    let status = json!({"type": "External", "external": {"metric": identity(source), "current": current}});
    Ok(Wish { replicas: proposal.replicas, name: shared_name(source), status })
}

fn shared_name(source: &NamedSource) -> String {
    format!("external metric {}({})", source.metric.name, go_selector(&source.metric.selector))
}

/// A label selector as Go prints it.
fn go_selector(selector: &Value) -> String {
    if !is_set(selector) {
        return "nil".into();
    }
    let labels: String =
        entries(&selector["matchLabels"]).map(|(k, v)| format!("{k}: {},", text(v))).collect();
    let one = |e: &Value| {
        let values: Vec<&str> = items(&e["values"]).iter().map(text).collect();
        let (key, operator) = (text(&e["key"]), text(&e["operator"]));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{}],}},", values.join(" "))
    };
    let expressions: String = items(&selector["matchExpressions"]).iter().map(one).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}
