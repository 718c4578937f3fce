//! Finds the descriptor set in the sources of `envoy-types`, wherever cargo keeps them (registry, vendored, patched).

use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of `types.bin`. Asks cargo offline first; in a fresh cargo home that fails, and the second question lets
/// cargo fetch the package.
pub fn types_bin(home: &Path) -> Result<PathBuf, String> {
    let answer = metadata(home, true).or_else(|_| metadata(home, false))?;
    let manifest = manifest_path(&answer).ok_or("`cargo metadata` does not name the package envoy-types")?;
    let folder = manifest.parent().ok_or("the manifest of envoy-types has no folder")?;
    Ok(folder.join("src/generated/types.bin"))
}

fn metadata(home: &Path, offline: bool) -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = std::env::var("TARGET").map_err(|_| "TARGET is not set")?;
    let mut command = Command::new(cargo);
    command.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--all-features",
        "--filter-platform",
        &target,
    ]);
    command.arg("--manifest-path").arg(home.join("Cargo.toml"));
    if offline {
        command.arg("--offline");
    }
    let output = command.output().map_err(|e| format!("cannot run `cargo metadata`: {e}"))?;
    if !output.status.success() {
        return Err(format!(
            "`cargo metadata` failed: {}",
            String::from_utf8_lossy(&output.stderr).replace('\n', " ")
        ));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("`cargo metadata`: {e}"))
}

/// The manifest path of the package, read out of the metadata without a JSON parser: only a package object starts
/// with its name and version, and its `manifest_path` is the next one behind.
fn manifest_path(metadata: &str) -> Option<PathBuf> {
    let package = metadata.split_once("{\"name\":\"envoy-types\",\"version\":")?.1;
    let (_, path) = package.split_once("\"manifest_path\":\"")?;
    let mut text = String::new();
    let mut characters = path.chars();
    loop {
        match characters.next()? {
            '"' => return Some(PathBuf::from(text)),
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
}
