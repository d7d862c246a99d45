//! The examples of the repository do what their comments say.

use super::cluster::Cluster;
use super::isolate::isolated;

fn example(name: &str) -> String {
    format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn web_with_refresher() {
    isolated("examples::web_with_refresher", || {
        let cluster = Cluster::up(&[]);
        cluster.kubectl(&["apply", "-f", &example("web-with-refresher.yaml")]);
        cluster.wait("condition=Ready", "pod/web");
        let page = cluster.get_from("web", "server", "127.0.0.1 8080");
        assert!(page.starts_with("page "), "{page}");
    });
}

#[test]
fn ambassador() {
    isolated("examples::ambassador", || {
        let cluster = Cluster::up(&[]);
        cluster.kubectl(&["apply", "-f", &example("ambassador.yaml")]);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/app");
        assert_eq!(cluster.kubectl(&["logs", "app", "-c", "app"]), "the database says: row 1\n");
    });
}

#[test]
fn adapter() {
    isolated("examples::adapter", || {
        let cluster = Cluster::up(&[]);
        cluster.kubectl(&["apply", "-f", &example("adapter.yaml")]);
        cluster.wait("jsonpath={.status.phase}=Succeeded", "pod/adapter");
        let log = cluster.kubectl(&["logs", "adapter", "-c", "adapter"]);
        assert_eq!(log.lines().next(), Some(r#"{"level":"warn","subject":"disk","value":1}"#));
    });
}
