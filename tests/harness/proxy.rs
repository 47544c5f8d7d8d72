//! A cable between two processes that a test can cut, slow down, or let answers or everything fall off.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;

/// TCP from `address` to somewhere else.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    cable: Arc<Cable>,
}

#[derive(Debug, Default)]
struct Cable {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_cut: bool,
    loses_answers: bool,
    loses_all: bool,
    one_way: Duration,
    ended: bool,
    /// How many pieces of bytes were held up, slowed down or lost.
    faults: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Proxy {
    /// A cable to `target`, in order. Nobody need listen there yet.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let cable = Arc::<Cable>::default();
        let of_listener = Arc::clone(&cable);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_listener.lock().ended {
                    return;
                }
                // Nobody there: the client sees a connection that ends.
                let _nobody = connect(stream, target, &of_listener);
            }
        });
        Self { address, cable }
    }

    /// Nothing gets through, and nobody is told: bytes wait until it is mended.
    pub(crate) fn cut(&self) {
        self.change(|state| state.is_cut = true);
    }

    /// What is asked arrives, what is answered is lost.
    pub(crate) fn lose_answers(&self) {
        self.change(|state| state.loses_answers = true);
    }

    /// Half open: connections are taken and stay, and nothing of what is said on them arrives, then or later.
    pub(crate) fn lose_all(&self) {
        self.change(|state| state.loses_all = true);
    }

    /// Each piece of bytes takes so long, one way.
    pub(crate) fn slow_down(&self, one_way: Duration) {
        self.change(|state| state.one_way = one_way);
    }

    /// All is in order again. A connection on which something was lost stays silent that way, as one does whose other end
    /// is gone.
    pub(crate) fn mend(&self) {
        self.change(|state| {
            (state.is_cut, state.loses_answers, state.loses_all) = (false, false, false);
            state.one_way = Duration::ZERO;
        });
    }

    /// How many pieces of bytes were held up, slowed down or lost so far.
    pub(crate) fn faults(&self) -> u64 {
        self.cable.lock().faults
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.cable.lock());
        self.cable.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| (state.ended, state.is_cut) = (true, false));
        // The listener's thread looks up.
        let _gone = TcpStream::connect(self.address);
    }
}

impl Cable {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the cable is cut; what holds when it is not.
    fn passes(&self, way: Way) -> State {
        let mut state = self.lock();
        if state.is_cut || state.loses(way) || !state.one_way.is_zero() {
            state.faults += 1;
        }
        while state.is_cut {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state
    }
}

impl State {
    fn loses(self, way: Way) -> bool {
        self.loses_all || self.loses_answers && way == Way::Back
    }
}

fn connect(client: TcpStream, target: SocketAddr, cable: &Arc<Cable>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_too, server_too) = (client.try_clone()?, server.try_clone()?);
    let (there, back) = (Arc::clone(cable), Arc::clone(cable));
    thread::spawn(move || carry(client, server, Way::There, &there));
    thread::spawn(move || carry(server_too, client_too, Way::Back, &back));
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream, way: Way, cable: &Cable) {
    let mut bytes = vec![0; READ_BYTES];
    // What comes after a gap is no HTTP any more, so it is lost, too.
    let mut has_lost = false;
    while let Ok(read) = from.read(&mut bytes) {
        if read == 0 {
            break;
        }
        let state = cable.passes(way);
        has_lost |= state.loses(way);
        if has_lost {
            continue;
        }
        thread::sleep(state.one_way);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
    let _gone = from.shutdown(Shutdown::Both);
}
