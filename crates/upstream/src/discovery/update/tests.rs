use super::*;
use crate::testing::{World, checks, cluster, host, locality, run};

/// A cluster with hosts at these ports, as the main thread has it.
fn world(ports: &[u16]) -> (World, Arc<ClusterShared>) {
    let world = World::new(vec![cluster(ports)]);
    let shared = Arc::clone(world.set.borrow().get("c").unwrap());
    (world, shared)
}

fn named(ports: &[u16]) -> Named {
    cluster(ports).discovery
}

#[test]
fn equal_endpoints_change_nothing_in_whatever_order_and_number() {
    run(async {
        let (_world, shared) = world(&[1, 2]);
        for ports in [&[1, 2][..], &[2, 1], &[1, 2, 1]] {
            assert!(merge(&shared, &named(ports)).is_none(), "{ports:?}");
        }
        let mut heavier = named(&[1, 2]);
        heavier.overprovisioning_factor = 150;
        assert_eq!(merge(&shared, &heavier).unwrap().memberships, 0);
    });
}

#[test]
fn a_host_stays_itself_while_all_but_its_address_and_locality_changes() {
    run(async {
        let (_world, shared) = world(&[1, 2]);
        let before: Vec<_> = shared.hosts().hosts().map(Arc::clone).collect();
        let mut new = named(&[1, 2]);
        let spec = &mut new.endpoints[0].hosts[0];
        (spec.weight, spec.health) = (7, HealthFlags::FAILED_EDS_HEALTH);
        spec.metadata = Some(Arc::default());
        let Change { snapshot, memberships } = merge(&shared, &new).unwrap();
        let after: Vec<_> = snapshot.hosts().collect();
        assert!(memberships == 0 && Arc::ptr_eq(&before[0], after[0]));
        assert_eq!((after[0].weight(), after[0].health_flags()), (7, HealthFlags::FAILED_EDS_HEALTH));
        assert!(after[0].metadata().is_some());
        new.endpoints[0].hosts[1].locality =
            Arc::new(crate::host::Locality { zone: "z".into(), ..Default::default() });
        let Change { snapshot, memberships } = merge(&shared, &new).unwrap();
        assert!(memberships == 1 && !snapshot.hosts().any(|h| Arc::ptr_eq(h, &before[1])));
    });
}

#[test]
fn a_host_that_moves_to_another_priority_stays_itself() {
    run(async {
        let (_world, shared) = world(&[1]);
        let before = shared.hosts().hosts().next().map(Arc::clone).unwrap();
        let mut spec = host(1, 1, HealthFlags::default());
        spec.priority = 1;
        let new = Named { endpoints: vec![locality(1, None, vec![spec])], ..Named::default() };
        let Change { snapshot, memberships } = merge(&shared, &new).unwrap();
        let hosts: Vec<_> = snapshot.hosts().collect();
        assert!(memberships == 2 && hosts.len() == 1 && Arc::ptr_eq(hosts[0], &before));
        assert_eq!(before.priority(), 1);
    });
}

#[test]
fn a_checked_host_that_is_well_stays_until_its_checks_fail() {
    run(async {
        let mut config = cluster(&[1, 2]);
        config.health_checks = Box::new([checks(1, 1)]);
        let world = World::new(vec![config.clone()]);
        let shared = Arc::clone(world.set.borrow().get("c").unwrap());
        shared.hosts().hosts().for_each(|h| h.set_health(HealthFlags::FAILED_ACTIVE_HC, false));
        assert!(merge(&shared, &named(&[1])).is_none());
        let leaving = shared.hosts().hosts().nth(1).map(Arc::clone).unwrap();
        assert!(leaving.health_flags().contains(HealthFlags::PENDING_DYNAMIC_REMOVAL));
        assert!(without_failed(&shared.hosts()).is_none());
        leaving.set_health(HealthFlags::FAILED_ACTIVE_HC, true);
        assert_eq!(without_failed(&shared.hosts()).unwrap().hosts().count(), 1);
        leaving.set_health(HealthFlags::FAILED_ACTIVE_HC, false);
        assert!(merge(&shared, &named(&[1, 2])).is_none());
        assert!(!leaving.health_flags().contains(HealthFlags::PENDING_DYNAMIC_REMOVAL));
        config.turnover.goes_at_once = true;
        assert!(!stays(&config, &leaving));
    });
}
