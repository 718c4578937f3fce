use super::*;
use std::task::{Context, Poll, Waker};

/// Keeps what it was handed.
#[derive(Default)]
struct Taken(RefCell<Vec<(MemoryStream, Passed)>>);

impl InternalListener for Taken {
    fn accept(&self, stream: MemoryStream, passed: Passed) {
        self.0.borrow_mut().push((stream, passed));
    }
}

fn address(listener: &str, endpoint: &str) -> Arc<InternalAddress> {
    Arc::new(InternalAddress { listener: listener.into(), endpoint: endpoint.into() })
}

#[test]
fn a_connection_reaches_the_listener_of_its_name_with_what_is_passed() {
    let (listeners, taken) = (InternalListeners::new(4), Rc::new(Taken::default()));
    listeners.enter("inner", Rc::clone(&taken) as Rc<dyn InternalListener>);
    let metadata = Metadata::from([("place".to_owned(), prost_types::Struct::default())]);
    let passed = Passed { metadata, ..Passed::default() };
    let ours = listeners.connect(&address("inner", "a"), passed).ok().unwrap();
    let all = taken.0.borrow();
    let (theirs, passed) = &all[0];
    assert_eq!(theirs.local_address().to_string(), "envoy://inner/a");
    assert_eq!(theirs.peer_address().to_string(), "envoy://internal_client_address/");
    assert!(passed.metadata.contains_key("place"));
    let mut cx = Context::from_waker(Waker::noop());
    let wrote = ours.poll_write(&mut cx, b"123456");
    assert!(matches!(wrote, Poll::Ready(Ok(4))), "no more than there is room for");
}

#[test]
fn there_is_no_connection_where_no_listener_has_the_name() {
    let listeners = InternalListeners::new(4);
    listeners.enter("gone", Rc::new(Taken::default()));
    listeners.leave("gone");
    for name in ["gone", "never"] {
        let to = address(name, "");
        let error = listeners.connect(&to, Passed::default()).err().unwrap();
        let words = error.transport_failure(&Address::Internal(to));
        assert!(words.starts_with("immediate connect error: Invalid argument|remote address:envoy://"));
    }
}
