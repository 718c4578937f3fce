//! Loads bootstraps and says what is wrong with each: `cargo run -p nuncio-proto --example check -- [--warn] FILE…`

use nuncio_proto::{LoadOptions, Source, Unsupported, load};

fn main() {
    let mut options = LoadOptions::default();
    for name in std::env::args().skip(1) {
        if name == "--warn" {
            options.unsupported = Unsupported::Warn;
            continue;
        }
        let Ok(bytes) = std::fs::read(&name) else {
            println!("{name}: cannot be read");
            continue;
        };
        match load(&[Source::file(&name, &bytes)], options) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(|warning| println!("warning: {warning}"));
                let (listeners, clusters) = (loaded.listeners.len(), loaded.clusters.len());
                println!("accepted: {name}: {listeners} listeners, {clusters} clusters");
            }
            Err(errors) => {
                errors.iter().for_each(|error| println!("{error}"));
                println!("refused: {name}: {} errors", errors.len());
            }
        }
    }
}
