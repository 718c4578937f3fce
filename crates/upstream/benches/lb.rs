//! What balancing costs: `cargo bench -p nuncio-upstream --bench lb`.
//!
//! Prints, for each balancer and for 10 and 10,000 hosts: nanoseconds per pick; and microseconds that a worker takes for
//! an update in which one host is another one, without and with the first pick behind it, and that the main thread takes
//! to work out what the hosts come to.

use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_net::worker::{Worker, block_on_local};
use nuncio_upstream::cluster::{ClusterConfig, LocalityEndpoints, PickContext};
use nuncio_upstream::host::{HealthFlags, HostShared, HostSnapshot, HostSpec, Locality};
use nuncio_upstream::lb::{Hashing, LbPolicy, LeastRequest, LocalityLb, Maglev, RingHash};
use nuncio_upstream::manager::{ClusterManager, ClusterSet, ClusterSetConfig};
use std::sync::Arc;

const PICKS: u32 = 1_000_000;
const UPDATES: u32 = 50;

fn host(n: usize, weight: u32, locality: &Arc<Locality>) -> HostSpec {
    HostSpec {
        further: None,
        stat_name: None,
        address: Address::Ip(([10, (n >> 16) as u8, (n >> 8) as u8, n as u8], 80).into()),
        hostname: "".into(),
        locality: Arc::clone(locality),
        locality_metadata: None,
        weight,
        priority: 0,
        health: HealthFlags::default(),
        metadata: None,
        check: None,
    }
}

/// Hosts in four localities, of equal or different weights.
fn cluster(hosts: usize, uneven: bool) -> ClusterConfig {
    let mut config = ClusterConfig::new("c");
    for zone in 0..4 {
        let locality = Arc::new(Locality { zone: format!("z{zone}").into(), ..Locality::default() });
        let each = (zone..hosts).step_by(4);
        let hosts = each.map(|n| host(n, if uneven { n as u32 % 7 + 1 } else { 1 }, &locality)).collect();
        config.discovery.endpoints.push(LocalityEndpoints {
            priority: 0,
            weight: Some(zone as u32 + 1),
            locality,
            hosts,
            names: Vec::new(),
        });
    }
    config
}

/// The same hosts but for one, which is new.
fn changed(before: &HostSnapshot, n: usize) -> HostSnapshot {
    let mut hosts = before.clone();
    if let Some(locality) = hosts.priorities.first_mut().and_then(|p| p.first_mut()) {
        locality.hosts.pop();
        locality.hosts.push(HostShared::new(host(100_000 + n, 1, &locality.locality)));
    }
    hosts
}

async fn measure(name: &str, config: ClusterConfig) {
    let (clock, hosts) =
        (Clock::system(), config.discovery.endpoints.iter().map(|e| e.hosts.len()).sum::<usize>());
    let config = ClusterSetConfig { clusters: vec![Arc::new(config)], ..ClusterSetConfig::default() };
    let mut set = ClusterSet::new(&config, &Registry::new(), &Runtime::default());
    let manager = ClusterManager::new(&Worker::new(1, clock.clone(), Rng::seeded(1)), set.seat());
    let (Some(cluster), Some(shared)) = (manager.get("c"), set.get("c").map(Arc::clone)) else { return };
    let pick = |hash| {
        let cx = PickContext { hash: Some(hash), ..PickContext::default() };
        drop(std::hint::black_box(cluster.pick(&cx)));
    };
    (0..hosts as u64 * 4).for_each(|n| pick(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let start = clock.now();
    (0..u64::from(PICKS)).for_each(|n| pick(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    let each = clock.now().duration_since(start).as_nanos() / u128::from(PICKS);
    let (mut published, mut applied, mut picked) = (0, 0, 0);
    for n in 0..UPDATES as usize {
        let next = changed(&shared.hosts(), n);
        let start = clock.now();
        set.set_hosts(&shared, next, 1, true);
        let told = clock.now();
        tokio::task::yield_now().await;
        let taken = clock.now();
        pick(n as u64);
        published += told.duration_since(start).as_micros();
        applied += taken.duration_since(told).as_micros();
        picked += clock.now().duration_since(taken).as_micros();
    }
    let [published, applied, picked] = [published, applied, picked].map(|sum| sum / u128::from(UPDATES));
    println!(
        "{name:<28} {hosts:>6} hosts {each:>6} ns/pick   update: worker {applied:>4} us, first pick {picked:>5} us, main thread {published:>7} us"
    );
}

fn main() {
    let common = Hashing::default;
    let policies: [(&str, LbPolicy); 6] = [
        ("round robin", LbPolicy::RoundRobin),
        ("least request", LbPolicy::LeastRequest(LeastRequest::default())),
        ("random", LbPolicy::Random),
        (
            "ring hash",
            LbPolicy::RingHash(RingHash { murmur: false, minimum: 1024, maximum: 8 << 20, common: common() }),
        ),
        ("maglev", LbPolicy::Maglev(Maglev { table_size: 65_537, common: common() })),
        (
            "maglev, bounded loads",
            LbPolicy::Maglev(Maglev {
                table_size: 65_537,
                common: Hashing { balance_factor: 150, ..common() },
            }),
        ),
    ];
    let ran = block_on_local(async {
        for hosts in [10, 10_000] {
            for (name, policy) in &policies {
                let mut config = cluster(hosts, false);
                config.lb.policy = policy.clone();
                measure(name, config).await;
            }
            for (name, policy) in policies.iter().take(2) {
                let mut config = cluster(hosts, true);
                config.lb.policy = policy.clone();
                measure(&format!("{name}, uneven weights"), config).await;
            }
            let mut config = cluster(hosts, false);
            config.lb.locality = LocalityLb::Weighted;
            measure("round robin by locality", config).await;
        }
    });
    if let Err(error) = ran {
        println!("no runtime: {error}");
    }
}
