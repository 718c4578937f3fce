//! What balancing costs: `cargo bench -p nuncio-upstream --bench lb`.
//!
//! Prints, for each balancer and what may stand around it, for 10 and 10,000 hosts: nanoseconds per pick; and microseconds that a worker takes for
//! an update in which one host is another one, without and with the first pick behind it, and that the main thread takes
//! to work out what the hosts come to.

use nuncio_codec::head::RequestHead;
use nuncio_core::address::Address;
use nuncio_core::clock::Clock;
use nuncio_core::rng::Rng;
use nuncio_core::runtime::Runtime;
use nuncio_core::stats::Registry;
use nuncio_net::worker::{Worker, block_on_local};
use nuncio_upstream::cluster::{Asking, ClusterConfig, LocalityEndpoints, PickContext};
use nuncio_upstream::host::{HealthFlags, HostShared, HostSnapshot, HostSpec, LB_NAMESPACE, Locality};
use nuncio_upstream::lb::{
    Criteria, Hashing, LbPolicy, LeastRequest, LocalityLb, Maglev, OverrideHost, OverrideSource, RingHash,
    Selector, SlowStart, SubsetConfig,
};
use nuncio_upstream::manager::{ClusterManager, ClusterSet, ClusterSetConfig};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use std::sync::Arc;
use std::time::Duration;

/// As many picks are measured as this time lets be, and no more than these.
const MEASURED: Duration = Duration::from_millis(300);
const PICKS: u64 = 1_000_000;
/// Between two looks at the clock.
const AT_ONCE: u64 = 1_000;
const UPDATES: u32 = 50;
/// Hosts of each of so many subsets, where there are any.
const SUBSETS: usize = 10;

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
        metadata: Some(Arc::new([(LB_NAMESPACE.to_owned(), version(n % SUBSETS))].into())),
        check: None,
    }
}

/// `{v: n}`
fn version(n: usize) -> Struct {
    Struct { fields: [("v".to_owned(), Value { kind: Some(Kind::NumberValue(n as f64)) })].into() }
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

/// What picks look at beside the hash.
#[derive(Default)]
struct Asked {
    criteria: Option<Criteria>,
    request: Option<RequestHead>,
}

async fn measure(name: &str, config: ClusterConfig, asked: &Asked) {
    let (clock, hosts) =
        (Clock::system(), config.discovery.endpoints.iter().map(|e| e.hosts.len()).sum::<usize>());
    let config = ClusterSetConfig { clusters: vec![Arc::new(config)], ..ClusterSetConfig::default() };
    let mut set = ClusterSet::new(&config, &Registry::new(), &Runtime::default());
    let manager = ClusterManager::new(&Worker::new(1, clock.clone(), Rng::seeded(1)), set.seat());
    let (Some(cluster), Some(shared)) = (manager.get("c"), set.get("c").map(Arc::clone)) else { return };
    let pick = |hash| {
        let wanted = cluster.wanted(&Asking { request: asked.request.as_ref(), info: None });
        let cx = PickContext {
            hash: Some(hash),
            metadata: asked.criteria.as_ref(),
            wanted: wanted.as_ref(),
            ..PickContext::default()
        };
        drop(std::hint::black_box(cluster.pick(&cx)));
    };
    let spread = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..hosts as u64 * 4).for_each(|n| pick(spread(n)));
    let (start, mut picks) = (clock.now(), 0);
    while picks < PICKS && clock.now().duration_since(start) < MEASURED {
        (picks..picks + AT_ONCE).for_each(|n| pick(spread(n)));
        picks += AT_ONCE;
    }
    let each = clock.now().duration_since(start).as_nanos() / u128::from(picks);
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

/// Every balancer by its name, over hosts of equal weights.
fn policies() -> Vec<(&'static str, LbPolicy)> {
    let bounded = || Hashing { balance_factor: 150, ..Hashing::default() };
    let ring =
        |murmur, common| LbPolicy::RingHash(RingHash { murmur, minimum: 1024, maximum: 8 << 20, common });
    let maglev = |common| LbPolicy::Maglev(Maglev { table_size: 65_537, common });
    vec![
        ("round robin", LbPolicy::RoundRobin),
        ("least request", LbPolicy::LeastRequest(LeastRequest::default())),
        (
            "least request, full scan",
            LbPolicy::LeastRequest(LeastRequest { full_scan: true, ..Default::default() }),
        ),
        ("random", LbPolicy::Random),
        ("ring hash", ring(false, Hashing::default())),
        ("ring hash, murmur", ring(true, Hashing::default())),
        ("ring hash, bounded loads", ring(false, bounded())),
        ("maglev", maglev(Hashing::default())),
        ("maglev, bounded loads", maglev(bounded())),
    ]
}

/// What goes around a balancer, each over round robin.
fn around(hosts: usize) -> Vec<(&'static str, ClusterConfig, Asked)> {
    let mut by_locality = cluster(hosts, false);
    by_locality.lb.locality = LocalityLb::Weighted;
    let mut slow_start = cluster(hosts, false);
    let (window, aggression_key) = (Duration::from_secs(3600), "".into());
    slow_start.lb.slow_start =
        Some(Box::new(SlowStart { window, aggression: 2.0, aggression_key, least: 0.1 }));
    let mut subsets = cluster(hosts, false);
    let keys = ["v".into()].into();
    let selector = Selector { keys, fallback: None, fallback_keys: Default::default(), single_host: false };
    subsets.lb.subsets = Some(Box::new(SubsetConfig { selectors: vec![selector], ..Default::default() }));
    let of_subset = Asked { criteria: Some(Criteria::new(&version(7 % hosts))), ..Asked::default() };
    let mut named = cluster(hosts, false);
    let sources = [OverrideSource::Header("x-to".into())].into();
    named.lb.override_host = Some(Box::new(OverrideHost { sources, selected: None }));
    let mut request = RequestHead::new();
    request.headers.append("x-to", b"10.0.0.3:80");
    let by_name = Asked { request: Some(request), ..Asked::default() };
    vec![
        ("by locality", by_locality, Asked::default()),
        ("slow start", slow_start, Asked::default()),
        ("subsets", subsets, of_subset),
        ("override_host", named, by_name),
    ]
}

fn main() {
    let ran = block_on_local(async {
        for hosts in [10, 10_000] {
            for (name, policy) in policies() {
                let mut config = cluster(hosts, false);
                config.lb.policy = policy.clone();
                measure(name, config, &Asked::default()).await;
                if matches!(policy, LbPolicy::RoundRobin | LbPolicy::LeastRequest(_)) {
                    let mut config = cluster(hosts, true);
                    config.lb.policy = policy;
                    measure(&format!("{name}, uneven"), config, &Asked::default()).await;
                }
            }
            for (name, config, asked) in around(hosts) {
                measure(name, config, &asked).await;
            }
        }
    });
    if let Err(error) = ran {
        println!("no runtime: {error}");
    }
}
