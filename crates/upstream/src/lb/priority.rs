//! How load spreads over priorities as health falls: Envoy's integer arithmetic.

/// Hosts by their health, counted or weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Healthy ones.
    pub healthy: u64,
    /// Degraded ones.
    pub degraded: u64,
    /// All but the excluded.
    pub total: u64,
}

/// The hosts of one priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Their numbers, by which there is panic.
    pub numbers: Tally,
    /// What loads go by: numbers, or weights where `weighted_priority_health` says so.
    pub shares: Tally,
    /// All of them.
    pub hosts: u64,
    /// The `overprovisioning_factor` of their cluster, in percent.
    pub factor: u32,
}

impl Counts {
    /// No hosts, of a cluster with this `overprovisioning_factor`.
    pub fn none(factor: u32) -> Self {
        Self { factor, ..Self::default() }
    }

    /// Whether so few hosts can be used that health no longer counts. `threshold`: in percent.
    pub(super) fn in_panic(&self, threshold: u64) -> bool {
        let Tally { healthy, degraded, total } = self.numbers;
        let share = |n: u64| if total == 0 { 0.0 } else { 100.0 * n as f64 / total as f64 };
        share(healthy) + share(degraded) < threshold as f64
    }

    /// The share of the load that healthy hosts can take, in percent.
    fn healthy_share(&self) -> u32 {
        availability(self.shares.healthy, self.shares.total, self.factor)
    }

    /// The share that degraded ones can take.
    fn degraded_share(&self) -> u32 {
        availability(self.shares.degraded, self.shares.total, self.factor)
    }
}

/// What share of the load each priority gets, in percent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// For healthy hosts, by priority.
    pub healthy: Vec<u32>,
    /// For degraded hosts, by priority.
    pub degraded: Vec<u32>,
    /// Whether the priority sends to all of its hosts, whatever their health.
    pub panic: Vec<bool>,
    /// The priorities that shall get none, where they were worked out without some.
    excluded: Box<[bool]>,
}

/// A priority that was chosen, and which of its hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The priority.
    pub priority: usize,
    /// Its degraded hosts, not its healthy ones.
    pub degraded: bool,
}

/// Share of usable hosts, `factor` percent of which count as all.
fn availability(usable: u64, total: u64, factor: u32) -> u32 {
    let share = (u64::from(factor) * usable).checked_div(total).unwrap_or(0);
    share.min(100) as u32
}

impl Loads {
    /// The loads for `counts` by priority. `threshold`: of panic, in percent.
    pub fn compute(counts: &[Counts], threshold: u32) -> Self {
        let healthy: Vec<u32> = counts.iter().map(Counts::healthy_share).collect();
        let degraded: Vec<u32> = counts.iter().map(Counts::degraded_share).collect();
        let available = healthy.iter().chain(&degraded).sum::<u32>().min(100);
        let mut loads = Self {
            healthy: vec![0; counts.len()],
            degraded: vec![0; counts.len()],
            panic: vec![false; counts.len()],
            excluded: Box::default(),
        };
        if available > 0 {
            loads.spread(&healthy, &degraded, available);
        }
        if available < 100 {
            for (panic, c) in loads.panic.iter_mut().zip(counts) {
                *panic = c.in_panic(threshold.into());
            }
        }
        if loads.panic.iter().all(|p| *p) {
            loads.spread_in_total_panic(counts);
        } else if available == 0
            && let Some(first) = loads.healthy.first_mut()
        {
            // Nothing is available and not all priorities are in panic: the first one says so (UH).
            *first = 100;
        }
        loads
    }

    /// All load goes to one priority of so many.
    pub(crate) fn only(choice: Choice, priorities: usize) -> Self {
        let none = vec![0; priorities];
        let panic = vec![false; priorities];
        let mut loads = Self { healthy: none.clone(), degraded: none, panic, excluded: Box::default() };
        let list = if choice.degraded { &mut loads.degraded } else { &mut loads.healthy };
        if let Some(load) = list.get_mut(choice.priority) {
            *load = 100;
        }
        loads
    }

    /// The loads where none goes to the priorities that `excluded` marks; `None` where nothing is left.
    pub fn without(counts: &[Counts], excluded: &[bool]) -> Option<Self> {
        let share = |of: fn(&Counts) -> u32| -> Vec<u32> {
            let marks = excluded.iter().chain(std::iter::repeat(&false));
            counts.iter().zip(marks).map(|(c, out)| if *out { 0 } else { of(c) }).collect()
        };
        let (healthy, degraded) = (share(Counts::healthy_share), share(Counts::degraded_share));
        let available = healthy.iter().chain(&degraded).sum::<u32>().min(100);
        let none = vec![0; counts.len()];
        let panic = vec![false; counts.len()];
        let mut loads = Self { healthy: none.clone(), degraded: none, panic, excluded: excluded.into() };
        (available > 0).then(|| {
            loads.spread(&healthy, &degraded, available);
            loads
        })
    }

    /// What they come to for others of the same priorities, as those of a subset are: without those that were excluded,
    /// or with all where nothing is left.
    pub(super) fn among(&self, counts: &[Counts]) -> Option<Self> {
        if self.excluded.is_empty() {
            return Some(self.clone());
        }
        Self::without(counts, &self.excluded).or_else(|| Self::without(counts, &[]))
    }

    fn spread(&mut self, healthy: &[u32], degraded: &[u32], available: u32) {
        let mut left = 100;
        let parts = self.healthy.iter_mut().zip(healthy).chain(self.degraded.iter_mut().zip(degraded));
        for (load, share) in parts {
            *load = left.min(share * 100 / available);
            left -= *load;
        }
        if left > 0 {
            let of = |loads: &mut Vec<u32>, shares: &[u32]| {
                let at = shares.iter().position(|s| *s > 0)?;
                loads.get_mut(at).map(|load| *load += left)
            };
            if of(&mut self.healthy, healthy).is_none() {
                of(&mut self.degraded, degraded);
            }
        }
    }

    /// Every priority is in panic: each gets load by the number of its hosts.
    fn spread_in_total_panic(&mut self, counts: &[Counts]) {
        let total: u64 = counts.iter().map(|c| c.hosts).sum();
        let mut left = 100;
        for (load, c) in self.healthy.iter_mut().zip(counts) {
            *load = (100 * c.hosts).checked_div(total).unwrap_or(0) as u32;
            left -= *load;
        }
        self.degraded.fill(0);
        // Without any host the first one says that there is none.
        let at = counts.iter().position(|c| c.hosts > 0).unwrap_or(0);
        if let Some(load) = self.healthy.get_mut(at) {
            *load += left;
        }
    }

    /// The priority for a number by chance (or a request's hash).
    pub fn choose(&self, random: u64) -> Option<Choice> {
        let wanted = (random % 100) as u32 + 1;
        let mut sum = 0;
        let healthy = self.healthy.iter().enumerate().map(|(p, load)| (p, false, load));
        let degraded = self.degraded.iter().enumerate().map(|(p, load)| (p, true, load));
        for (priority, degraded, load) in healthy.chain(degraded) {
            sum += load;
            if sum >= wanted {
                return Some(Choice { priority, degraded });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(healthy: u64, degraded: u64, total: u64) -> Counts {
        let tally = Tally { healthy, degraded, total };
        Counts { numbers: tally, shares: tally, hosts: total, factor: 140 }
    }

    #[test]
    fn loads_are_envoys() {
        type Row = (&'static [(u64, u64, u64)], u32, u32, &'static [u32], &'static [u32], &'static [bool]);
        let rows: &[Row] = &[
            // All healthy: the first takes it all.
            (&[(2, 0, 2), (1, 0, 1)], 140, 50, &[100, 0], &[0, 0], &[false, false]),
            // 72 % of hosts are enough with the usual factor.
            (&[(3, 0, 4), (2, 0, 2)], 140, 50, &[100, 0], &[0, 0], &[false, false]),
            (&[(1, 0, 2), (2, 0, 2)], 140, 50, &[70, 30], &[0, 0], &[false, false]),
            (&[(1, 0, 2), (2, 0, 2)], 200, 50, &[100, 0], &[0, 0], &[false, false]),
            (&[(0, 0, 2), (2, 0, 2)], 140, 50, &[0, 100], &[0, 0], &[false, false]),
            // Degraded hosts come after the healthy ones of all priorities.
            (&[(1, 2, 3), (1, 0, 1)], 140, 50, &[46, 54], &[0, 0], &[false, false]),
            (&[(1, 1, 4)], 100, 50, &[50], &[50], &[false]),
            // Everything is down: panic, by number of hosts.
            (&[(0, 0, 2), (0, 0, 1)], 140, 50, &[67, 33], &[0, 0], &[true, true]),
            (&[(0, 0, 2), (0, 0, 1)], 140, 0, &[100, 0], &[0, 0], &[false, false]),
            // 33 % of 3 hosts are below 40.
            (&[(1, 0, 3)], 140, 40, &[100], &[0], &[true]),
            (&[], 140, 50, &[], &[], &[]),
            // A sixth and two sixths are a half.
            (&[(1, 2, 6)], 140, 50, &[34], &[66], &[false]),
        ];
        for (counts, factor, threshold, healthy, degraded, panic) in rows {
            let of = |(h, d, t): &(u64, u64, u64)| Counts { factor: *factor, ..hosts(*h, *d, *t) };
            let counts: Vec<Counts> = counts.iter().map(of).collect();
            let loads = Loads::compute(&counts, *threshold);
            assert_eq!(
                (&*loads.healthy, &*loads.degraded, &*loads.panic),
                (*healthy, *degraded, *panic),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn excluded_hosts_do_not_count_in_shares() {
        let counts = [Counts { hosts: 4, ..hosts(1, 0, 1) }];
        assert_eq!(Loads::compute(&counts, 50).panic, [false]);
    }

    #[test]
    fn panic_goes_by_numbers_where_loads_go_by_weights() {
        let light = Tally { healthy: 1, degraded: 0, total: 5 };
        let counts = [Counts { shares: light, ..hosts(1, 0, 2) }, hosts(1, 0, 1)];
        let loads = Loads::compute(&counts, 50);
        assert_eq!((loads.healthy, loads.panic), (vec![28, 72], vec![false, false]));
    }

    #[test]
    fn a_subset_has_its_own_loads_without_the_priorities_that_were_tried() {
        let all = [hosts(1, 0, 1), hosts(2, 0, 2), hosts(1, 0, 1)];
        let retry = Loads::without(&all, &[true, false, false]).unwrap();
        let of = |subset: &[Counts]| retry.among(subset).map(|loads| loads.healthy);
        assert_eq!(of(&[hosts(1, 0, 1), hosts(0, 0, 0), hosts(1, 0, 1)]), Some(vec![0, 0, 100]));
        assert_eq!(of(&[hosts(1, 0, 1), hosts(0, 0, 0), hosts(0, 0, 0)]), Some(vec![100, 0, 0]));
        assert_eq!(of(&[hosts(0, 0, 0)]), None);
    }

    #[test]
    fn the_choice_walks_healthy_loads_then_degraded_ones() {
        let (healthy, degraded) = (vec![20, 30], vec![0, 50]);
        let loads = Loads { healthy, degraded, panic: vec![false; 2], ..Loads::default() };
        let at = |random| loads.choose(random).map(|c| (c.priority, c.degraded));
        assert_eq!((at(19), at(20), at(49)), (Some((0, false)), Some((1, false)), Some((1, false))));
        assert_eq!((at(50), at(199)), (Some((1, true)), Some((1, true))));
        assert_eq!(Loads::default().choose(0), None);
    }
}
