//! Files that are moved into place.
//!
//! Whoever replaces a configuration file atomically writes another one and renames it. That is what is told; a file
//! that is written where it stands is not, since a reader could meet it half done. Envoy does the same.

use crate::sys;
use nuncio_core::source::FileSource;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells of what is moved into a directory, from when it was made on.
pub struct MoveWatch {
    events: AsyncFd<File>,
    /// The name that counts; without one every name does.
    name: Option<OsString>,
}

/// The part of an event before the name: watch, mask, cookie and the name's length, four bytes each.
const HEAD: usize = 16;

impl MoveWatch {
    /// For a file of configuration, as its source says. Must be called on a runtime.
    ///
    /// # Errors
    /// Where its directory cannot be watched.
    pub fn of(source: &FileSource) -> io::Result<Self> {
        match &source.directory {
            Some(directory) => Self::of_directory(directory),
            None => Self::of_file(&source.path),
        }
    }

    /// For a file. Must be called on a runtime.
    ///
    /// # Errors
    /// Where its directory cannot be watched.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let watch = Self::of_directory(parent.unwrap_or(Path::new(".")))?;
        Ok(Self { name: path.file_name().map(OsStr::to_owned), ..watch })
    }

    /// For whatever is moved into a directory. Must be called on a runtime.
    ///
    /// # Errors
    /// Where it cannot be watched.
    pub fn of_directory(path: &Path) -> io::Result<Self> {
        Ok(Self { events: sys::watch_moves_into(path)?, name: None })
    }

    /// Waits for the next move. Several that happen at once count as one. Cancel safe.
    ///
    /// # Errors
    /// Where the kernel's events can no longer be read.
    pub async fn moved(&self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let read = self.events.async_io(Interest::READABLE, |mut file| file.read(&mut buffer)).await?;
            if self.is_among(buffer.get(..read).unwrap_or_default()) {
                return Ok(());
            }
        }
    }

    fn is_among(&self, mut events: &[u8]) -> bool {
        while let Some((head, rest)) = events.split_first_chunk::<HEAD>() {
            let [.., a, b, c, d] = *head;
            let len = u32::from_ne_bytes([a, b, c, d]) as usize;
            let (name, rest) = rest.split_at_checked(len).unwrap_or((rest, &[]));
            // The name is filled up with NULs.
            let name = name.split(|b| *b == 0).next().unwrap_or_default();
            if self.name.as_ref().is_none_or(|own| own.as_bytes() == name) {
                return true;
            }
            events = rest;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::block_on_local;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn a_move_is_told_and_neither_another_file_nor_a_write_is() {
        let dir = std::env::temp_dir().join(format!("nuncio-watch-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (path, other) = (dir.join("a.yaml"), dir.join("b.yaml"));
        fs::write(&path, "1").unwrap();
        block_on_local(async {
            let watch = MoveWatch::of_file(&path).unwrap();
            let any = MoveWatch::of_directory(&dir).unwrap();
            fs::write(&path, "2").unwrap();
            fs::write(dir.join("x"), "3").unwrap();
            fs::rename(dir.join("x"), &other).unwrap();
            any.moved().await.unwrap();
            let none = tokio::time::timeout(Duration::from_millis(1), watch.moved()).await;
            assert!(none.is_err());
            fs::rename(&other, &path).unwrap();
            watch.moved().await.unwrap();
        })
        .unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
