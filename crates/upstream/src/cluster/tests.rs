use super::*;
use crate::discovery::Discovery as Followed;
use crate::host::HealthFlags;
use crate::testing::{NoSources, World, cluster, host, locality, run, settle};
use nuncio_core::config::{CompileContext, Sink, Unsupported};
use nuncio_net::dns::SystemResolver;
use std::time::Duration;

fn original_dst() -> ClusterConfig {
    let mut config = ClusterConfig::new("c");
    let sink = Sink::new(Unsupported::Refuse);
    let cx = CompileContext::root(&sink, "", None);
    let compiled = OriginalDstConfig::compile(None, Duration::from_secs(5), &cx).unwrap();
    config.discovery.source = HostSource::OriginalDst(Box::new(compiled));
    config.lb.policy = LbPolicy::ClusterProvided;
    config
}

fn to(port: u16) -> Destination {
    Destination::Address(([10, 0, 0, 1], port).into())
}

fn pick(cluster: &Cluster, to: Option<&Destination>) -> Option<Rc<Host>> {
    cluster.pick(&PickContext { destination: to, ..PickContext::default() })
}

#[test]
fn a_destination_has_one_host_until_nobody_wants_it_any_more() {
    run(async {
        let world = World::new(vec![original_dst()]);
        let shared = Arc::clone(world.set.borrow().get("c").unwrap());
        let resolver = Rc::new(SystemResolver::new());
        drop(Followed::new(&world.set, &world.worker, resolver, Rc::new(NoSources)).start());
        let cluster = world.cluster();
        assert!(pick(&cluster, None).is_none());
        let first = pick(&cluster, Some(&to(1))).unwrap();
        assert_eq!(
            (first.address().to_string().as_str(), &**first.hostname()),
            ("10.0.0.1:1", "c10.0.0.1:1")
        );
        assert!(Rc::ptr_eq(&first, &pick(&cluster, Some(&to(1))).unwrap()));
        assert!(!Rc::ptr_eq(&first, &pick(&cluster, Some(&to(2))).unwrap()));
        settle().await;
        let listed = || shared.hosts().hosts().count();
        assert_eq!((listed(), cluster.with_hosts(|set| set.hosts().count())), (2, 2));
        assert_eq!(shared.main_stats().membership_total.value(), 2);

        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(listed(), 2);
        pick(&cluster, Some(&to(2))).unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        settle().await;
        assert_eq!(listed(), 1);
        assert!(!Rc::ptr_eq(&first, &pick(&cluster, Some(&to(1))).unwrap()));
    });
}

fn member(name: &str, port: u16, health: HealthFlags) -> ClusterConfig {
    let mut config = cluster(&[]);
    config.name = name.into();
    config.observability_name = name.into();
    config.discovery.endpoints = vec![locality(0, None, vec![host(port, 1, health)])];
    config
}

#[test]
fn an_aggregate_follows_the_health_of_its_members() {
    run(async {
        let mut config = ClusterConfig::new("c");
        config.discovery.source = HostSource::Aggregate(["a".into(), "missing".into(), "b".into()].into());
        config.lb.policy = LbPolicy::ClusterProvided;
        let well = HealthFlags::default();
        let world = World::new(vec![config, member("a", 1, well), member("b", 2, well)]);
        let cluster = world.cluster();
        let port = || pick(&cluster, None).and_then(|h| h.address().port());
        assert_eq!(port(), Some(1));
        let host = pick(&cluster, None).unwrap();
        assert_eq!((cluster.priority_of(&host), cluster.counts().len()), (Some(0), 2));

        let a = Arc::clone(world.set.borrow().get("a").unwrap());
        a.hosts().hosts().for_each(|h| h.set_health(HealthFlags::FAILED_ACTIVE_HC, true));
        world.set.borrow_mut().health_changed(&a);
        settle().await;
        assert_eq!(port(), Some(2));
        world.set.borrow_mut().remove("b");
        settle().await;
        // The one that is left is in panic.
        assert_eq!((port(), cluster.counts().len()), (Some(1), 1));
        world.set.borrow_mut().remove("a");
        settle().await;
        assert_eq!((port(), cluster.stats().upstream_cx_none_healthy.value()), (None, 1));
    });
}
