use super::*;
use crate::discovery::DnsConfig;
use crate::lb::LbPolicy;

fn parent(most: usize) -> ClusterConfig {
    let mut config = ClusterConfig::new("p");
    config.discovery.source = HostSource::SubClusters(Box::new(SubClustersConfig {
        policy: PolicyName::Random,
        lb: Some(LbConfig { policy: LbPolicy::Random, ..LbConfig::default() }),
        most,
        ttl: Duration::from_secs(1),
        source: HostSource::StrictDns(DnsConfig::default()),
        insecure: false,
    }));
    config
}

#[test]
fn names_keep_their_case_and_lose_their_brackets() {
    for (key, cluster, port) in [
        ("a.example:80", "DFPCluster:a.example:80", 80),
        ("A.example:81", "DFPCluster:A.example:81", 81),
        ("[::1]:443", "DFPCluster:::1:443", 443),
        ("localhost::80", "DFPCluster:localhost::80", 80),
    ] {
        let of = SubCluster::of(key);
        assert_eq!((&*of.cluster, of.port), (cluster, port));
    }
}

#[test]
fn a_sub_cluster_is_its_parent_with_one_name_to_look_up() {
    let mut parent = parent(1);
    parent.per_connection_buffer_limit = 7;
    let at = SystemTime::UNIX_EPOCH;
    let made = parent.sub_cluster(SubCluster::of("a.example:81"), at).unwrap();
    assert_eq!(&*made.name, "DFPCluster:a.example:81");
    assert_eq!(made.observability_name, made.name);
    assert_eq!(made.per_connection_buffer_limit, 7);
    assert!(matches!(made.lb.policy, LbPolicy::Random));
    let name = made.discovery.endpoints.first().and_then(|e| e.names.first()).unwrap();
    assert_eq!((&*name.name, name.port, &*name.spec.hostname), ("a.example", 81, "a.example"));
    assert_eq!(&*made.made.as_ref().unwrap().parent, "p");
    // It has none of its own.
    assert!(made.sub_cluster(SubCluster::of("b:1"), at).is_none());
}

#[test]
fn no_more_than_may_be_and_only_as_long_as_somebody_wants_them() {
    let HostSource::SubClusters(config) = parent(1).discovery.source else { panic!("no parent") };
    let subs = SubClusters::new(&config);
    let mut told = subs.line().listen().unwrap();
    let (a, b) = (SubCluster::of("a:1"), SubCluster::of("b:1"));
    assert_eq!(subs.want(&a), Ok(()));
    assert_eq!(subs.want(&a), Ok(()));
    assert_eq!(subs.want(&b), Err(TooMany));
    assert!(matches!(told.try_recv(), Ok(Wish::For(to)) if to == a));
    assert!(told.try_recv().is_err());
    assert!(subs.sweep().is_empty());
    assert_eq!(subs.sweep(), [Arc::clone(&a.cluster)]);
    assert_eq!(subs.want(&b), Ok(()));
    assert_eq!(subs.all(), [b.cluster]);
}
