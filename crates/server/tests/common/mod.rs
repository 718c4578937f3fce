//! The binary under test, started on a configuration with ports of the kernel's choice, and a client for it.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails here fails the test that called it"
)]

use nuncio_core::clock::Clock;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longer than anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The line that says that start-up is over.
const UP: &str = "starting main dispatch loop";

/// The binary that was built with the test, or the one that `NUNCIO_BIN` names (a release build, for figures).
pub fn binary() -> Command {
    Command::new(std::env::var_os("NUNCIO_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_nuncio").into()))
}

/// Runs the binary to its end.
pub fn output(args: &[&str]) -> Output {
    binary().args(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of its own that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nuncio-test-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file; its path as text.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server.
pub struct Server {
    child: Child,
    /// What it logged until it was up.
    pub log: Vec<String>,
    lines: Receiver<String>,
    /// How long it took from the start of the process until it was up.
    pub started_in: Duration,
    pub folder: Folder,
}

impl Server {
    /// Starts it on `config` and waits until it is up.
    pub fn start(config: &str, args: &[&str]) -> Self {
        Self::start_in(Folder::new(), config, args)
    }

    pub fn start_in(folder: Folder, config: &str, args: &[&str]) -> Self {
        let file = folder.file("bootstrap.yaml", config);
        let clock = Clock::system();
        let begun = clock.now();
        let mut child = binary()
            .args(["-c", &file, "--concurrency", "1"])
            .args(args)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|l| tell.send(l)));
        let mut server = Self { child, log: Vec::new(), lines, started_in: Duration::ZERO, folder };
        server.wait_for(UP);
        server.started_in = clock.now().duration_since(begun);
        server
    }

    /// Waits for a line of its log with `words`.
    pub fn wait_for(&mut self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("no '{words}' in the log:\n{}", self.log.join("\n")),
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn admin(&self) -> SocketAddr {
        let line = self.log.iter().find_map(|l| l.split_once("admin address: ")).expect("an admin port");
        line.1.trim().parse().unwrap()
    }

    /// Where the listener `name` listens.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let body = self.ask("GET", "/listeners").body;
        let line = body.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix("::")).expect("a listener");
        line.parse().unwrap()
    }

    /// Asks the admin port.
    pub fn ask(&self, method: &str, target: &str) -> Got {
        request(self.admin(), method, target, &[], "")
    }

    pub fn signal(&self, name: &str) {
        let done = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// Waits for its end.
    pub fn ended(self) -> (ExitStatus, Vec<String>) {
        let (status, log, _) = self.ended_keeping();
        (status, log)
    }

    /// Waits for its end and keeps what it wrote.
    pub fn ended_keeping(mut self) -> (ExitStatus, Vec<String>, Folder) {
        // Standard error ends with the process.
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.log.push(line);
        }
        let status = self.child.wait().unwrap();
        (status, std::mem::take(&mut self.log), std::mem::replace(&mut self.folder, Folder::new()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Clone, Debug)]
pub struct Got {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request on a connection of its own.
pub fn request(
    to: SocketAddr,
    method: &str,
    target: &str,
    headers: &[&str],
    body: &(impl AsRef<[u8]> + ?Sized),
) -> Got {
    let body = body.as_ref();
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let more: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
    let host = if headers.iter().any(|h| h.starts_with("host:")) { "" } else { "host: test\r\n" };
    let length = body.len();
    let text = format!(
        "{method} {target} HTTP/1.1\r\n{host}{more}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(&[text.as_bytes(), body].concat()).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    let got = String::from_utf8_lossy(&got).into_owned();
    let (head, body) = got.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {got:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Got { status, head: head.to_owned(), body: if chunked { unchunk(body) } else { body.to_owned() } }
}

fn unchunk(mut rest: &str) -> String {
    let mut out = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return out;
        }
        out.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
}

/// An upstream that answers each request with its name and the request's first line, `/redirect?URL` with a redirect.
pub struct Upstream {
    pub address: SocketAddr,
}

impl Upstream {
    pub fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || answer(name, stream));
            }
        });
        Self { address }
    }

    /// One that nobody is at.
    pub fn gone() -> Self {
        Self { address: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

fn answer(name: &str, stream: TcpStream) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
            if line == "\r\n" {
                break;
            }
            if let Some((n, v)) = line.split_once(':')
                && n.eq_ignore_ascii_case("content-length")
            {
                length = v.trim().parse().ok()?;
            }
        }
        if first.contains(" /slow ") {
            // Never answered; the peer goes away.
            let _ = reader.read(&mut [0]);
            return None;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if let Some((_, to)) = first.split_once(" /redirect?") {
            let to = to.split(' ').next()?;
            let head =
                format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\nx-upstream: {name}\r\nx-file-token: t1\r\n");
            writer.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).ok()?;
            continue;
        }
        let text = format!("{name}: {}{}", first.trim_end(), String::from_utf8_lossy(&body));
        let head = format!("HTTP/1.1 200 OK\r\nx-upstream: {name}\r\ncontent-length: {}\r\n\r\n", text.len());
        writer.write_all(format!("{head}{text}").as_bytes()).ok()?;
    }
}

/// Takes reports of spans and answers 202.
pub struct Collector(TcpListener);

impl Collector {
    pub fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// The next report, without the chunks that it came in.
    pub fn report(&self) -> Vec<u8> {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0);
        }
        let (mut body, mut size) = (Vec::new(), 1);
        while size > 0 {
            line.clear();
            reader.read_line(&mut line).unwrap();
            size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk).unwrap();
            body.extend_from_slice(&chunk[..size]);
        }
        let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        (&stream).write_all(answer).unwrap();
        body
    }
}

/// The repository's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An example with its listening ports left to the kernel and its upstreams replaced.
pub fn example(name: &str, upstreams: &[&Upstream]) -> String {
    let text = std::fs::read_to_string(root().join("examples").join(name)).unwrap();
    let text =
        text.replace("port_value: 9901}", "port_value: 0}").replace("port_value: 10000}", "port_value: 0}");
    upstreams.iter().zip(10_001..).fold(text, |text, (upstream, was)| {
        text.replace(&format!("port_value: {was}}}"), &format!("port_value: {}}}", upstream.port()))
    })
}

/// The subject of the certificate that a new connection is shown.
pub fn shown_subject(to: SocketAddr) -> String {
    let client = ["s_client", "-connect", &to.to_string(), "-servername", "any"].map(str::to_owned);
    let mut command = Command::new("openssl");
    let out = command.args(client).stdin(Stdio::null()).output().unwrap();
    let text = text(&out.stdout);
    let subject = text.lines().find_map(|l| l.strip_prefix("subject="));
    subject.unwrap_or_default().replace(' ', "")
}

/// How many directories a process watches.
pub fn watches(pid: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let each = open.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
    each.map(|info| info.lines().filter(|line| line.starts_with("inotify wd")).count()).sum()
}
