use super::*;
use std::time::Duration;

#[test]
fn a_panic_ends_one_task_and_is_counted() {
    block_on_local(async {
        let worker = Worker::new(0, Clock::system(), Rng::seeded(1));
        let (tell, told) = tokio::sync::oneshot::channel();
        worker.spawn(async { panic!("this one") });
        worker.spawn(async move { tell.send(7).unwrap() });
        assert_eq!(told.await, Ok(7));
        assert_eq!(worker.shared().panics(), 1);
    })
    .unwrap();
}

#[test]
fn a_worker_thread_runs_until_it_is_stopped() {
    let mut handle = spawn_worker_thread("wrk:worker_3", 3, |worker, stop| async move {
        assert_eq!(worker.id(), 3);
        assert_eq!(worker.next_connection_id(), 3 * IDS_PER_WORKER);
        stop.wait().await;
    })
    .unwrap();
    handle.stop();
    assert!(handle.join());
}

#[test]
fn buffers_come_back_empty_and_overgrown_ones_are_freed() {
    let pool = BufferPool::default();
    let mut buffer = pool.take();
    buffer.extend_from_slice(b"secret");
    let place = buffer.as_ptr();
    pool.give(buffer);
    let buffer = pool.take();
    assert_eq!((buffer.as_ptr(), buffer.len()), (place, 0));
    pool.give(Vec::with_capacity(1 << 20));
    pool.give(Vec::new());
    let next = pool.take();
    assert!((BufferPool::SIZE..1 << 20).contains(&next.capacity()));
}

#[test]
fn connections_are_counted_while_they_live() {
    let worker = Worker::new(0, Clock::virtual_at(SystemTime::UNIX_EPOCH), Rng::seeded(1));
    let (a, b) = (worker.count_connection(), worker.count_connection());
    assert_eq!(worker.shared().connections(), 2);
    drop((a, b));
    assert_eq!(worker.shared().connections(), 0);
    let date = worker.date(SystemTime::UNIX_EPOCH + Duration::from_secs(1));
    assert_eq!(date.as_bytes(), b"Thu, 01 Jan 1970 00:00:01 GMT");
}
