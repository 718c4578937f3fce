//! Where the real Envoy puts keys, nuncio puts them: a table that `tests/differential/placement/run --record` made.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_core::xx_hash::xx_hash64;
use nuncio_net::worker::{Worker, block_on_local};
use nuncio_server::cli;
use nuncio_server::config::{self, Source};
use nuncio_upstream::cluster::PickContext;
use nuncio_upstream::manager::{ClusterManager, ClusterSet, ClusterSetConfig};
use serde_json::{Value, json};

/// Clusters as they were configured, keys, and the address of each key's host.
const TABLE: &str = include_str!("fixtures/placement.json");

fn clusters(shapes: &[Value]) -> ClusterSetConfig {
    let clusters: Vec<&Value> = shapes.iter().map(|shape| &shape["cluster"]).collect();
    let bootstrap = json!({ "static_resources": { "clusters": clusters } });
    let options = cli::parse(["nuncio", "--config-yaml", &bootstrap.to_string()]).unwrap();
    let sources = Source::of(&options).unwrap();
    config::load(&options, sources, &Registry::new(), Clock::system().wall()).unwrap().clusters
}

#[test]
fn every_key_is_on_the_host_that_envoy_has_it_on_whichever_worker_is_asked() {
    let table: Vec<Value> = serde_json::from_str(TABLE).unwrap();
    let config = clusters(&table);
    let compared = block_on_local(async {
        let mut set = ClusterSet::new(&config, &Registry::new(), &Runtime::default());
        let manager = |id, set: &mut ClusterSet| {
            ClusterManager::new(&Worker::new(id, Clock::system(), Rng::seeded(id.into())), set.seat())
        };
        let workers = [manager(0, &mut set), manager(1, &mut set)];
        let mut compared = 0;
        for shape in &table {
            let name = shape["cluster"]["name"].as_str().unwrap();
            for (key, host) in
                shape["keys"].as_array().unwrap().iter().zip(shape["hosts"].as_array().unwrap())
            {
                let hash = Some(xx_hash64(key.as_str().unwrap().as_bytes(), 0));
                for worker in &workers {
                    let cluster = worker.get(name).unwrap();
                    let picked = cluster.pick(&PickContext { hash, ..PickContext::default() }).unwrap();
                    let address = picked.address().to_string();
                    assert_eq!(address.rsplit_once(':').map(|(ip, _)| ip), host.as_str(), "{name} {key}");
                    compared += 1;
                }
            }
        }
        compared
    });
    assert_eq!(compared.unwrap(), 3600);
}
