//! The nearest of several names, for `did you mean 'x'?`.

/// The candidate that `name` is most likely a slip of: within a third of its length in edits, the first of equals.
pub fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<String> {
    if name.len() > 128 {
        return None;
    }
    let limit = (name.chars().count() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let bound = best.map_or(limit, |(edits, _)| edits.saturating_sub(1));
        if candidate.len().abs_diff(name.len()) > bound {
            continue;
        }
        let edits = distance(&name.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
        if edits <= bound {
            best = Some((edits, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

/// Edits (insert, delete, replace, swap of neighbours) between two names.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&above, j) + usize::from(x != y)).min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_field_and_a_stranger_finds_none() {
        let fields = ["connect_timeout", "circuit_breakers", "name"];
        let near = |name| nearest(name, fields.into_iter());
        assert_eq!(near("conect_timeout").as_deref(), Some("connect_timeout"));
        assert_eq!(near("nmae").as_deref(), Some("name"));
        assert_eq!(near("Name").as_deref(), Some("name"));
        assert_eq!(near("address"), None);
    }
}
