//! Peers with several addresses (RFC 8305, "Happy Eyeballs"): in which order they are tried, and which try wins.

use nuncio_core::address::Address;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::sleep;

/// How long a try goes on alone (RFC 8305 section 5, "Connection Attempt Delay"; Envoy's figure).
const BETWEEN: Duration = Duration::from_millis(300);

/// Families of addresses (`FirstAddressFamilyVersion`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// `V4`
    V4,
    /// `V6`
    V6,
    /// `PIPE`
    Pipe,
    /// `INTERNAL`: no peer has such an address.
    Internal,
}

impl AddressFamily {
    fn of(address: &Address) -> Self {
        match address {
            Address::Ip(SocketAddr::V4(_)) => Self::V4,
            Address::Ip(SocketAddr::V6(_)) => Self::V6,
            Address::Pipe(_) => Self::Pipe,
            Address::Internal(_) => Self::Internal,
        }
    }
}

/// The order in which addresses are tried (`happy_eyeballs_config`).
#[derive(Clone, Copy, Debug)]
pub struct HappyEyeballs {
    /// `first_address_family_version`; none: that of the first address.
    pub first: Option<AddressFamily>,
    /// `first_address_family_count`, from 1: so many of the first family before each of the others.
    pub count: u32,
}

impl Default for HappyEyeballs {
    fn default() -> Self {
        Self { first: None, count: 1 }
    }
}

impl HappyEyeballs {
    /// The addresses in the order in which they are to be tried (RFC 8305 section 4).
    pub fn order(self, addresses: &[Address]) -> Vec<Address> {
        let Some(family) = self.first.or(addresses.first().map(AddressFamily::of)) else { return Vec::new() };
        let is_first = |address: &&Address| AddressFamily::of(address) == family;
        let mut first = addresses.iter().filter(is_first).peekable();
        let mut others = addresses.iter().filter(|address| !is_first(address));
        let mut ordered = Vec::with_capacity(addresses.len());
        while ordered.len() < addresses.len() {
            ordered.extend(first.by_ref().take(self.count.max(1) as usize).cloned());
            ordered.extend(others.next().cloned());
        }
        ordered
    }
}

/// The first of several tries that succeeds. One begins after the other: when none under way has come to an end for
/// 300 ms, or as soon as one has failed. The others are dropped then.
///
/// # Errors
/// All have failed: why the last one to end did.
pub async fn race<T, E, F: Future<Output = Result<T, E>>>(
    first: F,
    mut others: impl Iterator<Item = F>,
) -> Result<T, E> {
    let mut running = vec![Box::pin(first)];
    let mut more = true;
    loop {
        tokio::select! {
            ended = next_end(&mut running) => match ended {
                Ok(won) => return Ok(won),
                Err(error) if running.is_empty() && !more => return Err(error),
                Err(error) => match others.next() {
                    Some(other) => running.push(Box::pin(other)),
                    None if running.is_empty() => return Err(error),
                    None => more = false,
                },
            },
            () = sleep(BETWEEN), if more => match others.next() {
                Some(other) => running.push(Box::pin(other)),
                None => more = false,
            },
        }
    }
}

/// What the next of these to end comes to; it is taken out.
async fn next_end<F: Future>(running: &mut Vec<Pin<Box<F>>>) -> F::Output {
    std::future::poll_fn(|cx| {
        for at in 0..running.len() {
            let Some(attempt) = running.get_mut(at) else { break };
            if let Poll::Ready(output) = attempt.as_mut().poll(cx) {
                drop(running.swap_remove(at));
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use tokio::time::Instant;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        let one = |text: &&str| text.parse().map_or_else(|_| Address::Pipe((*text).into()), Address::Ip);
        texts.iter().map(one).collect()
    }

    #[test]
    fn families_take_turns_and_the_first_may_have_more() {
        let order = |first, count, texts: &[&str]| {
            let ordered = HappyEyeballs { first, count }.order(&addresses(texts));
            ordered.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (a, b, c, d) = ("127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1", "[::1]:1");
        assert_eq!(order(None, 1, &[a, b, d, c]), [a, d, b, c]);
        assert_eq!(order(None, 2, &[a, b, c, d]), [a, b, d, c]);
        assert_eq!(order(Some(AddressFamily::V6), 1, &[a, b, d]), [d, a, b]);
        assert_eq!(order(Some(AddressFamily::Internal), 1, &[a, d, "/p"]), [a, d, "/p"]);
        assert_eq!(order(Some(AddressFamily::Pipe), 1, &[a, "/p"]), ["/p", a]);
        assert!(order(None, 1, &[]).is_empty());
    }

    /// Runs tries that take so many milliseconds and then succeed or fail; the outcome, and when which one began.
    fn run(tries: &[(u64, bool)]) -> (Result<usize, usize>, u64, Vec<u64>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (start, begun) = (Instant::now(), RefCell::default());
            let since = || start.elapsed().as_millis() as u64;
            let attempt = |at: usize| {
                let (begun, (ms, good)) = (&begun, tries[at]);
                async move {
                    RefCell::<Vec<u64>>::borrow_mut(begun).push(since());
                    sleep(Duration::from_millis(ms)).await;
                    if good { Ok(at) } else { Err(at) }
                }
            };
            let outcome = race(attempt(0), (1..tries.len()).map(attempt)).await;
            (outcome, since(), begun.borrow().clone())
        })
    }

    #[test]
    fn the_first_success_counts_and_failures_hurry_the_next_try() {
        assert_eq!(run(&[(100, true), (0, true)]), (Ok(0), 100, vec![0]));
        assert_eq!(run(&[(1000, true), (50, true)]), (Ok(1), 350, vec![0, 300]));
        assert_eq!(run(&[(50, false), (70, true)]), (Ok(1), 120, vec![0, 50]));
        assert_eq!(run(&[(5000, true), (20, false), (5000, true), (10, true)]).0, Ok(3));
        assert_eq!(run(&[(5000, true), (20, false), (5000, true), (10, true)]).2, [0, 300, 320, 620]);
        assert_eq!(run(&[(700, false), (10, false)]), (Err(0), 700, vec![0, 300]));
        assert_eq!(run(&[(10, false), (10, false)]), (Err(1), 20, vec![0, 10]));
        assert_eq!(run(&[(10, false)]), (Err(0), 10, vec![0]));
    }
}
