//! How the sender of a message spelled its header names, for those who want it told on
//! (`envoy.http.stateful_header_formatters.preserve_case`).

/// What is kept of a message besides its headers' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PreserveCase {
    /// `forward_reason_phrase`: a response's reason phrase goes on too.
    pub reason_phrase: bool,
    /// `formatter_type_on_envoy_headers`: names that the sender did not send get capitals.
    pub proper_case: bool,
}

/// The spelling of one message's header names. It outlives changes to the headers: a name that comes again is
/// spelled as its sender did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spelling {
    /// The names, each followed by LF. Of two that differ in case only, the first counts.
    names: Box<[u8]>,
    reason: Option<Box<[u8]>>,
    proper_case: bool,
}

impl Spelling {
    /// The spelling of the field lines in `block`, each with its line end. `reason`: of a response.
    pub fn of(block: &[u8], reason: &[u8], keep: PreserveCase) -> Self {
        let mut names = Vec::new();
        for line in block.split_inclusive(|b| *b == b'\n') {
            // A line that begins with a blank continues the one before.
            if let Some(end) = line.iter().position(|b| *b == b':')
                && !matches!(line.first(), Some(b' ' | b'\t'))
                && let Some(name) = line.get(..end)
            {
                names.extend_from_slice(name);
                names.push(b'\n');
            }
        }
        Self {
            names: names.into(),
            reason: keep.reason_phrase.then(|| reason.into()),
            proper_case: keep.proper_case,
        }
    }

    /// The reason phrase, where it goes on.
    pub fn reason(&self) -> Option<&[u8]> {
        self.reason.as_deref()
    }

    /// Gives the lower-case names of `lines`, which are whole field lines, the sender's spelling.
    pub fn apply(&self, lines: &mut [u8]) {
        for line in lines.split_inclusive_mut(|b| *b == b'\n') {
            let Some(end) = line.iter().position(|b| *b == b':') else { continue };
            let Some(name) = line.get_mut(..end) else { continue };
            match self.names.split(|b| *b == b'\n').find(|sent| sent.eq_ignore_ascii_case(name)) {
                Some(sent) => name.copy_from_slice(sent),
                None if self.proper_case => proper_case(name),
                None => {}
            }
        }
    }
}

/// Gives a name a capital at its beginning and after every character that is neither letter nor digit.
pub fn proper_case(name: &mut [u8]) {
    let mut start = true;
    for byte in name {
        if start {
            byte.make_ascii_uppercase();
        }
        start = !byte.is_ascii_alphanumeric();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_they_were_sent_and_others_as_configured() {
        let block = b"X-Dup: a:B\r\nx-dUP: 2\r\nUPPER: Folded\r\n  Not-A: name\r\n";
        for (proper, others) in [(false, "not-a: 1\r\n"), (true, "Not-A: 1\r\n")] {
            let keep = PreserveCase { reason_phrase: false, proper_case: proper };
            let spelling = Spelling::of(block, b"Fine", keep);
            let mut lines = b"x-dup: 1\r\nx-dup: x: y\r\nupper: 3\r\nnot-a: 1\r\n".to_vec();
            spelling.apply(&mut lines);
            let want = format!("X-Dup: 1\r\nX-Dup: x: y\r\nUPPER: 3\r\n{others}");
            assert_eq!(String::from_utf8(lines).unwrap(), want);
            assert_eq!(spelling.reason(), None);
        }
        let keep = PreserveCase { reason_phrase: true, proper_case: false };
        assert_eq!(Spelling::of(block, b"Fine", keep).reason(), Some(&b"Fine"[..]));
    }
}
