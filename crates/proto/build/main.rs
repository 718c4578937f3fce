//! Turns the descriptor set of `envoy-types` and the support ledger into static tables and slim message structs.
//!
//! `envoy-types` itself is never compiled: it is an optional dependency that no feature in use turns on, and only
//! its file `types.bin` is read. What it lacks stands in `extra/*.txt`; what nuncio honours stands in `ledger/*.txt`.

mod descriptors;
mod extra;
mod ledger;
mod locate;
mod names;
mod rules;
mod structs;
mod tables;
#[allow(dead_code)] // The crate uses all of it, the build script a part.
#[path = "../src/wire.rs"]
mod wire;

use std::path::{Path, PathBuf};

/// Everything that went wrong, one line each: the build shows all of it at once.
type Problems = Vec<String>;

fn main() {
    if let Err(problems) = run() {
        for problem in &problems {
            println!("cargo::error={problem}");
        }
        std::process::exit(1);
    }
}

fn run() -> Result<(), Problems> {
    let home = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");
    for watched in ["build", "src/wire.rs", "ledger", "extra", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let types = locate::types_bin(&home).map_err(one)?;
    println!("cargo::rerun-if-changed={}", types.display());
    let bytes = read(&types)?;
    let mut schema =
        descriptors::Schema::decode(&bytes).map_err(|e| one(format!("{}: {e}", types.display())))?;
    for file in text_files(&home.join("extra"))? {
        extra::add(&mut schema, &file.0, &file.1)?;
    }
    schema.finish()?;
    let ledger = ledger::Ledger::read(&schema, &text_files(&home.join("ledger"))?)?;
    write(&out.join("tables.rs"), &tables::emit(&schema, &ledger).map_err(one)?)?;
    write(&out.join("pb.rs"), &structs::emit(&schema, &ledger))
}

fn one(problem: String) -> Problems {
    vec![problem]
}

fn variable(name: &str) -> Result<String, Problems> {
    std::env::var(name).map_err(|_| one(format!("{name} is not set")))
}

fn read(path: &Path) -> Result<Vec<u8>, Problems> {
    std::fs::read(path).map_err(|e| one(format!("{}: {e}", path.display())))
}

fn write(path: &Path, text: &str) -> Result<(), Problems> {
    std::fs::write(path, text).map_err(|e| one(format!("{}: {e}", path.display())))
}

/// The `.txt` files of a folder as (name, text), sorted by name.
fn text_files(folder: &Path) -> Result<Vec<(String, String)>, Problems> {
    let entries = std::fs::read_dir(folder).map_err(|e| one(format!("{}: {e}", folder.display())))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| one(e.to_string()))?.path();
        if path.extension().is_some_and(|e| e == "txt") {
            let text =
                String::from_utf8(read(&path)?).map_err(|e| one(format!("{}: {e}", path.display())))?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    Ok(files)
}
