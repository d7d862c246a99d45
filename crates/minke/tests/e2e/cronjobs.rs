//! CronJobs through kubectl.

use super::cluster::Cluster;
use super::isolate::isolated;

#[test]
fn jobs_begin_by_the_clock() {
    isolated("cronjobs::jobs_begin_by_the_clock", || {
        let cluster = Cluster::up(&[]);
        let bad = cluster.try_kubectl(&["create", "cronjob", "bad", "--image=busybox:1.36", "--schedule=x"]);
        let said = String::from_utf8_lossy(&bad.stderr);
        assert!(said.contains("expected exactly 5 fields, found 1: [x]"), "{said}");
        let line =
            ["create", "cronjob", "tick", "--image=busybox:1.36", "--schedule=@every 1s", "--", "true"];
        cluster.kubectl(&line);
        cluster.wait("jsonpath={.status.lastSuccessfulTime}", "cronjob/tick");
        let jobs = cluster.kubectl(&["get", "jobs", "-o", "jsonpath={.items[*].metadata.name}"]);
        let first = jobs.split(' ').next().unwrap_or_default().to_owned();
        assert!(first.starts_with("tick-"), "{jobs}");
        let owner = "jsonpath={.metadata.ownerReferences[0].kind}";
        assert_eq!(cluster.kubectl(&["get", "job", &first, "-o", owner]), "CronJob");
        let table = cluster.kubectl(&["get", "cj", "tick"]);
        assert!(
            table.contains("@every 1s") && table.contains("<none>") && table.contains("False"),
            "{table}"
        );
        let events = cluster.kubectl(&["get", "events", "-o", "jsonpath={.items[*].message}"]);
        assert!(events.contains(&format!("Created job {first}")), "{events}");
        assert!(events.contains(&format!("Saw completed job: {first}, condition: Complete")), "{events}");
        let told = cluster.kubectl(&["describe", "cronjob", "tick"]);
        assert!(told.contains("Concurrency Policy:            Allow"), "{told}");
        // By hand, while the clock begins nothing.
        cluster.kubectl(&[
            "patch",
            "cronjob",
            "tick",
            "-p",
            r#"{"spec": {"suspend": true, "timeZone": "Europe/Paris"}}"#,
        ]);
        cluster.kubectl(&["create", "job", "manual", "--from=cronjob/tick"]);
        cluster.wait("condition=Complete", "job/manual");
        cluster.kubectl(&["delete", "cronjob", "tick"]);
        cluster.kubectl(&["wait", "--for=delete", &format!("job/{first}"), "job/manual", "--timeout=60s"]);
    });
}
