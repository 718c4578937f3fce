use super::request::Body;
use super::table::ENDPOINTS;
use super::*;
use crate::cli;
use crate::config::{self, Source};
use nuncio_core::address::Address;
use nuncio_core::runtime::Layer;
use nuncio_core::stats::Registry;
use nuncio_upstream::manager::ClusterSetConfig;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn admin(args: &[&str]) -> (Admin, UnboundedReceiver<Action>) {
    let (actions, received) = unbounded_channel();
    let clock = Clock::virtual_at(std::time::UNIX_EPOCH);
    let admin = Admin {
        log: None,
        started: clock.now(),
        clock,
        options: Rc::new(cli::parse(std::iter::once(&"nuncio").chain(args)).unwrap()),
        node: Value::Null,
        node_bytes: Vec::new(),
        allow_paths: Box::default(),
        dump: dump(),
        tls: Default::default(),
        dynamic_clusters: Default::default(),
        routes: Default::default(),
        secrets: Default::default(),
        listeners: vec![ListenerFacts {
            name: "l1".into(),
            addresses: vec![Address::Ip("127.0.0.1:80".parse().unwrap()), Address::Pipe("/x".into())],
        }],
        clusters: Rc::new(RefCell::new(ClusterSet::new(
            &ClusterSetConfig::default(),
            &Registry::new(),
            &Runtime::default(),
        ))),
        runtime: Runtime::default(),
        registry: Registry::new(),
        history: RefCell::default(),
        sinks: RefCell::default(),
        lookups: Cell::default(),
        flush_interval: None,
        stats_config: Default::default(),
        connections: Box::new(|| 0),
        stats: None,
        lifecycle: Lifecycle::new(),
        progress: Rc::new(Cell::new(State::Live)),
        actions,
        explainer: OnceCell::new(),
    };
    (admin, received)
}

fn dump() -> Dump {
    let options = cli::parse(["nuncio"]).unwrap();
    let sources = [Source::text("test", CONFIG.into())];
    config::load(&options, sources.into(), &Registry::new(), std::time::UNIX_EPOCH).unwrap().dump
}

const CONFIG: &str = r#"
node: {id: n1}
static_resources:
  clusters:
  - {name: b}
  - {name: a, connect_timeout: 1s}
"#;

fn text(body: Body) -> String {
    String::from_utf8(body.pieces().flatten().collect()).unwrap()
}

fn get(admin: &Admin, target: &str) -> (u16, String) {
    let r = admin.answer(&Request::new("GET", target));
    (r.status, text(r.body))
}

fn post(admin: &Admin, target: &str) -> (u16, String) {
    let r = admin.answer(&Request::new("POST", target));
    (r.status, text(r.body))
}

#[test]
fn the_table_is_sorted_and_every_row_of_envoys_is_listed() {
    assert!(ENDPOINTS.windows(2).all(|w| w[0].path < w[1].path));
    let (admin, _) = admin(&[]);
    let (status, help) = get(&admin, "/help");
    assert_eq!(status, 200);
    for e in ENDPOINTS {
        // The lists are Envoy's.
        let envoys = e.path != "/explain";
        assert_eq!(help.contains(&format!("\n  {}", e.path)), envoys, "{}", e.path);
    }
    let (status, body) = get(&admin, "/nope");
    assert_eq!((status, body), (404, format!("invalid path. {help}")));
    assert_eq!(get(&admin, "/READY").0, 404);
    assert_eq!(get(&admin, "/%72eady?x=y").0, 200);
    let home = admin.answer(&Request::new("GET", "/"));
    assert_eq!((home.status, home.content_type), (200, "text/html; charset=UTF-8"));
}

#[test]
fn changes_need_post() {
    let (admin, mut actions) = admin(&[]);
    for e in ENDPOINTS.iter().filter(|e| e.method == table::Method::Post) {
        let want = (405, "Method PUT not allowed, POST required.".to_owned());
        let r = admin.answer(&Request::new("PUT", e.path));
        assert_eq!((r.status, text(r.body)), want, "{}", e.path);
    }
    assert!(actions.try_recv().is_err());
    assert_eq!(admin.answer(&Request::new("POST", "/ready")).status, 200);
}

#[test]
fn readiness_follows_start_up_and_the_health_mark() {
    let (admin, _) = admin(&[]);
    admin.progress.set(State::PreInitializing);
    assert_eq!(get(&admin, "/ready"), (503, "PRE_INITIALIZING\n".into()));
    admin.progress.set(State::Live);
    assert_eq!(get(&admin, "/ready"), (200, "LIVE\n".into()));
    assert_eq!(post(&admin, "/healthcheck/fail"), (200, "OK\n".into()));
    assert_eq!(get(&admin, "/ready"), (503, "DRAINING\n".into()));
    assert_eq!(post(&admin, "/healthcheck/ok"), (200, "OK\n".into()));
    assert_eq!(get(&admin, "/ready"), (200, "LIVE\n".into()));
}

#[test]
fn actions_reach_the_server() {
    let (admin, mut actions) = admin(&[]);
    for path in ["/quitquitquit", "/reopen_logs", "/drain_listeners?graceful&inboundonly=1"] {
        assert_eq!(post(&admin, path), (200, "OK\n".into()));
    }
    let mut next = || actions.try_recv().unwrap();
    assert_eq!((next(), next()), (Action::Quit, Action::ReopenLogs));
    assert_eq!(next(), Action::Drain { graceful: true, skip_exit: false, inbound_only: true });
}

#[test]
fn listeners_are_shown_in_both_forms() {
    let (admin, _) = admin(&[]);
    assert_eq!(get(&admin, "/listeners"), (200, "l1::127.0.0.1:80\nl1::/x\n".into()));
    let (_, body) = get(&admin, "/listeners?format=json");
    let want = r#"{
 "listener_statuses": [
  {
   "name": "l1",
   "local_address": {
    "socket_address": {
     "address": "127.0.0.1",
     "port_value": 80
    }
   },
   "additional_local_addresses": [
    {
     "pipe": {
      "path": "/x"
     }
    }
   ]
  }
 ]
}
"#;
    assert_eq!(body, want);
}

#[test]
fn what_the_command_line_said_is_told() {
    let (admin, _) = admin(&["--concurrency", "3", "--drain-strategy", "immediate", "--disable-hot-restart"]);
    let info: Value = serde_json::from_str(&get(&admin, "/server_info").1).unwrap();
    let line = &info["command_line_options"];
    assert_eq!(line["concurrency"], 3);
    assert_eq!(line["drain_strategy"], "Immediate");
    assert_eq!(line["file_flush_interval"], "10s");
    assert_eq!(info["hot_restart_version"], "disabled");
    assert_eq!(get(&admin, "/hot_restart_version").1, "disabled");
}

#[test]
fn runtime_values_cannot_be_changed_without_a_layer_for_it() {
    let (admin, _) = admin(&[]);
    assert_eq!(post(&admin, "/runtime_modify?a=b"), (503, "No admin layer specified".into()));
    assert_eq!(post(&admin, "/runtime_modify").0, 400);
}

#[test]
fn the_configuration_is_dumped_whole_by_list_and_by_mask() {
    let (admin, _) = admin(&[]);
    let json = |target: &str| serde_json::from_str::<Value>(&get(&admin, target).1).unwrap();
    let types: Vec<String> = json("/config_dump")["configs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["@type"].as_str().unwrap().rsplit('.').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        types,
        ["BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "SecretsConfigDump",]
    );
    let want = r#"{
 "configs": [
  {
   "@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump.StaticCluster",
   "cluster": {
    "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    "name": "a",
    "connect_timeout": "1s"
   },
   "last_updated": "1970-01-01T00:00:00Z"
  }
 ]
}
"#;
    assert_eq!(get(&admin, "/config_dump?resource=static_clusters&name_regex=a"), (200, want.into()));
    let names = json("/config_dump?resource=static_clusters&mask=cluster.name");
    assert_eq!(names["configs"][1]["cluster"]["name"], "b");
    assert_eq!(names["configs"][0]["cluster"]["connect_timeout"], Value::Null);
    let node = json("/config_dump?mask=bootstrap.node.id");
    assert_eq!(node["configs"][0]["bootstrap"], serde_json::json!({"node": {"id": "n1"}}));
    assert_eq!(get(&admin, "/config_dump?resource=dynamic_listeners"), (200, "{}\n".into()));
    for (target, status, words) in [
        ("?resource=foo", 404, "foo not found in config dump"),
        (
            "?resource=bootstrap",
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        ),
        ("?mask=foo", 400, "FieldMask foo could not be successfully applied to any configs."),
        ("?name_regex=[", 400, "INVALID_ARGUMENT: Error while parsing name_regex from [: missing ]: ["),
    ] {
        assert_eq!(get(&admin, &format!("/config_dump{target}")), (status, words.into()));
    }
}

#[test]
fn runtime_keys_show_their_layers_and_the_admin_layer_can_be_changed() {
    let (mut admin, _) = admin(&[]);
    let values = [("a.b".into(), "1".into())].into();
    admin.runtime = Runtime::new(vec![
        Layer { name: "base".into(), values, admin: false },
        Layer { name: "admin".into(), values: Default::default(), admin: true },
    ]);
    assert_eq!(post(&admin, "/runtime_modify?a.b=7&new=true"), (200, "OK\n".into()));
    let shown: Value = serde_json::from_str(&get(&admin, "/runtime").1).unwrap();
    assert_eq!(
        shown,
        serde_json::json!({
            "entries": {
                "a.b": {"final_value": "7", "layer_values": ["1", "7"]},
                "new": {"final_value": "true", "layer_values": ["", "true"]},
            },
            "layers": ["base", "admin"],
        })
    );
    assert_eq!(post(&admin, "/runtime_modify?a.b="), (200, "OK\n".into()));
    let shown: Value = serde_json::from_str(&get(&admin, "/runtime").1).unwrap();
    assert_eq!(shown["entries"]["a.b"]["final_value"], "1");
}
