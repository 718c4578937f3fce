//! Loads bootstraps and says what is wrong with each: `cargo run -p nuncio-proto --example check -- [--warn] FILE…`

use nuncio_proto::{Sink, Source, Unsupported, read};

fn main() {
    let mut unsupported = Unsupported::Refuse;
    for name in std::env::args().skip(1) {
        if name == "--warn" {
            unsupported = Unsupported::Warn;
            continue;
        }
        let Ok(bytes) = std::fs::read(&name) else {
            println!("{name}: cannot be read");
            continue;
        };
        let sink = Sink::new(unsupported);
        let loaded = read(&[Source::file(&name, &bytes)], false, &sink);
        let (errors, warnings) = sink.finish();
        warnings.iter().for_each(|warning| println!("warning: {warning}"));
        match loaded {
            Some(loaded) if errors.is_empty() => {
                let (listeners, clusters) = (loaded.listeners.len(), loaded.clusters.len());
                println!("accepted: {name}: {listeners} listeners, {clusters} clusters");
            }
            _ => {
                errors.iter().for_each(|error| println!("{error}"));
                println!("refused: {name}: {} errors", errors.len());
            }
        }
    }
}
