//! Which listener of a worker takes connections to an address (`use_original_dst`).

use super::{Listener, SocketFacts};
use crate::world::World;
use nuncio_core::address::Address;
use nuncio_net::stream::{ByteStream as _, MemoryStream};
use nuncio_upstream::pool::{InternalListener, Passed};
use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};

/// The listeners of one worker that take new connections, by address.
#[derive(Default)]
pub struct Reachable(RefCell<Vec<Entry>>);

struct Entry {
    address: Address,
    /// At `[::]`, it takes IPv4 too.
    ipv4_compat: bool,
    listener: Weak<Listener>,
}

/// Keeps a listener reachable.
pub struct Entered {
    world: Rc<World>,
    listener: Weak<Listener>,
}

impl Reachable {
    /// Enters a listener with its addresses, and whether each takes IPv4 too, for as long as the answer lives.
    pub(super) fn enter(listener: &Rc<Listener>, at: impl Iterator<Item = (Address, bool)>) -> Entered {
        let world = Rc::clone(&listener.world);
        let weak = Rc::downgrade(listener);
        let entry = |(address, ipv4_compat)| Entry { address, ipv4_compat, listener: Weak::clone(&weak) };
        world.listeners.0.borrow_mut().extend(at.map(entry));
        if let Address::Internal(internal) = &listener.config.address {
            world.internal.enter(&internal.listener, Rc::new(Inside(Weak::clone(&weak))));
        }
        Entered { world, listener: weak }
    }

    /// The listener at `address`, or else that of all addresses of its family.
    pub(super) fn find(&self, address: &Address) -> Option<Rc<Listener>> {
        let entries = self.0.borrow();
        let first = |is: &dyn Fn(&Entry) -> bool| entries.iter().find(|e| is(e))?.listener.upgrade();
        first(&|e| e.address == *address).or_else(|| {
            let Address::Ip(ip) = address else { return None };
            let any_v6 = Address::Ip(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), ip.port()));
            if ip.is_ipv6() {
                return first(&|e| e.address == any_v6);
            }
            let any_v4 = Address::Ip(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ip.port()));
            first(&|e| e.address == any_v4).or_else(|| first(&|e| e.ipv4_compat && e.address == any_v6))
        })
    }
}

/// A listener without a socket, as clusters know it.
struct Inside(Weak<Listener>);

impl InternalListener for Inside {
    fn accept(&self, stream: MemoryStream, Passed { metadata, objects }: Passed) {
        let Some(listener) = self.0.upgrade() else { return };
        let mut facts = SocketFacts::of(stream.local_address(), stream.peer_address());
        facts.metadata = metadata;
        for (name, object) in objects {
            facts.filter_state.set(&name, object);
        }
        listener.take(Box::new(stream), facts);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.upgrade()
            && let Address::Internal(internal) = &listener.config.address
        {
            self.world.internal.leave(&internal.listener);
        }
        self.world.listeners.0.borrow_mut().retain(|e| !Weak::ptr_eq(&e.listener, &self.listener));
    }
}
