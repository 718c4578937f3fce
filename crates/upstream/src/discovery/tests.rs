use super::*;
use crate::cluster::{ClusterConfig, HostSource, NamedEndpoint};
use crate::testing::{NoSources, World, cluster, host, locality, run, settle};
use nuncio_net::dns::{Answer, DnsError, Family, LookupFuture, ResolverConfig};
use std::collections::HashMap;
use std::time::Duration;

/// Answers by name; a name without one fails.
#[derive(Default)]
struct Book(RefCell<HashMap<&'static str, Vec<[u8; 4]>>>);

impl Resolve for Book {
    fn lookup<'a>(&'a self, name: &'a str, _: Family, _: &'a ResolverConfig) -> LookupFuture<'a> {
        let addresses = self.0.borrow().get(name).map(|all| all.iter().map(|ip| (*ip).into()).collect());
        let answer = addresses
            .map(|addresses| Answer { addresses, ..Answer::default() })
            .ok_or_else(|| DnsError::misformatted("no answer"));
        Box::pin(std::future::ready(answer))
    }
}

impl Book {
    fn set(&self, name: &'static str, addresses: &[[u8; 4]]) {
        self.0.borrow_mut().insert(name, addresses.to_vec());
    }
}

fn named(source: HostSource, names: &[&str]) -> ClusterConfig {
    let mut config = cluster(&[]);
    let mut endpoints = locality(0, None, Vec::new());
    endpoints.names = names
        .iter()
        .map(|name| NamedEndpoint { name: (*name).into(), port: 80, spec: host(0, 1, Default::default()) })
        .collect();
    config.discovery.source = source;
    config.discovery.endpoints = vec![endpoints];
    config
}

fn hosts(world: &World) -> Vec<String> {
    let cluster = Arc::clone(world.set.borrow().get("c").unwrap());
    let hosts = cluster.hosts();
    let mut all: Vec<String> = hosts.hosts().map(|h| h.address().to_string()).collect();
    all.sort();
    all
}

fn follow(world: &World, book: &Rc<Book>) -> Warming {
    let resolver: Rc<dyn Resolve> = book.clone();
    Discovery::new(&world.set, &world.worker, resolver, Rc::new(NoSources)).start()
}

const REFRESH: Duration = Duration::from_secs(5);

#[test]
fn strict_dns_follows_every_address_and_keeps_the_last_good_ones() {
    run(async {
        let book = Rc::new(Book::default());
        book.set("a.example", &[[10, 0, 0, 1], [10, 0, 0, 2], [10, 0, 0, 1]]);
        let source = HostSource::StrictDns(DnsConfig::default());
        let world = World::new(vec![named(source, &["a.example", "127.0.0.9"])]);
        follow(&world, &book).wait().await;
        assert_eq!(hosts(&world), ["10.0.0.1:80", "10.0.0.2:80", "127.0.0.9:80"]);
        settle().await;
        assert_eq!(world.cluster().with_hosts(|set| set.hosts().count()), 3);
        let first = world.cluster().with_hosts(|set| set.hosts().next().map(Arc::clone)).unwrap();

        book.0.borrow_mut().clear();
        tokio::time::sleep(REFRESH).await;
        settle().await;
        assert_eq!(hosts(&world).len(), 3);
        let stats = world.set.borrow().get("c").map(Arc::clone).unwrap();
        assert_eq!(stats.main_stats().update_failure.value(), 1);

        book.set("a.example", &[[10, 0, 0, 3], [10, 0, 0, 1]]);
        tokio::time::sleep(REFRESH).await;
        settle().await;
        assert_eq!(hosts(&world), ["10.0.0.1:80", "10.0.0.3:80", "127.0.0.9:80"]);
        let same = |set: &crate::lb::HostSet| set.hosts().any(|h| Arc::ptr_eq(h, &first));
        assert!(world.cluster().with_hosts(same));

        book.set("a.example", &[]);
        tokio::time::sleep(REFRESH).await;
        settle().await;
        assert_eq!(hosts(&world), ["127.0.0.9:80"]);
    });
}

#[test]
fn logical_dns_moves_one_host() {
    run(async {
        let book = Rc::new(Book::default());
        book.set("a.example", &[[10, 0, 0, 1], [10, 0, 0, 2]]);
        let source = HostSource::LogicalDns(DnsConfig::default());
        let world = World::new(vec![named(source, &["a.example"])]);
        follow(&world, &book).wait().await;
        settle().await;
        let first = world.cluster().with_hosts(|set| set.hosts().next().map(Arc::clone)).unwrap();
        assert_eq!(hosts(&world), ["10.0.0.1:80"]);
        for addresses in [&[[10, 0, 0, 2], [10, 0, 0, 1]][..], &[]] {
            book.set("a.example", addresses);
            tokio::time::sleep(REFRESH).await;
            settle().await;
            assert_eq!(hosts(&world), ["10.0.0.2:80"]);
        }
        assert!(world.cluster().with_hosts(|set| set.hosts().next().is_some_and(|h| Arc::ptr_eq(h, &first))));
    });
}

#[test]
fn a_name_without_an_answer_does_not_hold_the_start_up() {
    run(async {
        let book = Rc::new(Book::default());
        let source = HostSource::StrictDns(DnsConfig::default());
        let world = World::new(vec![named(source, &["gone.example"])]);
        follow(&world, &book).wait().await;
        assert!(hosts(&world).is_empty());
    });
}

#[test]
fn a_removed_cluster_is_no_longer_followed() {
    run(async {
        let book = Rc::new(Book::default());
        let source = HostSource::StrictDns(DnsConfig::default());
        let world = World::new(vec![named(source, &["a.example"])]);
        follow(&world, &book).wait().await;
        let shared = Arc::clone(world.set.borrow().get("c").unwrap());
        world.set.borrow_mut().remove("c");
        tokio::time::sleep(10 * REFRESH).await;
        assert_eq!(shared.main_stats().update_attempt.value(), 1);
    });
}
