use super::*;
use nuncio_core::stats::{Gauge, Value};
use std::path::PathBuf;

/// A folder of this test alone, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nuncio-log-files-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn stats(registry: &Registry) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    registry.visit(&mut |_, name, value| match value {
        Value::Counter(c) => *all.entry(name).or_default() += c.value(),
        Value::Gauge(g) => {
            let sum: &mut u64 = all.entry(name).or_default();
            *sum = Gauge::sum([*sum, g.value()]);
        }
        _ => {}
    });
    all
}

#[test]
fn lines_of_all_workers_reach_the_file_and_are_counted() {
    let (folder, registry) = (Folder::new("lines"), Registry::new());
    let path = folder.path("a.log");
    let files = LogFiles::new(&registry, 2, FlushOptions::default());
    let (one, same) = (files.open(&path).unwrap(), files.open(&path).unwrap());
    one.append(0, |b| b.extend_from_slice(b"zero\n"));
    same.append(1, |b| b.extend_from_slice(b"one\n"));
    same.append(usize::MAX, |b| b.extend_from_slice(b"main\n"));
    assert_eq!(stats(&registry)["write_total_buffered"], 14);
    files.flush();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "zero\none\nmain\n");
    let counts = stats(&registry);
    assert_eq!(
        (counts["write_buffered"], counts["write_completed"], counts["write_total_buffered"]),
        (3, 3, 0)
    );
}

#[test]
fn a_reopened_file_is_a_new_one() {
    let (folder, registry) = (Folder::new("reopen"), Registry::new());
    let (path, old) = (folder.path("a.log"), folder.path("old.log"));
    let files = LogFiles::new(&registry, 1, FlushOptions::default());
    let file = files.open(&path).unwrap();
    file.append(0, |b| b.extend_from_slice(b"1\n"));
    files.flush();
    std::fs::rename(&path, &old).unwrap();
    file.append(0, |b| b.extend_from_slice(b"2\n"));
    files.flush();
    files.reopen();
    files.flush();
    file.append(0, |b| b.extend_from_slice(b"3\n"));
    drop(files);
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "1\n2\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "3\n");
    assert_eq!(stats(&registry)["reopen_failed"], 0);
}

#[test]
fn a_full_buffer_is_written_without_waiting_for_the_timer() {
    let (folder, registry) = (Folder::new("full"), Registry::new());
    let path = folder.path("a.log");
    let options = FlushOptions { min_bytes: 4, ..FlushOptions::default() };
    let files = LogFiles::new(&registry, 1, options);
    files.open(&path).unwrap().append(0, |b| b.extend_from_slice(b"12345\n"));
    while stats(&registry)["write_completed"] == 0 {
        std::thread::yield_now();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "12345\n");
    assert_eq!(stats(&registry)["flushed_by_timer"], 0);
}
