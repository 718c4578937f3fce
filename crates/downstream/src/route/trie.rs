//! A flat radix tree over bytes: the literal parts of hosts and paths, walked once per request.

/// No value at a node.
const NONE: u32 = u32::MAX;

/// One node: the bytes that lead to it, its children by their first byte, and what ends here.
#[derive(Clone, Copy, Debug)]
struct Node {
    label_at: u32,
    label_len: u32,
    kids_at: u32,
    kids_len: u32,
    value: u32,
    /// The least rank of any value in this subtree: a walk that has a better one need not enter.
    least: u32,
}

/// A compiled radix tree from byte strings to small numbers. A look-up costs the length of the key and does
/// not grow with the number of entries; it allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Box<[Node]>,
    labels: Box<[u8]>,
    kid_bytes: Box<[u8]>,
    kid_nodes: Box<[u32]>,
}

/// How a walk reads the text that it looks up. What is read last to first was put in so, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// From the first byte to the last.
    Forward,
    /// From the last byte to the first.
    Backward,
}

/// Which letters are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// Each byte is itself.
    Exact,
    /// ASCII letters of the text count as lower-case ones; keys are lower-case.
    Folded,
}

impl Trie {
    /// Whether it holds no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Visits, shortest first, every entry whose key begins `text` (ends it, when read backward):
    /// `visit(value, bytes consumed)` answers the rank from which on further entries are of no interest
    /// (`u32::MAX`: all are), as `bound` does at the start.
    #[inline]
    pub(super) fn walk(
        &self,
        text: &[u8],
        order: Order,
        case: Case,
        bound: u32,
        mut visit: impl FnMut(u32, usize) -> u32,
    ) {
        let mut bound = bound;
        let mut rest = text;
        let mut next = self.nodes.first();
        while let Some(node) = next {
            if node.least >= bound {
                return;
            }
            let label = self.label(node);
            let Some((begin, behind)) = split(rest, label.len(), order) else { return };
            let same = match case {
                Case::Exact => begin == label,
                Case::Folded => begin.eq_ignore_ascii_case(label),
            };
            if !same {
                return;
            }
            rest = behind;
            if node.value != NONE {
                bound = visit(node.value, text.len() - rest.len());
            }
            let byte = match order {
                Order::Forward => rest.first(),
                Order::Backward => rest.last(),
            };
            next = byte
                .and_then(|&b| self.kid(node, if case == Case::Folded { b.to_ascii_lowercase() } else { b }));
        }
    }

    /// Visits every entry with its key as `order` reads it; in no promised order.
    pub(super) fn each(&self, order: Order, mut visit: impl FnMut(&[u8], u32)) {
        let mut left: Vec<(u32, Vec<u8>)> = vec![(0, Vec::new())];
        while let Some((id, before)) = left.pop() {
            let Some(node) = self.nodes.get(id as usize) else { continue };
            let key = match order {
                Order::Forward => [&before, self.label(node)].concat(),
                Order::Backward => [self.label(node), &before].concat(),
            };
            if node.value != NONE {
                visit(&key, node.value);
            }
            let (at, len) = (node.kids_at as usize, node.kids_len as usize);
            let kids = self.kid_nodes.get(at..at + len).unwrap_or_default();
            left.extend(kids.iter().map(|kid| (*kid, key.clone())));
        }
    }

    #[inline]
    fn label(&self, node: &Node) -> &[u8] {
        let at = node.label_at as usize;
        self.labels.get(at..at + node.label_len as usize).unwrap_or_default()
    }

    #[inline]
    fn kid(&self, node: &Node, first: u8) -> Option<&Node> {
        let (at, len) = (node.kids_at as usize, node.kids_len as usize);
        let bytes = self.kid_bytes.get(at..at + len)?;
        // Neighbours in the alphabet (digits, say) stand as many places apart as their bytes.
        let guess = usize::from(first.wrapping_sub(*bytes.first()?));
        let found = match bytes.get(guess) {
            Some(&b) if b == first => guess,
            _ => bytes.binary_search(&first).ok()?,
        };
        let id = *self.kid_nodes.get(at + found)?;
        self.nodes.get(id as usize)
    }
}

/// The next `len` bytes in reading order, and what is left.
#[inline]
fn split(text: &[u8], len: usize, order: Order) -> Option<(&[u8], &[u8])> {
    match order {
        Order::Forward => text.split_at_checked(len),
        Order::Backward => {
            let (left, read) = text.split_at_checked(text.len().checked_sub(len)?)?;
            Some((read, left))
        }
    }
}

/// A [`Trie`] while it grows.
#[derive(Debug, Default)]
pub(super) struct TrieBuilder {
    nodes: Vec<Growing>,
}

#[derive(Debug)]
struct Growing {
    label: Box<[u8]>,
    kids: Vec<(u8, u32)>,
    value: u32,
    least: u32,
}

impl TrieBuilder {
    /// The value at `key`; where there is none yet, `make` says it. `rank` bounds walks: see [`Trie::walk`].
    pub(super) fn entry(&mut self, key: &[u8], rank: u32, make: impl FnOnce() -> u32) -> u32 {
        if self.nodes.is_empty() {
            self.nodes.push(Growing { label: Box::default(), kids: Vec::new(), value: NONE, least: rank });
        }
        let (mut id, mut rest) = (0, key);
        loop {
            let Some(node) = self.nodes.get_mut(id) else { return NONE };
            node.least = node.least.min(rank);
            let Some(&first) = rest.first() else {
                if node.value == NONE {
                    node.value = make();
                }
                return node.value;
            };
            match node.kids.binary_search_by_key(&first, |k| k.0) {
                Ok(at) => {
                    let kid = node.kids.get(at).map_or(0, |k| k.1 as usize);
                    rest = rest.get(self.split(kid, rest)..).unwrap_or_default();
                    id = kid;
                }
                Err(at) => {
                    let kid = self.nodes.len();
                    if let Some(node) = self.nodes.get_mut(id) {
                        node.kids.insert(at, (first, kid as u32));
                    }
                    self.nodes.push(Growing {
                        label: rest.into(),
                        kids: Vec::new(),
                        value: NONE,
                        least: rank,
                    });
                    (id, rest) = (kid, &[]);
                }
            }
        }
    }

    /// Makes node `id` end where its label and `text` part, its tail a child of its own; answers how many
    /// bytes they share.
    fn split(&mut self, id: usize, text: &[u8]) -> usize {
        let tail_id = self.nodes.len() as u32;
        let Some(node) = self.nodes.get_mut(id) else { return 0 };
        let shared = node.label.iter().zip(text).take_while(|(a, b)| a == b).count();
        let (Some(head), Some(tail)) = (node.label.get(..shared), node.label.get(shared..)) else { return 0 };
        let Some(&first) = tail.first() else { return shared };
        let (head, tail): (Box<[u8]>, Box<[u8]>) = (head.into(), tail.into());
        let kids = std::mem::replace(&mut node.kids, vec![(first, tail_id)]);
        let tail = Growing { label: tail, kids, value: node.value, least: node.least };
        node.label = head;
        node.value = NONE;
        self.nodes.push(tail);
        shared
    }

    /// The flat tree, for walks in `order`. Keys of backward walks were put in last byte first.
    pub(super) fn freeze(self, order: Order) -> Trie {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let (mut labels, mut kid_bytes, mut kid_nodes) = (Vec::new(), Vec::new(), Vec::new());
        for Growing { label, kids, value, least } in self.nodes {
            nodes.push(Node {
                label_at: labels.len() as u32,
                label_len: label.len() as u32,
                kids_at: kid_bytes.len() as u32,
                kids_len: kids.len() as u32,
                value,
                least,
            });
            match order {
                Order::Forward => labels.extend_from_slice(&label),
                Order::Backward => labels.extend(label.iter().rev()),
            }
            kid_bytes.extend(kids.iter().map(|k| k.0));
            kid_nodes.extend(kids.iter().map(|k| k.1));
        }
        Trie {
            nodes: nodes.into(),
            labels: labels.into(),
            kid_bytes: kid_bytes.into(),
            kid_nodes: kid_nodes.into(),
        }
    }
}
