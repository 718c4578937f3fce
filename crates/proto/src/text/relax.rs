//! Indentation within brackets and quotes, where yaml-cpp asks for none and our parser does.
//!
//! A line that continues a flow collection or a quoted scalar may begin anywhere for yaml-cpp. Here such lines are
//! moved right until the parser takes them; blanks at their beginning mean nothing. Only a text that failed comes
//! here, so that all others keep their columns.

/// The text with the lines moved; `None` where there is none to move.
pub(super) fn relax(text: &str) -> Option<String> {
    let mut scan =
        Scan { out: String::with_capacity(text.len()), inside: None, depth: 0, quote: None, moved: false };
    let mut block: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        if let Some(indent) = block {
            let content = line.trim_start_matches(' ');
            if content.trim().is_empty() || line.len() - content.len() > indent {
                scan.out.push_str(line);
                continue;
            }
            block = None;
        }
        let line = scan.indent(line);
        scan.line(line);
        if scan.inside.is_none() {
            block = block_scalar(line);
        }
    }
    scan.moved.then_some(scan.out)
}

struct Scan {
    out: String,
    /// The column of the outermost bracket or quote that is open.
    inside: Option<usize>,
    depth: usize,
    quote: Option<char>,
    moved: bool,
}

impl Scan {
    /// Writes the blanks in front of a line and returns the rest of it.
    fn indent<'l>(&mut self, line: &'l str) -> &'l str {
        let Some(column) = self.inside else { return line };
        let rest = line.trim_start_matches([' ', '\t']);
        let blanks = line.get(..line.len() - rest.len()).unwrap_or_default();
        if rest.trim().is_empty() || blanks.len() > column && !blanks.contains('\t') {
            return line;
        }
        self.out.extend(std::iter::repeat_n(' ', column + 1));
        self.moved = true;
        rest
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        let mut characters = line.char_indices().peekable();
        // The last character that is no blank, and whether a blank came since.
        let (mut last, mut blank) = (None, true);
        while let Some((at, c)) = characters.next() {
            if let Some(quote) = self.quote {
                match c {
                    '\\' if quote == '"' => drop(characters.next()),
                    _ if c == quote
                        && quote == '\''
                        && characters.peek().is_some_and(|(_, next)| *next == '\'') =>
                    {
                        characters.next();
                    }
                    _ if c == quote => {
                        self.quote = None;
                        self.leave();
                    }
                    _ => {}
                }
                (last, blank) = (Some(c), false);
                continue;
            }
            let starts = self.depth > 0 && matches!(last, Some(',' | '[' | '{' | ':') | None)
                || blank && matches!(last, Some(':' | '-' | '?') | None);
            match c {
                '#' if blank => return,
                '"' | '\'' if starts => {
                    self.quote = Some(c);
                    self.inside.get_or_insert(at);
                }
                '[' | '{' if self.depth > 0 || starts => {
                    self.depth += 1;
                    self.inside.get_or_insert(at);
                }
                ']' | '}' if self.depth > 0 => {
                    self.depth -= 1;
                    self.leave();
                }
                _ => {}
            }
            blank = c.is_whitespace();
            if !blank {
                last = Some(c);
            }
        }
    }

    fn leave(&mut self) {
        if self.depth == 0 {
            self.inside = None;
        }
    }
}

/// The indentation that the content of a block scalar goes beyond, if the line ends in `|` or `>`.
fn block_scalar(line: &str) -> Option<usize> {
    let text = line.split(" #").next().unwrap_or(line).trim_end();
    let header = text.rsplit([' ', '\t']).next()?;
    let indicators = header.strip_prefix(['|', '>'])?;
    if !indicators.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | '-')) {
        return None;
    }
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(' ');
        match rest.strip_prefix("- ") {
            Some(behind) if !behind.trim_start().starts_with(['|', '>']) => rest = behind,
            _ => return Some(text.len() - rest.len()),
        }
    }
}

#[cfg(test)]
mod tests;
